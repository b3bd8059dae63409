-- The gate. `gate` holds when it turns stale, and of the last poll: when it was, which targets it has named, since when
-- each of them is in use, and each CRON_MAX_TIME with the last poll by it. `batches` is how many large calls are accepted
-- that are not stored; until then `behind` is when the gate would turn stale. `stepped` is when a step of the clock was
-- dealt with.

-- For how long the gate is fresh.
function Gate.fresh_for()
  return freshness(tonumber(of_gate('stale')), now, given.cron_max_time)
end

-- Let a date of the gate be an instant, if that is sooner. A gate that is dated too late, as after a step of the clock,
-- is stale already, and stays so.
local function lower(field, at)
  local stale = tonumber(of_gate(field))
  if not stale then
    return
  end
  if stale > now + given.cron_max_time then
    at = math.min(at, now)
  end
  if at < stale then
    change_gate(field, at)
  end
end

-- Let the gate turn stale at an instant, if that is sooner.
function Gate.bring_forward(at)
  if at then
    lower('stale', at)
    lower('behind', at)
  end
end

-- Date the gate. While large calls are accepted that are not stored, it is stale, and `behind` is when it will be.
function Gate.date(at)
  local has_batches = (of_gate('batches') or '0') ~= '0'
  change_gate('stale', has_batches and now or at)
  if has_batches or of_gate('behind') then
    change_gate('behind', has_batches and at or false)
  end
end

-- Note how many large calls are accepted that are not stored.
function Gate.note_batches(number_of)
  local at = of_gate('behind') or of_gate('stale')
  change_gate('batches', number_of)
  if at then
    Gate.date(tonumber(at))
  end
end
