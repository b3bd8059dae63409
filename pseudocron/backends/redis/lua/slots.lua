-- The gate, the slots and the history of the crons.
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

local function finish(id, outcome, error, output)
  local name = key('run', id)
  local run = record(name)
  set(name, {outcome = outcome, ended = now, error = error, output = output})
  if run.recover and (outcome == 'interrupted' or outcome == 'lost') then
    call('HSET', name, 'waits', 1)
    call('ZADD', key('orphans'), run.place, id)
  end
  if outcome ~= 'succeeded' then
    call('HINCRBY', key('cron', run.name), 'failures', 1)
  end
  settle(id)
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

-- The verbs

-- The version of what is stored, which is that of the first who came.
function reads.version()
  local version = call('GET', key('version'))
  if not version then
    call('SET', key('version'), arguments.version)
  end
  return {version = version or text(arguments.version), now = digits(now)}
end

function reads.fresh_for()
  return digits(left(arguments.max_age))
end

function verbs.enter()
  if left(arguments.max_age) > 0 then
    return 0
  end
  call('HSET', gate, 'at', digits(now))
  return 1
end

function verbs.lower()
  lower(arguments.due, arguments.max_age)
end

function verbs.states()
  local states = {}
  for i, known in ipairs(arguments.marks) do
    local cron = key('cron', known.name)
    call('HSETNX', cron, 'mark', digits(known.mark))
    local kept = record(cron)
    kept.running = call('ZCARD', key('living', known.name))
    kept.last = kept.last and record(key('run', kept.last))
    states[i] = kept
  end
  return {states = states, now = digits(now)}
end

local CLAIMED = {'mark', 'paused', 'fence', 'claims'}

-- Why a claim is refused, nil if it is not, in the order of the rules.
local function refusal(cron, orphan)
  if not arguments.manual then
    if arguments.slot > now then
      return 'early'
    end
    if arguments.recovers then
      if not orphan or not orphan.waits or orphan.name ~= arguments.name or tonumber(orphan.slot) ~= arguments.slot then
        return 'taken'
      end
    elseif cron.mark and arguments.slot <= cron.mark then
      return 'taken'
    end
    if cron.paused then
      return 'paused'
    end
  end
  return call('ZCARD', key('living', arguments.name)) >= arguments.max_instances and 'overlap' or nil
end

local function grant(cron, orphan)
  local run = {
    run_id = token, name = arguments.name, slot = arguments.manual and now or arguments.slot,
    fence = next_fence(cron.fence), attempt = orphan and tonumber(orphan.attempt) + 1 or 1, worker = arguments.worker,
    started = now, slots = 1, recover = arguments.recover and 1 or nil, lease = now + arguments.lease,
    waited = arguments.waited
  }
  local mark = not arguments.manual and math.max(cron.mark or arguments.slot, arguments.slot) or cron.mark
  set(key('cron', arguments.name), {mark = mark, fence = run.fence, claims = (cron.claims or 0) + 1, last = token})
  write(run)
  begin_lease(arguments.name, token, digits(run.lease))
  if orphan then
    call('HDEL', key('run', orphan.run_id), 'waits')
    call('ZREM', key('orphans'), orphan.run_id)
    settle(orphan.run_id)
  end
  return texts(run)
end

-- The living runs of the cron, as the line of a skip keeps those in its way.
local function living()
  local runs = {}
  for i, id in ipairs(call('ZRANGE', key('living', arguments.name), 0, -1)) do
    runs[i] = {run_id = id, worker = call('HGET', key('run', id), 'worker')}
  end
  return cjson.encode(runs)
end

function verbs.claim()
  local cron, orphan = numbers(key('cron', arguments.name), CLAIMED), nil
  if arguments.recovers then
    orphan = record(key('run', arguments.recovers))
  end
  local why = refusal(cron, orphan)
  if not why then
    return grant(cron, orphan)
  end
  if (why == 'overlap' or why == 'paused') and not arguments.recovers and not arguments.manual then
    local id = token .. ':' .. why
    local slot, blockers = arguments.slot, why == 'overlap' and living() or nil
    skip({
      run_id = id, name = arguments.name, slot = slot, first = slot, reason = why, slots = 1, grows = 'mark', blockers = blockers
    }, arguments.worker)
  end
  return why
end

function verbs.skip()
  for _, one in ipairs(arguments.skips) do
    if is_above(key('cron', one.name), one.grows, one.slot) then
      skip(one, '')
    end
  end
end

local function own(claim)
  local run = record(key('run', claim.run_id))
  return run and tonumber(run.fence) == claim.fence and run or nil
end

function verbs.renew()
  local living = {}
  for _, claim in ipairs(arguments.claims) do
    local run = own(claim)
    if run and run.lease then
      extend(run.name, run.run_id, arguments.lease)
      living[#living + 1] = run.run_id
    end
  end
  return living
end

function verbs.finish()
  local run = own(arguments)
  if not run or run.outcome then
    return 0
  end
  if not arguments.keep_lease then
    end_lease(run.name, run.run_id)
  end
  finish(run.run_id, arguments.outcome, arguments.error, arguments.output)
  return 1
end

function verbs.release()
  local run = own(arguments)
  if run and run.outcome then
    end_lease(run.name, run.run_id)
    settle(run.run_id)
  end
end

function verbs.reap()
  local over, lost = call('ZRANGEBYSCORE', key('leases'), '-inf', digits(now)), {}
  for _, id in ipairs(over) do
    local run = record(key('run', id))
    end_lease(run.name, id)
    if run.outcome then
      settle(id)
    else
      finish(id, 'lost')
      lost[#lost + 1] = record(key('run', id))
    end
  end
  return {lost, lines(call('ZRANGE', key('orphans'), 0, -1))}
end

function verbs.pause()
  call('HSET', key('cron', arguments.name), 'paused', 1)
end

function verbs.resume()
  call('HDEL', key('cron', arguments.name), 'paused')
end

function reads.history()
  local of = arguments.name and key('lines', arguments.name) or key('lines')
  return lines(call('ZREVRANGE', of, 0, arguments.limit - 1))
end

-- A line of the history, only those of its fields that are asked for.
local function told(id)
  local values, read = call('HMGET', key('run', id), unpack(arguments.told)), {}
  for i, field in ipairs(arguments.told) do
    read[field] = values[i] or nil
  end
  return read
end

function reads.timelines()
  local timelines = {}
  for i, name in ipairs(arguments.names) do
    timelines[i] = {}
    for j, id in ipairs(call('ZREVRANGE', key('lines', name), 0, arguments.limit - 1)) do
      timelines[i][j] = told(id)
    end
  end
  return timelines
end

function verbs.reset()
  set(key('cron', arguments.name), {mark = arguments.mark, back = arguments.mark})
end
