-- A poll, in the order of the contract.

local function write_leases()
  if later[key('leases')] then
    write_now(key('leases'))
    heads.leases = nil
  end
end

-- End the leases that are over, as many as one call may end; return the runs that are lost.
local function end_leases()
  local lost = {}
  if head('leases') > now then
    return lost
  end
  for _, id in ipairs(call('ZRANGEBYSCORE', key('leases'), '-inf', digits(now), 'LIMIT', 0, AT_MOST)) do
    local run = find(id)
    if not run then
      write_later(key('leases'), id, false)
    elseif run.is_kept then
      free(run)
    else
      keep_long_texts(run)
      lose(run)
      lost[#lost + 1] = brief(run)
    end
  end
  return lost
end

-- Date the gate by *earliest*.
local function date_gate(shortest, has_outdated)
  write_leases()
  local earliest = math.min(head('due'), head('next'), head('leases'), now + shortest)
  change_gate('stale', has_outdated and now or earliest)
  change_gate('polled', now)
end

function verbs.poll()
  if not given.force and fresh_for() > 0 then
    return false
  end
  write_although_full()
  renew(given.holding or {}, given.lease)
  write_leases()
  local lost = end_leases()
  local shortest, longest = name_time()
  forget_targets(longest)
  name_targets()
  local planned = carry_out_plans()
  refresh_touched()
  claim_pending()
  refresh_touched()
  local outdated = find_outdated(planned)
  date_gate(shortest, #outdated > 0)
  is_to_be_repeated = has_skipped or #claims + #refused + #lost + #dropped > 0
  return {
    fresh_for = digits(fresh_for()), claims = claims, refused = refused, outdated = outdated, lost = lost,
    dropped = dropped, left = left
  }
end

function completed.poll(polled)
  if polled then
    complete(polled.lost)
    complete(polled.dropped)
  end
end
