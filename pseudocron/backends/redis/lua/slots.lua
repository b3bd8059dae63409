-- The verbs of the gate, the slots and the history, on crons.lua.

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
  return digits(left(arguments.max_age))
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
  bring_forward(run.lease)
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
  bring_forward(finish(run.run_id, arguments.outcome, arguments.error, arguments.output) and now)
  return 1
end

function verbs.release()
  local run = own(arguments)
  if run and run.outcome then
    end_lease(run.name, run.run_id)
    settle(run.run_id)
  end
  bring_forward(now)
end

function verbs.reap()
  local over, lost, waits = call('ZRANGEBYSCORE', key('leases'), '-inf', digits(now)), {}, false
  for _, id in ipairs(over) do
    local run = record(key('run', id))
    end_lease(run.name, id)
    if run.outcome then
      settle(id)
    else
      waits = finish(id, 'lost') or waits
      lost[#lost + 1] = record(key('run', id))
    end
  end
  bring_forward(waits and now)
  local reset = call('ZRANGEBYSCORE', key('resets'), digits(now - 2 * arguments.cron_max_time), '+inf')
  return {lost, lines(call('ZRANGE', key('orphans'), 0, -1)), reset, digits(now)}
end

function verbs.pause()
  call('HSET', key('cron', arguments.name), 'paused', 1)
  bring_forward(now)
end

function verbs.resume()
  call('HDEL', key('cron', arguments.name), 'paused')
  bring_forward(now)
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
  call('ZREMRANGEBYSCORE', key('resets'), '-inf', digits(now - 2 * arguments.cron_max_time))
  set(key('cron', arguments.name), {mark = arguments.mark, back = arguments.mark})
  call('ZADD', key('resets'), digits(now), arguments.name)
  bring_forward(now)
end

-- The kept leases of runs that have ended.
function reads.lingering()
  local kept = {}
  for _, id in ipairs(call('ZRANGE', key('leases'), 0, -1)) do
    local run = record(key('run', id))
    if run and run.outcome then
      kept[#kept + 1] = {name = run.name, run_id = id, worker = run.worker, ended = run.ended}
    end
  end
  return kept
end
