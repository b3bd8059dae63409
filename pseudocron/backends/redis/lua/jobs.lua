-- The jobs: where they stand, and what becomes of them. The verbs of the queue are in queue.lua.
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
