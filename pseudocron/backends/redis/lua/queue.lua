-- The queue of jobs.
--
-- job:ID          a job, and its place in the order in which jobs were stored; of a running one also the end of its
--                 lease, and what it is to end as unless it succeeds (mark)
-- jobs:STATE      the jobs in a state, by their places
-- keys, busy      the pending and the running job of a task and key
-- scheduled:TASK  the pending jobs that no claim has seen due yet, by when they are due, as 'PLACE:ID'
-- ready:TASK      the others, by priority, as 'DUE:PLACE:ID', which is the order of those with the same priority
-- tasks           the names of all tasks
-- running, running:TASK   what runs, by the end of the lease
-- ended:STATE     what is over, by its end

local function name(task, of_task)
  return task .. '\0' .. of_task
end

-- What is due at the same time starts in the order in which it was stored.
local function place(job)
  return string.format('%016.0f:%s', job.place, job.job_id)
end

local function turn(job)
  return string.format('%016.0f:%s', math.max(0, job.due), place(job))
end

-- Where a job stands, and all that leads to it there.

local function stand_pending(job)
  if job.key then
    call('HSET', key('keys'), name(job.task, job.key), job.job_id)
  end
  call('SADD', key('tasks'), job.task)
  if tonumber(job.due) <= now then
    call('ZADD', key('ready', job.task), -job.priority, turn(job))
  else
    call('ZADD', key('scheduled', job.task), text(job.due), place(job))
  end
end

local function stand_running(job)
  if job.key then
    call('HSET', key('busy'), name(job.task, job.key), job.job_id)
  end
  call('ZADD', key('running'), text(job.lease), job.job_id)
  call('ZADD', key('running', job.task), text(job.lease), job.job_id)
end

local function stand(job)
  call('ZADD', key('jobs', job.state), text(job.place), job.job_id)
  if job.state == 'pending' then
    stand_pending(job)
  elseif job.state == 'running' then
    stand_running(job)
  else
    call('ZADD', key('ended', job.state), text(job.ended), job.job_id)
  end
end

local function leave(job)
  call('ZREM', key('jobs', job.state), job.job_id)
  if job.state == 'pending' then
    if call('ZREM', key('ready', job.task), turn(job)) == 0 then
      call('ZREM', key('scheduled', job.task), place(job))
    end
  elseif job.state == 'running' then
    call('ZREM', key('running'), job.job_id)
    call('ZREM', key('running', job.task), job.job_id)
  else
    call('ZREM', key('ended', job.state), job.job_id)
  end
  if job.key and (job.state == 'pending' or job.state == 'running') then
    call('HDEL', key(job.state == 'pending' and 'keys' or 'busy'), name(job.task, job.key))
  end
end

-- Let a job be otherwise; what is `false` is taken away.
local function change(job, fields)
  leave(job)
  local set_to, gone = {}, {}
  for field, value in pairs(fields) do
    if value == false then
      gone[#gone + 1] = job[field] and field  -- nil where there is none
      job[field] = nil
    else
      set_to[field] = value
      job[field] = value
    end
  end
  set(key('job', job.job_id), set_to)
  if #gone > 0 then
    call('HDEL', key('job', job.job_id), unpack(gone))
  end
  stand(job)
  return job.state
end

local function find(id)
  return id and record(key('job', id)) or nil
end

-- What becomes of a job

local function drop(job, state, fields)
  fields = fields or {}
  fields.state, fields.ended, fields.reason = state, now, arguments.reasons[state]
  fields.lease, fields.mark = false, false
  return change(job, fields)
end

local function mark(job, state)
  if job and not job.mark then
    call('HSET', key('job', job.job_id), 'mark', state)
  end
end

local function running(task, of_task)
  return find(call('HGET', key('busy'), name(task, of_task)))
end

local function finish(job, ending)
  local fields = {
    attempts = tonumber(job.attempts) - (ending.counts and 0 or 1), error = ending.error or job.error,
    state = ending.state, ended = now, lease = false, mark = false
  }
  if job.mark and ending.state ~= 'succeeded' then
    return drop(job, job.mark, fields)
  end
  if ending.state == 'pending' then
    fields.due = ending.due or now
  else
    fields.reason = ending.reason or false
  end
  return change(job, fields)
end

local function lose(job)
  local lost = tonumber(job.lost) + 1
  if job.mark then
    drop(job, job.mark, {lost = lost})
  elseif lost >= arguments.lost_at_most then
    local reason = 'lost ' .. lost .. ' times'
    change(job, {state = 'failed', lost = lost, ended = now, reason = reason, lease = false})
  else
    change(job, {state = 'pending', lost = lost, ended = now, due = now, lease = false})
  end
end

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
