-- Which tasks and crons are in use, and when each of them is due next: what the gate is dated by.
--
-- used            the targets in use, by when they were named last
-- limits          how many runs of a target may be living, as the last poll has named it
-- times           each CRON_MAX_TIME, by when it was named last
-- due             the targets in use with a pending run that is not held back, by the due time of the first one
-- next            the crons in use that are not paused, by when they are due next
-- pending         the targets with pending runs
-- cron:NAME       mark, since, back, next, paused, claims, fence, failures, missed, schedule; held: in the last poll that
--                 planned it, max_instances held back slots above its mark
-- crons           the names of all crons
-- counting:NAME   the pending runs of a cron that count for max_instances, without those whose leases are kept
--
-- Whatever may change when a target is due next touches it. `refresh_touched` then writes both indexes anew, so that
-- *earliest* is read from their heads.

local touched = {}

local function touch(target)
  touched[target] = true
end

local named

-- What the process may claim: by target the limit, false if there is none.
local function targets()
  named = named or cjson.decode(ARGV[5])
  return named
end

local function is_cron(target)
  return target:sub(1, 1) == 'c'
end

local function key_of(name, of_task)
  return name .. '\0' .. of_task
end

-- Whether a pending run must wait for a lease: its own of an earlier attempt, or that of another job with its key.
local function waits_for_lease(target, of_task, is_kept)
  return is_kept or of_task and call('HEXISTS', key('busy'), key_of(target, of_task)) == 1
end

-- When the first pending run of a target is due that waits for no lease. Each lease holds back one run at most, so that
-- no more need be read than there are leases.
local function first_due(target, living)
  local soonest
  for _, kind in ipairs({'ready', 'scheduled'}) do
    for _, member in ipairs(call('ZRANGE', key(kind, target), 0, living)) do
      local of_task, is_kept
      if living > 0 then
        local id = kind == 'ready' and member:sub(35) or member:match('^[^:]*:[^:]*:(.*)$')
        of_task, is_kept = unpack(call('HMGET', key('run', id), 'key', 'is_kept'))
      end
      if not waits_for_lease(target, of_task, is_kept) then
        -- What is ready was due once, though the clock may have been set back since.
        local due = kind == 'ready' and math.min(now, tonumber(member:sub(1, 16)))
          or tonumber(call('ZSCORE', key(kind, target), member))
        soonest = math.min(soonest or due, due)
        break
      end
    end
  end
  return soonest
end

-- How many runs of a cron count for max_instances.
local function count_of(cron)
  return call('SCARD', key('living', 'c:' .. cron)) + call('SCARD', key('counting', cron))
end

local CRON = {'mark', 'since', 'back', 'next', 'paused', 'claims', 'failures', 'missed', 'schedule'}

-- What is told of a cron.
local function state_of(name)
  local values, state = call('HMGET', key('cron', name), unpack(CRON)), {running = count_of(name)}
  for i, field in ipairs(CRON) do
    state[field] = values[i] or nil
  end
  return state
end

local function note_cron(name)
  call('SADD', key('crons'), name)
end

local function write_index(index, member, at)
  if at then
    call('ZADD', key(index), digits(at), member)
  else
    call('ZREM', key(index), member)
  end
  return at or math.huge
end

-- Write anew when a target is due next; return that.
local function refresh(target)
  local cron = is_cron(target) and target:sub(3)
  local is_pending = call('EXISTS', key('ready', target), key('scheduled', target)) > 0
  call(is_pending and 'SADD' or 'SREM', key('pending'), target)
  local is_used = call('ZSCORE', key('used'), target)
  if not is_used and not cron then
    return write_index('due', target, nil)
  end
  local state = cron and numbers(key('cron', cron), {'paused', 'next', 'held'}) or {}
  local counts = is_used and not state.paused
  local limit, due = counts and number(key('limits'), target) or math.huge, nil
  if counts and is_pending then
    local living = call('SCARD', key('living', target))
    due = living < limit and first_due(target, living) or nil
  end
  local soonest = write_index('due', target, due)
  if cron then
    local next = counts and state.next and not (state.held and count_of(cron) >= limit) and state.next or nil
    soonest = math.min(soonest, write_index('next', cron, next))
  end
  return soonest
end

local dues = {}

-- The same of all touched targets.
local function refresh_touched()
  for target in pairs(touched) do
    dues[target] = refresh(target)
  end
  touched = {}
end

-- Let the gate turn stale when the first of the targets is due that this verb has touched.
local function bring_forward_touched()
  refresh_touched()
  local soonest = math.huge
  for _, due in pairs(dues) do
    soonest = math.min(soonest, due)
  end
  bring_forward(soonest < math.huge and soonest)
end

-- Names

local function is_seen(seen)
  return seen and seen <= now and now - seen < SEEN_AGAIN * given.cron_max_time
end

-- Write that a target is in use, if that is to be written again.
local function use(target)
  local seen = tonumber(call('ZSCORE', key('used'), target) or nil)
  if not is_seen(seen) then
    call('ZADD', key('used'), digits(now), target)
    touch(target)
  end
end

-- Let a target be in use with this limit; return since when that is written.
local function name_target(target, limit, seen, last_limit)
  if limit ~= last_limit then
    set(key('limits'), {[target] = limit or false})
    touch(target)
  end
  if not seen then
    touch(target)
  end
  if not is_seen(seen) then
    call('ZADD', key('used'), digits(now), target)
    return now
  end
  return seen
end

-- Name what the process may claim. That is left out if the last poll has named just the same, and lately.
local function name_targets()
  local last, named_at = unpack(call('HMGET', gate, 'named', 'named_at'))
  if last == ARGV[6] and is_seen(tonumber(named_at)) then
    return
  end
  local oldest, all = now, {}
  for target in pairs(targets()) do
    all[#all + 1] = target
  end
  for start = 1, #all, 1000 do
    local some = {unpack(all, start, math.min(start + 999, #all))}
    local seen, limits = call('ZMSCORE', key('used'), unpack(some)), call('HMGET', key('limits'), unpack(some))
    for i, target in ipairs(some) do
      local limit = targets()[target] or nil
      oldest = math.min(oldest, name_target(target, limit, tonumber(seen[i] or nil), tonumber(limits[i] or nil)))
    end
  end
  call('HSET', gate, 'named', ARGV[6], 'named_at', digits(oldest))
end

-- Forget targets that are no longer in use. Where processes differ in CRON_MAX_TIME the largest counts here: a target
-- that counts for too long dates the gate too early, never too late.
local function forget_targets(longest)
  for _, target in ipairs(call('ZRANGEBYSCORE', key('used'), '(' .. digits(now), '+inf', 'LIMIT', 0, 1000)) do
    call('ZADD', key('used'), digits(now), target)  -- the clock was set back
  end
  local before = '(' .. digits(now - IN_USE_FOR * longest)
  for _, target in ipairs(call('ZRANGEBYSCORE', key('used'), '-inf', before, 'LIMIT', 0, 1000)) do
    call('ZREM', key('used'), target)
    call('HDEL', key('limits'), target)
    touch(target)
  end
end

-- Note the CRON_MAX_TIME of this process; return the smallest and the largest of those in use.
local function name_time()
  local shortest, longest = given.cron_max_time, given.cron_max_time
  call('ZADD', key('times'), digits(now), digits(given.cron_max_time))
  local all = call('ZRANGE', key('times'), 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do
    local time, seen = tonumber(all[i]), tonumber(all[i + 1])
    if now - seen > IN_USE_FOR * time then
      call('ZREM', key('times'), all[i])
    else
      shortest, longest = math.min(shortest, time), math.max(longest, time)
    end
  end
  return shortest, longest
end
