-- Which tasks and crons are in use, and when each of them is due next: what the gate is dated by.
--
-- used            the targets in use, by when they were named last
-- limits          how many runs of each of them may be living, as the last poll has named it; '' for any number
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

local parsed
local searches = 0

-- What the process may claim: by target the limit, false if there is none.
local function targets()
  if not parsed then
    parsed = {}
    for target, limit in ARGV[5]:gmatch('%z([^%z]+)%z(%d*)') do
      parsed[target] = tonumber(limit) or false
    end
  end
  return parsed
end

-- The limit of a target, false if it has none; nil if the process may not claim it. Few are searched for in the text.
local function limit_of(target)
  searches = searches + 1
  if parsed or searches > 20 then
    return targets()[target]
  end
  local _, at = ARGV[5]:find('\0' .. target .. '\0', 1, true)
  if not at then
    return nil
  end
  return tonumber(ARGV[5]:match('^%d+', at + 1)) or false
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

local function id_of(kind, member)
  return kind == 'ready' and member:sub(35) or member:match('^[^:]*:[^:]*:(.*)$')
end

-- When the first of these pending runs is due that waits for no lease; they come with their scores.
local function first_of(kind, target, members, living)
  for i = 1, #members, 2 do
    local of_task, is_kept
    if living > 0 then
      of_task, is_kept = unpack(call('HMGET', key('run', id_of(kind, members[i])), 'key', 'is_kept'))
    end
    if not waits_for_lease(target, of_task, is_kept) then
      -- What is ready was due once, though the clock may have been set back since.
      return kind == 'ready' and math.min(now, tonumber(members[i]:sub(1, 16))) or tonumber(members[i + 1])
    end
  end
  return math.huge
end

-- When the first pending run of a target is due that waits for no lease, and whether there is any pending. Each lease
-- holds back one run at most, so that no more need be read than there are leases.
local function first_due(target, living)
  local ready = call('ZRANGE', key('ready', target), 0, living, 'WITHSCORES')
  local soonest = first_of('ready', target, ready, living)
  if soonest <= now then
    return soonest, true
  end
  local scheduled = call('ZRANGE', key('scheduled', target), 0, living, 'WITHSCORES')
  return math.min(soonest, first_of('scheduled', target, scheduled, living)), #ready + #scheduled > 0
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

local heads = {}

-- The score of the first member of an index.
local function head(index)
  heads[index] = heads[index] or tonumber(call('ZRANGE', key(index), 0, 0, 'WITHSCORES')[2] or math.huge)
  return heads[index]
end

local function write_index(index, member, at)
  heads[index] = nil
  if at < math.huge then
    call('ZADD', key(index), digits(at), member)
  else
    call('ZREM', key(index), member)
  end
  return at
end

-- Write anew when a target is due next; return that.
local function refresh(target)
  local living, cron = call('SCARD', key('living', target)), is_cron(target) and target:sub(3)
  local due, is_pending = first_due(target, living)
  call(is_pending and 'SADD' or 'SREM', key('pending'), target)
  local limit = call('HGET', key('limits'), target)
  local state = cron and numbers(key('cron', cron), {'paused', 'next', 'held'}) or {}
  local counts = limit and not state.paused
  limit = tonumber(limit or nil) or math.huge
  local soonest = write_index('due', target, counts and living < limit and due or math.huge)
  if cron then
    local waits = not counts or state.held and count_of(cron) >= limit
    soonest = math.min(soonest, write_index('next', cron, not waits and state.next or math.huge))
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
    if call('HSETNX', key('limits'), target, '') == 1 then
      touch(target)
    end
  end
end

-- Let targets be in use, and write what is new of them; return since when the one is in use that was written first.
local function name_some(some)
  local seen, limits = call('ZMSCORE', key('used'), unpack(some)), call('HMGET', key('limits'), unpack(some))
  local oldest, used, changed = now, {}, {}
  for i, target in ipairs(some) do
    local limit, at = targets()[target] and text(targets()[target]) or '', tonumber(seen[i] or nil)
    if limits[i] ~= limit then
      changed[target] = limit
      touch(target)
    end
    if is_seen(at) then
      oldest = math.min(oldest, at)
    else
      used[#used + 1] = digits(now)
      used[#used + 1] = target
    end
  end
  set(key('limits'), changed)
  write_in_parts('ZADD', key('used'), used)
  return oldest
end

-- Name what the process may claim. That is left out if the last poll has named just the same, and lately.
local function name_targets()
  if of_gate('named') == ARGV[6] and is_seen(tonumber(of_gate('named_at'))) then
    return
  end
  local oldest, all = now, {}
  for target in pairs(targets()) do
    all[#all + 1] = target
  end
  for start = 1, #all, 500 do
    oldest = math.min(oldest, name_some({unpack(all, start, math.min(start + 499, #all))}))
  end
  change_gate('named', ARGV[6])
  change_gate('named_at', oldest)
  change_gate('oldest', call('ZRANGE', key('used'), 0, 0, 'WITHSCORES')[2] or now)
end

-- Forget targets that are no longer in use. Where processes differ in CRON_MAX_TIME the largest counts here: a target
-- that counts for too long dates the gate too early, never too late.
local function forget_targets(longest)
  if now < (tonumber(of_gate('polled')) or 0) then  -- the clock was set back
    for _, target in ipairs(call('ZRANGEBYSCORE', key('used'), '(' .. digits(now), '+inf', 'LIMIT', 0, AT_MOST)) do
      call('ZADD', key('used'), digits(now), target)
    end
  end
  local before = now - IN_USE_FOR * longest
  if (tonumber(of_gate('oldest')) or 0) >= before then
    return
  end
  for _, target in ipairs(call('ZRANGEBYSCORE', key('used'), '-inf', '(' .. digits(before), 'LIMIT', 0, AT_MOST)) do
    call('ZREM', key('used'), target)
    call('HDEL', key('limits'), target)
    touch(target)
  end
  change_gate('oldest', call('ZRANGE', key('used'), 0, 0, 'WITHSCORES')[2] or now)
end

-- Note the CRON_MAX_TIME of this process; return the smallest and the largest of those in use.
local function name_time()
  local mine = digits(given.cron_max_time)
  local shortest, longest, times = given.cron_max_time, given.cron_max_time, {mine .. ':' .. digits(now)}
  for time, seen in (of_gate('times') or ''):gmatch('(%d+):(%d+)') do
    local is_used = now - tonumber(seen) <= IN_USE_FOR * tonumber(time)
    if is_used and time ~= mine then
      shortest, longest = math.min(shortest, tonumber(time)), math.max(longest, tonumber(time))
      times[#times + 1] = time .. ':' .. seen
    end
  end
  change_gate('times', table.concat(times, ' '))
  return shortest, longest
end
