-- For how long a gate is fresh that turns stale at an instant. One that is dated too late, as after a step of the clock,
-- is stale already.
local function freshness(stale, now, cron_max_time)
  if not stale or stale > now + cron_max_time then
    return 0
  end
  return math.max(0, stale - now)
end
