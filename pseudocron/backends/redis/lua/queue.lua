-- The verbs of the queue, on jobs.lua.

-- Storing

local function is_stored(new)
  return call('EXISTS', key('job', new.job_id)) == 1
end

-- Which job has a key that is asked for with on_conflict='raise', by the number of the one that asks.
local function conflict()
  local newer = {}
  for i, new in ipairs(arguments.jobs) do
    if new.key and not is_stored(new) then
      local of = name(new.task, new.key)
      local other = pending_of(new.task, new.key)
      newer[of] = newer[of] or other and not is_expired(other) and other.job_id or new.job_id
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
  local other = holder(new.task, new.key)
  if other and new.on_conflict == 'keep' then
    return other.job_id
  elseif other then
    drop(other, 'replaced')
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
  lower(math.min(first, first_due(see(tasks_of(arguments.jobs))) or first), arguments.max_age)
  return ids
end

function verbs.cancel()
  local pending
  if arguments.job_id then
    pending = find(arguments.job_id)
    if pending and pending.state == 'running' then
      mark(pending)
    end
  elseif arguments.key then
    local job = running(arguments.task, arguments.key)
    if job then
      mark(job)
    end
    pending = pending_of(arguments.task, arguments.key)
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
    if job.over then
      -- It waits for its own lease, which was kept.
    elseif is_expired(job) then
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
  local tasks = {}
  for _, task in ipairs(arguments.tasks) do
    tasks[task.name] = true
  end
  see(tasks)
  bring_forward(claims[1] and now + arguments.lease)
  return {claims, #expired == arguments.batch and 1 or 0}
end

-- The job of a claim that still has its lease; with `over` of one that has ended and keeps it.
local function own(claim, over)
  local job = find(claim.job_id)
  local has_lease = job and (over and job.over or not over and job.state == 'running')
  return has_lease and tonumber(job.fence) == claim.fence and job or nil
end

function verbs.renew_jobs()
  local living = {}
  for _, claim in ipairs(arguments.claims) do
    local job = own(claim) or own(claim, true)
    if job then
      end_lease(job)
      job.lease = now + arguments.lease
      call('HSET', key('job', job.job_id), 'lease', digits(job.lease))
      begin_lease(job)
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
  bring_forward(first_due(tasks_of(arguments.ends)))
  return states
end

function verbs.release_jobs()
  for _, claim in ipairs(arguments.claims) do
    local job = own(claim, true)
    if job then
      free(job)
    end
  end
  bring_forward(first_due(tasks_of(arguments.claims)))
end

function verbs.reap_jobs()
  local ended, reaped = {}, {}
  for i, id in ipairs(call('ZRANGEBYSCORE', key('running'), '-inf', digits(now))) do
    ended[i] = find(id)
    if ended[i].over then
      free(ended[i])
    end
  end
  for _, job in ipairs(ended) do
    if not job.over then
      lose(job)
      reaped[#reaped + 1] = texts(job)
    end
  end
  bring_forward(first_due(tasks_of(ended)))
  return reaped
end

-- For people

function verbs.retry()
  local job = find(arguments.job_id)
  if not job or job.state ~= 'failed' or holder(job.task, job.key) then
    return false
  end
  change(job, {
    state = 'pending', due = now, expires = false, attempts = 0, lost = 0, reason = false, unfit_since = false
  })
  bring_forward(now)
  return true
end

function verbs.purge()
  local left = arguments.limit
  for _, one in ipairs(arguments.keep) do
    local until_then = '(' .. digits(now - one.age)
    -- Those that have a lease are passed over, so as many more are read.
    local most = left + call('ZCARD', key('running'))
    for _, id in ipairs(call('ZRANGEBYSCORE', key('ended', one.state), '-inf', until_then, 'LIMIT', 0, most)) do
      local job = find(id)
      if left > 0 and not job.over then
        leave(job)
        call('DEL', key('job', id))
        left = left - 1
      end
    end
  end
  return arguments.limit - left
end
