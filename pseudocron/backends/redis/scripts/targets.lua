-- Which tasks and crons are in use, and when each of them is due next: what the gate is dated by.
--
-- used            the targets in use, by when they were named last
-- limits          how many runs of each of them may be living, as the last poll has named it; '' for any number
-- due             the targets in use with a pending run that is not held back, by the due time of the first one
-- next            the crons in use that are not paused, by when they are due next
-- pending         the targets with pending runs
-- cron:NAME       mark, since, back, next, paused, claims, fence, failures, missed, schedule, replaced; held: in the last
--                 poll that planned it, max_instances held back slots above its mark; seen: when it was last in use
-- crons, tasks    the names of all crons, and of the tasks that have jobs
-- counting:NAME   the pending runs of a cron that count for max_instances, without those whose leases are kept
--
-- Whatever may change when a target is due next touches it. `refresh_touched` then writes both indexes anew, so that
-- *earliest* is read from their heads.

local touched = {}

function Targets.touch(target)
  touched[target] = true
end

function Targets.is_touched(target)
  return touched[target]
end

local parsed
local searches = 0

-- What the process may claim: by target the limit, false if there is none.
function Targets.targets()
  if not parsed then
    parsed = {}
    for target, limit in ARGV[5]:gmatch('%z([^%z]+)%z(%d*)') do
      parsed[target] = tonumber(limit) or false
    end
  end
  return parsed
end

-- The limit of a target, false if it has none; nil if the process may not claim it. Few are searched for in the text.
function Targets.limit_of(target)
  searches = searches + 1
  if parsed or searches > 100 then
    return Targets.targets()[target]
  end
  local _, at = ARGV[5]:find('\0' .. target .. '\0', 1, true)
  if not at then
    return nil
  end
  return tonumber(ARGV[5]:match('^%d+', at + 1)) or false
end

function Targets.is_cron(target)
  return target:sub(1, 1) == 'c'
end

function Targets.key_of(name, of_task)
  return name .. '\0' .. of_task
end

-- Whether a pending run must wait for a lease: its own of an earlier attempt, or that of another job with its key.
function Targets.waits_for_lease(target, of_task, is_kept)
  return is_kept or of_task and call('HEXISTS', key('busy'), Targets.key_of(target, of_task)) == 1
end

-- A place, so that texts sort as numbers do.
function Targets.written_place(place)
  local written = digits(place)
  return string.char(64 + #written) .. written
end

-- The place and the id at the end of a member of an index, from a position on.
function Targets.place_and_id(member, from)
  local size = (member:byte(from) or 64) - 64
  return member:sub(from + 1, from + size), member:sub(from + size + 1)
end

function Targets.id_of(kind, member)
  local _, id = Targets.place_and_id(member, kind == 'ready' and 17 or (member:find(':', 1, true) or 0) + 1)
  return id
end

-- When the first pending run of a kind is due that waits for no lease, and whether there is any. Each lease holds back
-- one run at most, so that this reads no more runs than there are leases.
function Targets.first_of(kind, target, living)
  local start, members = 0, nil
  repeat
    members = call('ZRANGE', key(kind, target), start, start + 3, 'WITHSCORES')
    for i = 1, #members, 2 do
      local of_task, is_kept
      if living > 0 then
        of_task, is_kept = unpack(try('HMGET', key('run', Targets.id_of(kind, members[i])), 'key', 'is_kept') or {})
      end
      if not Targets.waits_for_lease(target, of_task, is_kept) then
        -- What is ready was due once, though the clock may have been set back since.
        return kind == 'ready' and math.min(now, tonumber(members[i]:sub(1, 16)) or now) or tonumber(members[i + 1]), true
      end
    end
    start = start + 4
  until #members < 8
  return math.huge, start + #members > 4
end

-- When the first pending run of a target is due that waits for no lease, and whether there is any pending.
function Targets.first_due(target, living)
  local ready, is_ready = Targets.first_of('ready', target, living)
  if ready <= now then
    return ready, true
  end
  local scheduled, is_scheduled = Targets.first_of('scheduled', target, living)
  return math.min(ready, scheduled), is_ready or is_scheduled
end

-- How many runs of a cron count for max_instances.
function Targets.count_of(cron)
  return call('SCARD', key('living', 'c:' .. cron)) + call('SCARD', key('counting', cron))
end

-- What is told of a cron.
function Targets.state_of(name)
  local state = record(key('cron', name)) or {}
  state.running = Targets.count_of(name)
  state.seen = call('ZSCORE', key('used'), 'c:' .. name) or state.seen
  return state
end

function Targets.note_cron(name)
  call('SADD', key('crons'), name)
end

Targets.head_of = {}

-- The score of the first member of an index.
function Targets.head(index)
  Targets.head_of[index] = Targets.head_of[index] or tonumber(call('ZRANGE', key(index), 0, 0, 'WITHSCORES')[2] or math.huge)
  return Targets.head_of[index]
end

function Targets.write_index(index, member, at)
  Targets.head_of[index] = nil
  if at < math.huge then
    call('ZADD', key(index), digits(at), member)
  else
    call('ZREM', key(index), member)
  end
  return at
end

-- Write anew when a target is due next; return that.
function Targets.refresh(target)
  local living, cron = call('SCARD', key('living', target)), Targets.is_cron(target) and target:sub(3)
  write_now(key('ready', target))
  local due, is_pending = Targets.first_due(target, living)
  call(is_pending and 'SADD' or 'SREM', key('pending'), target)
  local limit = call('HGET', key('limits'), target)
  local state = cron and numbers(key('cron', cron), {'paused', 'next', 'held'}) or {}
  local counts = limit and not state.paused
  limit = tonumber(limit or nil) or math.huge
  local soonest = Targets.write_index('due', target, counts and living < limit and due or math.huge)
  if cron then
    local waits = not counts or state.held and Targets.count_of(cron) >= limit
    soonest = math.min(soonest, Targets.write_index('next', cron, not waits and state.next or math.huge))
  end
  return soonest
end

local dues = {}

-- The same of all touched targets.
function Targets.refresh_touched()
  for target in pairs(touched) do
    dues[target] = Targets.refresh(target)
  end
  touched = {}
end

-- Let the gate turn stale when the first of the targets is due that this verb has touched.
function Targets.bring_forward_touched()
  Targets.refresh_touched()
  local soonest = math.huge
  for _, due in pairs(dues) do
    soonest = math.min(soonest, due)
  end
  Gate.bring_forward(soonest < math.huge and soonest)
end

-- Names

function Targets.is_seen(seen)
  return seen and seen <= now and now - seen < SEEN_AGAIN * given.cron_max_time
end

-- Write that a target is in use, if that is to be written again.
function Targets.use(target)
  local seen = tonumber(call('ZSCORE', key('used'), target) or nil)
  if not Targets.is_seen(seen) then
    call('ZADD', key('used'), digits(now), target)
    if call('HSETNX', key('limits'), target, '') == 1 then
      Targets.touch(target)
    end
  end
end

-- Let targets be in use, and write what is new of them; return since when the one is in use that was written first.
function Targets.name_some(some)
  local seen, limits = call('ZMSCORE', key('used'), unpack(some)), call('HMGET', key('limits'), unpack(some))
  local oldest, used, changed = now, {}, {}
  for i, target in ipairs(some) do
    local limit, at = Targets.targets()[target] and text(Targets.targets()[target]) or '', tonumber(seen[i] or nil)
    if limits[i] ~= limit then
      changed[target] = limit
      Targets.touch(target)
    end
    if Targets.is_seen(at) then
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

function Targets.must_be_named()
  return of_gate('named') ~= ARGV[6] or not Targets.is_seen(tonumber(of_gate('named_at')))
end

-- Note that all that the process may claim is named, as it was in parts.
function Targets.note_named(digest, oldest)
  change_gate('named', digest)
  change_gate('named_at', oldest)
  change_gate('oldest', call('ZRANGE', key('used'), 0, 0, 'WITHSCORES')[2] or now)
end

-- Name what the process may claim; note whether that was written. It is left out if the last poll has named just the same, and lately.
function Targets.name_targets()
  Targets.are_named = false
  if not Targets.must_be_named() then
    return
  end
  Targets.are_named = true
  local oldest, all = now, {}
  for target in pairs(Targets.targets()) do
    all[#all + 1] = target
  end
  for start = 1, #all, 500 do
    oldest = math.min(oldest, Targets.name_some({unpack(all, start, math.min(start + 499, #all))}))
  end
  Targets.note_named(ARGV[6], oldest)
end

-- Keep when a cron was last in use: it may come back.
function Targets.note_seen(target)
  local cron = Targets.is_cron(target) and key('cron', target:sub(3))
  if cron and call('EXISTS', cron) == 1 then
    call('HSET', cron, 'seen', digits(tonumber(call('ZSCORE', key('used'), target))))
  end
end

-- Forget targets that are no longer in use. Where processes differ in CRON_MAX_TIME the largest counts here: a target
-- that counts for too long dates the gate too early, never too late.
function Targets.forget_targets(longest)
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
    Targets.note_seen(target)
    call('ZREM', key('used'), target)
    call('HDEL', key('limits'), target)
    Targets.touch(target)
  end
  change_gate('oldest', call('ZRANGE', key('used'), 0, 0, 'WITHSCORES')[2] or now)
end

-- The smallest and the largest CRON_MAX_TIME in use, or of this process; and all, with its own used now.
function Targets.times_in_use()
  local mine = digits(given.cron_max_time)
  local shortest, longest, times = given.cron_max_time, given.cron_max_time, {mine .. ':' .. digits(now)}
  for time, seen in (of_gate('times') or ''):gmatch('(%d+):(%d+)') do
    local is_used = now - tonumber(seen) <= IN_USE_FOR * tonumber(time)
    if is_used and time ~= mine then
      shortest, longest = math.min(shortest, tonumber(time)), math.max(longest, tonumber(time))
      times[#times + 1] = time .. ':' .. seen
    end
  end
  return shortest, longest, times
end

-- Note the CRON_MAX_TIME of this process; return the smallest and the largest of those in use.
function Targets.name_time()
  local shortest, longest, times = Targets.times_in_use()
  change_gate('times', table.concat(times, ' '))
  return shortest, longest
end
