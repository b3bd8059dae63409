-- The verbs of the queue, on jobs.lua.

-- Storing

local function is_stored(new)
  return call('EXISTS', key('job', new.job_id)) == 1
end

local function pending_id(new)
  return call('HGET', key('keys'), name(new.task, new.key))
end

-- Which job has a key that is asked for with on_conflict='raise', by the number of the one that asks.
local function conflict()
  local newer = {}
  for i, new in ipairs(arguments.jobs) do
    if new.key and not is_stored(new) then
      local of = name(new.task, new.key)
      newer[of] = newer[of] or pending_id(new) or new.job_id
      if new.on_conflict == 'raise' and newer[of] ~= new.job_id then
        return {refused = i, by = newer[of]}
      end
    end
  end
end

local function store(new)
  local job = {
    job_id = new.job_id, task = new.task, arguments = new.arguments, state = 'pending', due = new.due, created = now,
    key = new.key, priority = new.priority, expires = new.expires, attempts = 0, lost = 0, fence = 0,
    place = call('INCR', key('places'))
  }
  set(key('job', job.job_id), job)
  stand(job)
end

local function defer(new)
  if is_stored(new) then
    return new.job_id
  end
  if new.key then
    local other = pending_id(new)
    if other and new.on_conflict == 'keep' then
      return other
    elseif other then
      drop(find(other), 'replaced')
    end
    mark(running(new.task, new.key), 'replaced')
  end
  store(new)
  return new.job_id
end

function verbs.defer()
  local refused = conflict()
  if refused then
    return refused
  end
  local ids, first = {}, math.huge
  for i, new in ipairs(arguments.jobs) do
    ids[i] = defer(new)
    first = math.min(first, new.due)
  end
  lower(first, arguments.max_age)
  return ids
end

function verbs.cancel()
  local pending
  if arguments.job_id then
    pending = find(arguments.job_id)
    if pending and pending.state == 'running' then
      mark(pending, 'cancelled')
    end
  elseif arguments.key then
    mark(running(arguments.task, arguments.key), 'cancelled')
    pending = find(pending_id(arguments))
  end
  if not pending or pending.state ~= 'pending' then
    return false
  end
  drop(pending, 'cancelled')
  return true
end

-- Claiming

local function make_ready(task)
  local scheduled = key('scheduled', task)
  for _, waiting in ipairs(call('ZRANGEBYSCORE', scheduled, '-inf', digits(now), 'LIMIT', 0, arguments.batch)) do
    local job = numbers(key('job', waiting:sub(18)), {'due', 'place', 'priority'})
    job.job_id = waiting:sub(18)
    call('ZREM', scheduled, waiting)
    call('ZADD', key('ready', task), -job.priority, turn(job))
  end
end

-- The ready jobs of a task in their order, read some at a time.
local function open_line(task, room)
  local line = {task = task, room = room, read = 0, waiting = {}, at = 1}
  function line.first()
    if line.at > #line.waiting then
      line.waiting = call('ZRANGE', key('ready', task), line.read, line.read + 99, 'WITHSCORES')
      line.read, line.at = line.read + 100, 1
    end
    local turn_of, rank = line.waiting[line.at], tonumber(line.waiting[line.at + 1] or nil)
    return turn_of and {rank = rank, turn = turn_of, job_id = turn_of:sub(35)} or nil
  end
  return line
end

local function open_lines()
  local lines = {}
  for _, task in ipairs(arguments.tasks) do
    local room = task.most and task.most - call('ZCARD', key('running', task.name)) or math.huge
    if room > 0 then
      make_ready(task.name)
      lines[#lines + 1] = open_line(task.name, room)
    end
  end
  return lines
end

local function next_of(lines)
  local best, of
  for _, line in ipairs(lines) do
    local first = line.room > 0 and line.first() or nil
    if first and (not best or first.rank < best.rank or first.rank == best.rank and first.turn < best.turn) then
      best, of = first, line
    end
  end
  return best, of
end

local function pick()
  local due, expired, lines = {}, {}, open_lines()
  while #due < arguments.limit and #expired < arguments.batch do
    local first, line = next_of(lines)
    if not first then
      break
    end
    line.at = line.at + 2
    local job = find(first.job_id)
    if job.expires and tonumber(job.expires) < now then
      expired[#expired + 1] = job
    elseif not (job.key and call('HEXISTS', key('busy'), name(job.task, job.key)) == 1) then
      due[#due + 1] = job
      line.room = line.room - 1
    end
  end
  return due, expired
end

function verbs.claim_jobs()
  local due, expired = pick()
  for _, job in ipairs(expired) do
    drop(job, 'expired')
  end
  local claims = {}
  for i, job in ipairs(due) do
    change(job, {
      state = 'running', attempts = tonumber(job.attempts) + 1, fence = next_fence(job.fence), worker = arguments.worker,
      started = now, ended = false, lease = now + arguments.lease
    })
    claims[i] = texts(job)
  end
  return claims
end

function reads.next_job()
  local soonest
  for _, task in ipairs(arguments.tasks) do
    local ready = call('ZRANGE', key('ready', task), 0, 0)[1]
    local scheduled = call('ZRANGE', key('scheduled', task), 0, 0, 'WITHSCORES')[2]
    for _, due in ipairs({ready and tonumber(ready:sub(1, 16)) or math.huge, tonumber(scheduled or nil) or math.huge}) do
      soonest = math.min(soonest or due, due)
    end
  end
  return soonest and soonest < math.huge and digits(soonest) or nil
end

local function own(claim)
  local job = find(claim.job_id)
  return job and job.state == 'running' and tonumber(job.fence) == claim.fence and job or nil
end

function verbs.renew_jobs()
  local living = {}
  for _, claim in ipairs(arguments.claims) do
    local job = own(claim)
    if job then
      change(job, {lease = now + arguments.lease})
      living[#living + 1] = job.job_id
    end
  end
  return living
end

function verbs.finish_jobs()
  local states = {}
  for i, ending in ipairs(arguments.ends) do
    local job = own(ending)
    states[i] = job and finish(job, ending) or false
  end
  return states
end

function verbs.reap_jobs()
  local reaped = {}
  for i, id in ipairs(call('ZRANGEBYSCORE', key('running'), '-inf', digits(now))) do
    local job = find(id)
    lose(job)
    reaped[i] = texts(job)
  end
  return reaped
end

-- For people

function reads.waiting_tasks()
  local waiting = {}
  for _, task in ipairs(call('SMEMBERS', key('tasks'))) do
    if call('EXISTS', key('ready', task), key('scheduled', task)) > 0 then
      waiting[#waiting + 1] = task
    end
  end
  return waiting
end

function reads.count_jobs()
  local counts = {}
  for i, state in ipairs(arguments.states) do
    counts[i] = call('ZCARD', key('jobs', state))
  end
  return counts
end

function reads.job()
  return find(arguments.job_id)
end

function reads.place()
  local place = call('HGET', key('job', arguments.job_id), 'place')
  return place and '(' .. place or nil
end

-- Some of the jobs, the latest stored first, and the place from which to read on, if there may be more.
function reads.jobs()
  local places = {}
  for _, state in ipairs(arguments.states) do
    local of = call('ZREVRANGEBYSCORE', key('jobs', state), arguments.below, '-inf', 'WITHSCORES', 'LIMIT', 0, arguments.scan)
    for i = 1, #of, 2 do
      places[#places + 1] = {id = of[i], place = tonumber(of[i + 1])}
    end
  end
  table.sort(places, function(one, other) return one.place > other.place end)
  local found = {}
  for i = 1, math.min(#places, arguments.scan) do
    local job = find(places[i].id)
    if (not arguments.task or job.task == arguments.task) and (not arguments.key or job.key == arguments.key) then
      found[#found + 1] = job
    end
  end
  return {found = found, below = #places >= arguments.scan and '(' .. digits(places[arguments.scan].place) or nil}
end

function verbs.retry()
  local job = find(arguments.job_id)
  if not job or job.state ~= 'failed' or job.key and pending_id(job) then
    return false
  end
  if job.key then
    mark(running(job.task, job.key), 'replaced')
  end
  change(job, {state = 'pending', due = now, expires = false, attempts = 0, lost = 0, reason = false})
  return true
end

function verbs.purge()
  local left = arguments.limit
  for _, one in ipairs(arguments.keep) do
    local until_then = '(' .. digits(now - one.age)
    for _, id in ipairs(call('ZRANGEBYSCORE', key('ended', one.state), '-inf', until_then, 'LIMIT', 0, left)) do
      leave(find(id))
      call('DEL', key('job', id))
      left = left - 1
    end
  end
  return arguments.limit - left
end
