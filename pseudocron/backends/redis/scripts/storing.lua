-- Storing jobs.

local function is_stored(job)
  return call('EXISTS', key('run', job.run_id)) == 1
end

-- The pending job that has the key of a job, and has not expired.
local function taker_of(job)
  local other = Endings.pending_with('t:' .. job.task, job.key)
  return other and not Endings.is_expired(other) and other.run_id or nil
end

-- Which job has a key that is asked for with on_conflict='raise', by the number of the one that asks.
function Storing.conflict(jobs)
  local newer = {}
  for i, job in ipairs(jobs) do
    if job.key and not is_stored(job) then
      local of = Targets.key_of('t:' .. job.task, job.key)
      newer[of] = newer[of] or taker_of(job) or job.run_id
      if job.on_conflict == 'raise' and newer[of] ~= job.run_id then
        return {refused = i, by = newer[of]}
      end
    end
  end
end

-- The job of the same batch that has reserved a key.
local function reserver_of(job, batch)
  local reserved = call('HGET', key('keys'), Targets.key_of('t:' .. job.task, job.key)) or ''
  local own = Reserving.written(batch, '')
  return reserved:sub(1, #own) == own and reserved:sub(#own + 1) or nil
end

-- Reserve the keys of a part that are free; return the job whose key is taken with on_conflict='raise'.
function Storing.reserve(jobs, batch)
  for i, job in ipairs(jobs) do
    if job.key and not is_stored(job) then
      local other = reserver_of(job, batch) or taker_of(job)
      if other and other ~= job.run_id and job.on_conflict == 'raise' then
        return {refused = i, by = other}
      elseif not other then
        local of = Targets.key_of('t:' .. job.task, job.key)
        call('HSET', key('keys'), of, Reserving.written(batch, job.run_id))
      end
    end
  end
end

-- Free the keys that a part has reserved.
function Storing.free(jobs, batch)
  for _, job in ipairs(jobs) do
    if job.key and reserver_of(job, batch) then
      call('HDEL', key('keys'), Targets.key_of('t:' .. job.task, job.key))
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

-- Bytes of a value beyond which the server keeps a hash in twice the memory.
local LONG = 64

local function store(job)
  local target = 't:' .. job.task
  local run = {
    kind = 'job', name = job.task, state = 'pending', due = math.max(job.due, now), created = now, key = job.key,
    arguments = job.arguments, priority = job.priority, expires = job.expires, place = Runs.new_place()
  }
  if #job.arguments > LONG then
    call('SET', key('arguments', job.run_id), job.arguments)
    run.arguments, run.has_arguments = nil, 1
  end
  set(key('run', job.run_id), run)
  if job.key then
    write_later(key('keyed'), Runs.keyed(job.key, run.place, job.run_id), 0)
  end
  run.run_id, run.priority = job.run_id, run.priority or 0
  write_later(Runs.listing(run), run.run_id, digits(run.place))
  Runs.wait(run)
  if is_first(target, run.due) then
    Targets.touch(target)
  end
end

-- Store a job, unless it is stored, or another stands for it; return the id of the one that stands for it.
function Storing.defer(job)
  if is_stored(job) then
    return job.run_id
  end
  local other = job.key and Endings.holder('t:' .. job.task, job.key)
  if other and other.run_id ~= job.run_id then
    if job.on_conflict == 'keep' then
      return other.run_id
    elseif not other.is_coming then
      Endings.drop(other, 'replaced')
    end
  end
  store(job)
  return job.run_id
end

function Storing.name_tasks(jobs)
  local is_named, names = {}, {}
  for _, job in ipairs(jobs) do
    if not is_named[job.task] then
      is_named[job.task] = true
      names[#names + 1] = job.task
      Targets.use('t:' .. job.task)
    end
  end
  if names[1] then
    call('SADD', key('tasks'), unpack(names))
  end
end

-- Store a part of an accepted batch; return whether pending jobs stand for some of its own, which is noted.
function Storing.store_part(jobs, batch)
  local has_kept = false
  for _, job in ipairs(jobs) do
    local id = Storing.defer(job)
    if id ~= job.run_id then
      call('HSET', Reserving.batch(batch), 'kept:' .. job.run_id, id)
      has_kept = true
    end
  end
  Storing.name_tasks(jobs)
  return has_kept
end
