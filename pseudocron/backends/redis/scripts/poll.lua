-- A poll, in the order of the contract.

local function write_leases()
  if later[key('leases')] then
    write_now(key('leases'))
    Targets.head_of.leases = nil
  end
end

-- The leases of runs live for as long as they should if the server's clock is stepped, as a process notices by its own.
-- Answers may be late, so that small steps are not noticed; they end no lease that is renewed.
local SLOW = 12000000

-- The leases that were granted before a step, with their ends.
local function leases_before(step)
  local leases = key('leases')
  if step > 0 then
    return call('ZRANGEBYSCORE', leases, '-inf', digits(now - step + given.lease), 'WITHSCORES', 'LIMIT', 0, AT_MOST)
  end
  return call('ZRANGEBYSCORE', leases, '(' .. digits(now + given.lease), '+inf', 'WITHSCORES', 'LIMIT', 0, AT_MOST)
end

local function shift_leases()
  local step, stepped = now - (given.expected or now), tonumber(of_gate('stepped'))
  if math.abs(step) <= SLOW or stepped and math.abs(now - stepped) <= given.ago + SLOW then
    return  -- there was none, or another process has dealt with it
  end
  change_gate('stepped', now)
  local leases = leases_before(step)
  for i = 1, #leases, 2 do
    -- One that a process with longer leases has granted after a step back must not end before it is renewed.
    local least = step < 0 and now + 4 * given.lease or 0
    write_later(key('leases'), leases[i], digits(math.max(tonumber(leases[i + 1]) + step, least)))
  end
  write_leases()
end

-- End the leases that are over, as many as one call may end; return the runs that are lost.
local function end_leases()
  local lost = {}
  if Targets.head('leases') > now then
    return lost
  end
  for _, member in ipairs(call('ZRANGEBYSCORE', key('leases'), '-inf', digits(now), 'LIMIT', 0, STARTED_AT_MOST)) do
    local run = Runs.find((Runs.parts_of_lease(member)))
    if not run or run.state ~= 'running' and not run.is_kept then
      Runs.end_odd_lease(member)
    elseif run.is_kept then
      Runs.free(run)
    else
      Runs.read_long_texts(run)
      Endings.lose(run)
      lost[#lost + 1] = Runs.brief(run)
    end
  end
  done.more = #lost == STARTED_AT_MOST
  return lost
end

-- Now and then look whether a living run of each target has a lease: else it would be in the way for ever.
local function check_some_leases()
  for target in pairs(Targets.are_named and Targets.targets() or {}) do
    local id = call('SRANDMEMBER', key('living', target))
    if id then
      Runs.check_lease(target, id, given.lease)
    end
  end
end

-- Date the gate by *earliest*.
local function date_gate(shortest, has_outdated)
  write_leases()
  local earliest = math.min(Targets.head('due'), Targets.head('next'), Targets.head('leases'), now + shortest)
  Gate.date(has_outdated and now or earliest)
  change_gate('polled', now)
end

-- What needs no module is not done by one: an idle poll opens few.
function verbs.poll()
  if not given.force and Gate.fresh_for() > 0 then
    return false
  end
  write_although_full()
  if given.is_named_apart and Targets.must_be_named() then
    return {is_unnamed = true}
  end
  shift_leases()
  if given.holding then
    Runs.renew(given.holding, given.lease)
    write_leases()
  end
  local lost = end_leases()
  local batch = (of_gate('batches') or '0') ~= '0' and Batches.store_left() or nil
  local shortest, longest = Targets.name_time()
  Targets.forget_targets(longest)
  Targets.name_targets()
  check_some_leases()
  local planned = given.plans and Plans.carry_out_plans() or {}
  Targets.refresh_touched()
  if not given.more_follows and Targets.head('due') <= now then
    Claims.claim_pending()
    Targets.refresh_touched()
  end
  local outdated = (given.plans or Targets.head('next') <= now) and Plans.find_outdated(planned) or {}
  date_gate(shortest, #outdated > 0 or given.has_outdated)
  is_to_be_repeated = done.has_skipped or #done.claims + #done.refused + #lost + #done.dropped > 0
  return {
    fresh_for = digits(Gate.fresh_for()), claims = done.claims, refused = done.refused, outdated = outdated, lost = lost,
    dropped = done.dropped, left = done.left, takeovers = digits(tonumber(of_gate('takeovers')) or 0), odd = done.odd,
    batch = batch, more = done.more
  }
end

function completed.poll(polled)
  if polled and polled.claims then
    Runs.add_long_fields(polled.claims)
    Runs.complete(polled.lost)
    Runs.complete(polled.dropped)
  end
end

-- Name a part of what a process may claim; return since when the one is in use that was written first. The digest comes
-- with the last part, and the least of what the others have returned.
function verbs.name()
  write_although_full()
  local all = {}
  for target in pairs(Targets.targets()) do
    all[#all + 1] = target
  end
  local oldest = math.min(Targets.name_some(all), given.oldest or now)
  Targets.are_named = true
  check_some_leases()
  Targets.refresh_touched()
  if given.digest then
    Targets.note_named(given.digest, oldest)
  end
  return digits(oldest)
end
