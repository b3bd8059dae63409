-- Jobs: they are stored, cancelled, executed again, deleted.

local function is_stored(job)
  return call('EXISTS', key('run', job.run_id)) == 1
end

-- Which job has a key that is asked for with on_conflict='raise', by the number of the one that asks.
local function conflict()
  local newer = {}
  for i, job in ipairs(given.jobs) do
    if job.key and not is_stored(job) then
      local of = Targets.key_of('t:' .. job.task, job.key)
      local other = not newer[of] and Endings.pending_with('t:' .. job.task, job.key)
      newer[of] = newer[of] or other and not Endings.is_expired(other) and other.run_id or job.run_id
      if job.on_conflict == 'raise' and newer[of] ~= job.run_id then
        return {refused = i, by = newer[of]}
      end
    end
  end
end

-- When the first of a task's jobs is due, as it is indexed.
local indexed = {}

-- A job that is due later than another of its task changes nothing in the indexes.
local function is_first(target, due)
  indexed[target] = indexed[target] or tonumber(call('ZSCORE', key('due'), target) or math.huge)
  return Targets.is_touched(target) or due < indexed[target]
end

local function store(job)
  local target = 't:' .. job.task
  local run = {
    kind = 'job', name = job.task, state = 'pending', due = math.max(job.due, now), created = now, key = job.key,
    arguments = job.arguments, priority = job.priority, expires = job.expires, place = Runs.new_place()
  }
  set(key('run', job.run_id), run)
  run.run_id, run.priority = job.run_id, run.priority or 0
  write_later(Runs.listing(run), run.run_id, digits(run.place))
  Runs.wait(run)
  if is_first(target, run.due) then
    Targets.touch(target)
  end
end

local function defer(job)
  if is_stored(job) then
    return job.run_id
  end
  local other = job.key and Endings.holder('t:' .. job.task, job.key)
  if other and job.on_conflict == 'keep' then
    return other.run_id
  elseif other then
    Endings.drop(other, 'replaced')
  end
  store(job)
  return job.run_id
end

function verbs.defer()
  local refused_job = conflict()
  if refused_job then
    return refused_job
  end
  local ids, tasks = {}, {}
  for i, job in ipairs(given.jobs) do
    ids[i] = defer(job)
    tasks['t:' .. job.task] = true
  end
  for target in pairs(tasks) do
    Targets.use(target)
  end
  Targets.bring_forward_touched()
  return ids
end

local function cancel(run)
  if run.state == 'pending' then
    Endings.drop(run, 'cancelled')
    return true
  elseif run.state == 'running' then
    call('HSET', key('run', run.run_id), 'stop', 1)
  end
  return false
end

function verbs.cancel()
  local ids, was_pending = {given.run_id}, false
  if given.task and given.key then
    local of = Targets.key_of('t:' .. given.task, given.key)
    for _, index in ipairs({'keys', 'busy'}) do
      ids[#ids + 1] = call('HGET', key(index), of) or nil
    end
  end
  write_although_full()
  is_to_be_repeated = true
  for _, id in ipairs(ids) do
    local run = Runs.find(id)
    was_pending = run and cancel(run) or was_pending
  end
  Targets.bring_forward_touched()
  return was_pending
end

function verbs.retry()
  local run = Runs.find(given.run_id)
  if not run or run.kind ~= 'job' or run.state ~= 'failed' and run.state ~= 'timed_out' then
    return false
  end
  write_although_full()
  is_to_be_repeated = true
  local is_free = not Endings.holder(Runs.target_of(run), run.key)
  if is_free then
    Runs.delist(run)
    Runs.change(run, {
      state = 'pending', due = now, expires = false, attempts = 0, failures = 0, lost = 0, reason = false,
      unfit_since = false
    })
    Runs.enlist(run)
  end
  Targets.bring_forward_touched()
  return is_free
end

function completed.cancel() end
function completed.retry() end

function verbs.purge()
  local deleted = 0
  write_although_full()
  for _, one in ipairs(given.ages) do
    local before = '(' .. digits(now - one.age)
    -- Those that have a lease are passed over, so that as many more are read.
    local most = given.limit - deleted + call('ZCARD', key('leases'))
    for _, id in ipairs(call('ZRANGEBYSCORE', key('ended', one.state), '-inf', before, 'LIMIT', 0, most)) do
      local run = deleted < given.limit and Runs.find(id)
      if run and not run.is_kept then
        Runs.forget(run)
        deleted = deleted + 1
      end
    end
  end
  return deleted
end
