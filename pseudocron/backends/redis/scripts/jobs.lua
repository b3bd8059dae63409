-- Jobs: they are stored, cancelled, executed again, deleted.

function verbs.defer()
  local refused_job = Storing.conflict(given.jobs)
  if refused_job then
    return refused_job
  end
  local ids = {}
  for i, job in ipairs(given.jobs) do
    ids[i] = Storing.defer(job)
  end
  Storing.name_tasks(given.jobs)
  Targets.bring_forward_touched()
  return ids
end

function verbs.stage()
  return Batches.stage()
end

function verbs.unstage()
  write_although_full()
  return Batches.unstage()
end

function verbs.accept()
  write_although_full()
  return Batches.accept()
end

-- Store the next part of a large call; return how many there are left.
function verbs.store()
  write_although_full()
  local left = Batches.store(given.batch)
  Targets.bring_forward_touched()
  return left
end

-- Which jobs stand for those of a large call.
function reads.stand_for()
  local fields = {}
  for i, id in ipairs(given.ids) do
    fields[i] = 'kept:' .. id
  end
  return call('HMGET', Reserving.batch(given.batch), unpack(fields))
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

-- Forget tasks that have no jobs any more.
local function forget_tasks()
  for _, task in ipairs(call('SRANDMEMBER', key('tasks'), 100)) do
    local lists = {}
    for i, state in ipairs(given.states) do
      lists[i] = key('jobs', state .. ':' .. task)
    end
    if call('EXISTS', unpack(lists)) == 0 then
      call('SREM', key('tasks'), task)
    end
  end
end

function verbs.purge()
  local deleted = 0
  write_although_full()
  for _, one in ipairs(given.ages) do
    local before = '(' .. digits(now - one.age)
    -- Those that have a lease are passed over, so that as many more are read.
    local most = given.limit - deleted + call('ZCARD', key('leases'))
    for _, id in ipairs(call('ZRANGEBYSCORE', key('ended', one.state), '-inf', before, 'LIMIT', 0, most)) do
      local run = deleted < given.limit and Runs.find(id)
      if run == nil then  -- it is gone, or harmed
        write_later(key('ended', one.state), id, false)
        call('DEL', key('run', id), key('texts', id), key('arguments', id))
      elseif run and not run.is_kept then
        Runs.forget(run)
        deleted = deleted + 1
      end
    end
  end
  for list in pairs(later) do
    write_now(list)
  end
  forget_tasks()
  return deleted
end
