-- What the queue tells: one job, pages of them, how many there are; it changes nothing.

-- The kept leases of jobs whose attempt has ended.
function reads.lingering()
  local kept = {}
  for _, id in ipairs(call('ZRANGE', key('running'), 0, -1)) do
    local job = find(id)
    if job and job.over then
      kept[#kept + 1] = {name = job.task, run_id = id, worker = job.worker, ended = job.ended}
    end
  end
  return kept
end

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
