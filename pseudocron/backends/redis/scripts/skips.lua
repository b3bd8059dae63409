-- Skips: slots that will not run.
--
-- skips:NAME  the newest skips of a cron, the newest first, as JSON

-- The newest skip of a cron, unless a run has begun since.
function Skips.latest_line(name)
  local skip = call('LINDEX', key('skips', name), 0)
  local newest, run = skip and decoded(skip), call('ZREVRANGE', key('lines', name), 0, 0, 'WITHSCORES')
  local is_sound = newest and tonumber(newest.slot) and type(newest.slots) == 'number' and type(newest.place) == 'number'
  return is_sound and (not run[2] or tonumber(run[2]) < newest.place) and newest
end

-- Record a skip: in the newest one of the cron, if that has the same reason and no run has begun since.
function Skips.skip(one)
  local skips, newest = key('skips', one.name), Skips.latest_line(one.name)
  done.has_skipped = true
  count(key('cron', one.name), 'missed', one.slots)
  if newest and newest.reason == one.reason then
    local slot, first = tonumber(newest.slot), tonumber(newest.first or newest.slot)
    newest.first, newest.slot = digits(math.min(first, one.first or one.slot)), digits(math.max(slot, one.slot))
    newest.slots, newest.updated = newest.slots + one.slots, digits(now)
    call('LSET', skips, 0, cjson.encode(newest))
    return
  end
  call('LPUSH', skips, cjson.encode({
    slot = digits(one.slot), first = one.first and digits(one.first), slots = one.slots, reason = one.reason,
    since = one.since and digits(one.since), blockers = one.blockers, recorded = digits(now), updated = digits(now),
    worker = given.worker, place = Runs.new_place()
  }))
  call('LTRIM', skips, given.keep > 0 and 0 or 1, given.keep - 1)
end

function Skips.raise(name, field, slot)
  local highest = number(key('cron', name), field)
  if not highest or slot > highest then
    call('HSET', key('cron', name), field, digits(slot))
    return true
  end
  return false
end

-- Note which schedule a plan replaces: those before that are neither it nor the new one, and it at last.
function Skips.take_over(plan)
  local cron, replaced = key('cron', plan.name), {}
  for _, one in ipairs(decoded(call('HGET', cron, 'replaced') or '[]') or {}) do
    if one ~= plan.replaces and one ~= plan.schedule then
      replaced[#replaced + 1] = one
    end
  end
  replaced[#replaced + 1] = plan.replaces
  if #replaced > REPLACED_AT_MOST then
    table.remove(replaced, 1)
  end
  call('HSET', cron, 'replaced', cjson.encode(replaced))
  change_gate('takeovers', (tonumber(of_gate('takeovers')) or 0) + 1)
end

function Skips.record_skips(plan)
  local cron = key('cron', plan.name)
  if plan.replaces then
    Skips.take_over(plan)
  end
  if plan.counts_from or not number(cron, 'since') then
    call('HSET', cron, 'since', digits(plan.counts_from or plan.since))
  end
  call('HSET', cron, 'schedule', plan.schedule)
  Targets.note_cron(plan.name)
  for _, one in ipairs(plan.skips or {}) do
    one.name = plan.name
    if one.reason ~= 'clock_back' then
      Skips.skip(one)
      Skips.raise(plan.name, 'mark', one.slot)
    elseif Skips.raise(plan.name, 'back', one.slot) then
      Skips.skip(one)
    end
  end
end
