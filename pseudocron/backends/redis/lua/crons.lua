-- The crons: their marks, and the lines of their history. The verbs are in slots.lua.
--
-- cron:NAME    what is kept of a cron for ever: mark, back, paused, claims, fence, failures, missed, last
-- run:ID       a line of the history, the end of its lease, whether it is, and waits, to be recovered
-- lines:NAME   the cron's lines, and `lines` all of them, in the order in which they were written
-- runs:NAME, skips:NAME   those of them to which nothing more can happen, so that they may be forgotten
-- living:NAME  the cron's living leases, and `leases` all of them, by their end
-- orphans      the runs that wait to be recovered

local function lines(ids)
  local read = {}
  for i, id in ipairs(ids) do
    read[i] = record(key('run', id))
  end
  return read
end

-- The end of lines

local function forget(name, id)
  call('DEL', key('run', id))
  call('ZREM', key('lines', name), id)
  call('ZREM', key('lines'), id)
end

-- Once nothing more can happen to a line it may be forgotten; keep as many as are wanted.
local function settle(id)
  local run = record(key('run', id))
  if not run.outcome or run.lease or run.waits then
    return
  end
  local settled = key(run.reason and 'skips' or 'runs', run.name)
  call('ZADD', settled, run.place, id)
  for _, old in ipairs(call('ZRANGE', settled, 0, -arguments.keep - 1)) do
    call('ZREM', settled, old)
    forget(run.name, old)
  end
end

local function end_lease(name, id)
  call('HDEL', key('run', id), 'lease')
  call('ZREM', key('living', name), id)
  call('ZREM', key('leases'), id)
end

local function begin_lease(name, id, over)
  call('ZADD', key('living', name), over, id)
  call('ZADD', key('leases'), over, id)
end

local function extend(name, id, lease)
  local over = digits(now + lease)
  -- A full server lets a script go on that begins by taking something away: no lease is to be lost by that.
  call('ZREM', key('leases'), id)
  call('HSET', key('run', id), 'lease', over)
  begin_lease(name, id, over)
end

local function write(run)
  run.place = call('INCR', key('places'))
  set(key('run', run.run_id), run)
  call('ZADD', key('lines', run.name), run.place, run.run_id)
  call('ZADD', key('lines'), run.place, run.run_id)
end

-- Record how a run ended; whether it now waits to be recovered.
local function finish(id, outcome, error, output)
  local name = key('run', id)
  local run = record(name)
  local waits = run.recover and (outcome == 'interrupted' or outcome == 'lost')
  set(name, {outcome = outcome, ended = now, error = error, output = output})
  if waits then
    call('HSET', name, 'waits', 1)
    call('ZADD', key('orphans'), run.place, id)
  end
  if outcome ~= 'succeeded' then
    call('HINCRBY', key('cron', run.name), 'failures', 1)
  end
  settle(id)
  return waits
end

-- The mark

local function is_above(cron, field, slot)
  local highest = number(cron, field)
  return not highest or slot > highest
end

local function grow(cron, field, slot)
  if is_above(cron, field, slot) then
    call('HSET', cron, field, digits(slot))
  end
end

local function skip(one, worker)
  local cron = key('cron', one.name)
  grow(cron, one.grows, one.slot)
  call('HINCRBY', cron, 'missed', one.slots)
  local newest = call('ZREVRANGE', key('lines', one.name), 0, 0)[1]
  local last = newest and record(key('run', newest))
  if last and last.reason == one.reason then
    set(key('run', newest), {
      slot = math.max(tonumber(last.slot), one.slot), first = math.min(tonumber(last.first), one.first),
      ended = now, slots = tonumber(last.slots) + one.slots
    })
    return
  end
  write {
    run_id = one.run_id, name = one.name, slot = one.slot, fence = 0, attempt = 0, worker = worker,
    started = now, ended = now, outcome = 'skipped', reason = one.reason, slots = one.slots,
    first = one.first, since = one.since, blockers = one.blockers
  }
  settle(one.run_id)
end
