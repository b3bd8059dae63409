-- What idle processes ask once a second: for how long the gate is fresh. It takes the arguments of all verbs, see
-- base.lua, but not the functions: making them takes longer than the question.
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local stale = tonumber(redis.call('HGET', KEYS[1] .. 'gate', 'stale') or nil)
local fresh_for = freshness(stale, now, cjson.decode(ARGV[4]).cron_max_time)
return {string.format('%.0f', now), string.format('"%.0f"', fresh_for)}
