-- The gate. `gate` holds when it turns stale, and of the last poll: when it was, which targets it has named, since when
-- each of them is in use, and each CRON_MAX_TIME with the last poll by it.

-- For how long the gate is fresh.
function Gate.fresh_for()
  local stale = tonumber(of_gate('stale'))
  if not stale or stale > now + given.cron_max_time then
    return 0
  end
  return math.max(0, stale - now)
end

-- Let the gate turn stale at an instant, if that is sooner. A gate that is dated too late, as after a step of the clock,
-- is stale already, and stays so.
function Gate.bring_forward(at)
  local stale = at and tonumber(of_gate('stale'))
  if not stale then
    return
  end
  if stale > now + given.cron_max_time then
    at = math.min(at, now)
  end
  if at < stale then
    change_gate('stale', at)
  end
end
