-- The plans of a poll: what it wants for crons.

-- Whether a plan was computed from what is stored; see `rules.is_current`.
local function is_current(plan)
  local mark, since, schedule = unpack(call('HMGET', key('cron', plan.name), 'mark', 'since', 'schedule'))
  since = whole(since)
  return whole(mark) == plan.mark and (not since or since == plan.since)
    and (not schedule or schedule == (plan.replaces or plan.schedule))
end

-- The plans that are current, with what `claim_slots` notes of them.
function Plans.current_plans()
  local current, names = {}, {}
  for _, plan in ipairs(given.plans or {}) do
    if is_current(plan) then
      current[#current + 1] = plan
      names[plan.name] = true
    end
  end
  return current, names
end

-- The runs that count for max_instances, in the order in which they were stored.
function Plans.blockers_of(name)
  local runs, blockers = {}, {}
  for _, id in ipairs(call('SUNION', key('living', 'c:' .. name), key('counting', name))) do
    runs[#runs + 1] = Runs.find(id)
  end
  for _, id in ipairs(call('SMEMBERS', key('living', 'c:' .. name))) do
    Runs.check_lease('c:' .. name, id, given.lease)
  end
  for _, id in ipairs(call('SMEMBERS', key('counting', name))) do
    if not Runs.find(id) then
      Runs.set_aside('c:' .. name, id)
    end
  end
  table.sort(runs, function(one, other) return one.place < other.place end)
  for i, run in ipairs(runs) do
    blockers[i] = {run.run_id, run.worker or ''}
  end
  return blockers
end

function Plans.refuse(plan, slot, why, blockers)
  done.refused[#done.refused + 1] = {name = plan.name, slot = digits(slot), why = why, blockers = blockers}
end

-- The pending runs of a coalescing cron give way to a later slot.
function Plans.replace_pending(name)
  for _, kind in ipairs({'ready', 'scheduled'}) do
    for _, member in ipairs(call('ZRANGE', key(kind, 'c:' .. name), 0, -1)) do
      local run = Runs.find(Targets.id_of(kind, member))
      if run and not run.at_least_once then
        Endings.drop_pending(run, 'replaced')
      end
    end
  end
end

function Plans.start_slot(plan, slot, number_of)
  if plan.coalesce then
    Plans.replace_pending(plan.name)
  end
  Claims.start({
    kind = 'slot', name = plan.name, due = slot, slot = slot, at_least_once = plan.at_least_once and 1 or nil,
    counts = (plan.at_least_once or not plan.coalesce) and 1 or nil, waited = plan.waited and plan.waited[number_of]
  })
end

-- Deal with a slot; return whether it does not stay above the mark.
function Plans.claim_slot(plan, slot, number_of)
  if slot > now then
    Plans.refuse(plan, slot, 'early')
    return false
  elseif plan.rests or #done.claims >= math.min(given.capacity.total, given.capacity.slots) then
    done.left = true
    return false
  end
  local limit = Targets.limit_of('c:' .. plan.name) or 1
  if number(key('cron', plan.name), 'paused') then
    Plans.refuse(plan, slot, 'paused')
    Skips.skip({name = plan.name, slot = slot, slots = 1, reason = 'paused'})
  elseif Targets.count_of(plan.name) >= limit then
    local blockers = Plans.blockers_of(plan.name)
    Plans.refuse(plan, slot, 'overlap', blockers)
    if not plan.coalesce then
      plan.held = true
      return false
    end
    Skips.skip({name = plan.name, slot = slot, slots = 1, reason = 'overlap', blockers = blockers})
  else
    Plans.start_slot(plan, slot, number_of)
  end
  Skips.raise(plan.name, 'mark', slot)
  return true
end

-- Claim the slots of plans, the oldest first.
function Plans.claim_slots(plans)
  local slots = {}
  for _, plan in ipairs(plans) do
    for i, slot in ipairs(plan.slots or {}) do
      slots[#slots + 1] = {plan = plan, slot = slot, number = i, order = #slots}
    end
  end
  table.sort(slots, function(one, other)
    return one.slot < other.slot or one.slot == other.slot and one.order < other.order
  end)
  for _, one in ipairs(slots) do
    local mark = number(key('cron', one.plan.name), 'mark')
    if (not mark or one.slot > mark) and not Plans.claim_slot(one.plan, one.slot, one.number) then
      one.plan.next = math.min(one.plan.next or one.slot, one.slot)
    end
  end
end

function Plans.mark_resting(plans)
  local resting = {}
  for _, target in ipairs(given.resting or {}) do
    resting[target] = true
  end
  for _, plan in ipairs(plans) do
    plan.rests = resting['c:' .. plan.name]
  end
end

-- Do what the plans want; return the names of the crons.
function Plans.carry_out_plans()
  local plans, names = Plans.current_plans()
  Plans.mark_resting(plans)
  for _, plan in ipairs(plans) do
    Skips.record_skips(plan)
  end
  Plans.claim_slots(plans)
  for _, plan in ipairs(plans) do
    set(key('cron', plan.name), {next = plan.next or false, held = plan.held and 1 or false})
    Targets.touch('c:' .. plan.name)
  end
  return names
end

-- The crons of the process that are due, and were not planned from their present state.
function Plans.find_outdated(planned)
  local names, outdated = {}, {}
  for _, plan in ipairs(given.plans or {}) do
    names[plan.name] = true
  end
  local due, found = {}, 0
  if not given.more_follows and not done.more and Targets.head('next') <= now then
    due = call('ZRANGEBYSCORE', key('next'), '-inf', digits(now), 'LIMIT', 0, 5 * AT_MOST)
  end
  for _, name in ipairs(due) do
    if found < AT_MOST and not names[name] and Targets.limit_of('c:' .. name) ~= nil then
      names[name], found = true, found + 1
    end
  end
  for name, is_mine in pairs(names) do
    if is_mine and not planned[name] then
      outdated[#outdated + 1] = {name = name, state = Targets.state_of(name)}
    end
  end
  return outdated
end
