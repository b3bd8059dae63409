-- The jobs: where they stand, and what becomes of them. The verbs of the queue are in queue.lua.
--
-- job:ID          a job, and its place in the order in which jobs were stored; of a running one also the end of its
--                 lease, and whether it was cancelled meanwhile (mark); of one that has ended and whose lease is kept
--                 that it is `over`
-- jobs:STATE      the jobs in a state, by their places
-- keys, busy      the pending job of a task and key, and the one that has a lease
-- scheduled:TASK  the pending jobs that no claim has seen due yet, by when they are due, as 'PLACE:ID'
-- ready:TASK      the others, by priority, as 'DUE:PLACE:ID', which is the order of those with the same priority
-- tasks           the names of all tasks
-- seen            when each task was last named by a process
-- running, running:TASK   what has a lease, also a kept one, by the end of it
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

local function begin_lease(job)
  if job.key then
    call('HSET', key('busy'), name(job.task, job.key), job.job_id)
  end
  call('ZADD', key('running'), text(job.lease), job.job_id)
  call('ZADD', key('running', job.task), text(job.lease), job.job_id)
end

local function end_lease(job)
  call('ZREM', key('running'), job.job_id)
  call('ZREM', key('running', job.task), job.job_id)
  if job.key then
    call('HDEL', key('busy'), name(job.task, job.key))
  end
end

-- Once the code of a job that has ended is over too.
local function free(job)
  end_lease(job)
  call('HDEL', key('job', job.job_id), 'lease', 'over')
end

local function stand(job)
  call('ZADD', key('jobs', job.state), text(job.place), job.job_id)
  if job.state == 'pending' then
    stand_pending(job)
  elseif job.state == 'running' then
    begin_lease(job)
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
    if job.key then
      call('HDEL', key('keys'), name(job.task, job.key))
    end
  elseif job.state ~= 'running' then
    call('ZREM', key('ended', job.state), job.job_id)
  elseif not job.over then
    end_lease(job)
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
  return change(job, fields)
end

local function is_expired(job)
  return job.expires and tonumber(job.expires) < now
end

local function pending_of(task, of_task)
  return of_task and find(call('HGET', key('keys'), name(task, of_task)))
end

-- The pending job of a task and key; one that has expired is recorded as such, and leaves the key.
local function holder(task, of_task)
  local job = pending_of(task, of_task)
  if job and is_expired(job) then
    drop(job, 'expired')
    return nil
  end
  return job
end

-- The job that has a lease and is not over, by its task and key.
local function running(task, of_task)
  local job = find(call('HGET', key('busy'), name(task, of_task)))
  return job and job.state == 'running' and job or nil
end

local function mark(job)
  call('HSET', key('job', job.job_id), 'mark', 'cancelled')
end

-- What a running job ends as if it is not wanted back. An older version stored other marks.
local function dropped_as(job)
  if job.mark == 'cancelled' then
    return 'cancelled'
  end
  return holder(job.task, job.key) and 'replaced'
end

local function finish(job, ending)
  local fields = {
    attempts = tonumber(job.attempts) - (ending.counts and 0 or 1), error = ending.error or job.error,
    state = ending.state, ended = now, lease = false, mark = false,
    unfit_since = ending.unfit and (job.unfit_since or now) or false
  }
  local dropped = ending.state ~= 'succeeded' and dropped_as(job)
  if ending.goes_on then
    fields.over, fields.lease, job.over = 1, nil, 1
  end
  if dropped then
    return drop(job, dropped, fields)
  end
  if ending.state == 'pending' then
    fields.due = ending.due or now
  else
    fields.reason = ending.reason or false
  end
  return change(job, fields)
end

local function lose(job)
  local fields = {lost = tonumber(job.lost) + 1, ended = now, lease = false, mark = false, unfit_since = false}
  local dropped = dropped_as(job)
  if dropped then
    return drop(job, dropped, fields)
  end
  if fields.lost >= arguments.lost_at_most then
    fields.state, fields.reason = 'failed', 'lost ' .. fields.lost .. ' times'
  else
    fields.state, fields.due = 'pending', now
  end
  return change(job, fields)
end
