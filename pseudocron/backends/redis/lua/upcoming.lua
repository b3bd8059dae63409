-- When something comes due: jobs that may start, and the ends of leases, however many jobs wait.

local function may_start(task, id)
  local of_task, over = unpack(call('HMGET', key('job', id), 'key', 'over'))
  return not over and not (of_task and call('HEXISTS', key('busy'), name(task, of_task)) == 1)
end

-- When the first pending job of a task that may start is due, whatever the limit of the task. As each lease holds back
-- its own job and one of its key at most, no more need be read than there are leases.
local function first_due_of(task)
  local leases, soonest = call('ZCARD', key('running', task)), math.huge
  for kind, id_at in pairs({ready = 35, scheduled = 18}) do
    for _, waiting in ipairs(call('ZRANGE', key(kind, task), 0, leases)) do
      if leases == 0 or may_start(task, waiting:sub(id_at)) then
        -- What is ready stays so, though the clock has been set back since.
        local due = kind == 'ready' and math.min(now, tonumber(waiting:sub(1, 16))) or call('ZSCORE', key(kind, task), waiting)
        soonest = math.min(soonest, tonumber(due))
        break
      end
    end
  end
  return soonest
end

-- The same of the tasks that are the keys of a table; nil if there is none.
local function first_due(tasks)
  local soonest = math.huge
  for task in pairs(tasks) do
    soonest = math.min(soonest, first_due_of(task))
  end
  return soonest < math.huge and soonest or nil
end

local function is_in_use(seen)
  return seen and now - tonumber(seen) <= arguments.in_use_for
end

-- Write that the tasks that are the keys of a table are in use, where that is to be written again; those that were not.
local function see(tasks)
  local news = {}
  for task in pairs(tasks) do
    local seen = tonumber(call('HGET', key('seen'), task) or nil)
    if not seen or seen > now or now - seen >= arguments.seen_again then
      call('HSET', key('seen'), task, digits(now))
    end
    news[task] = not is_in_use(seen) or nil
  end
  return news
end

-- The tasks of these things, as the keys of a table.
local function tasks_of(things)
  local tasks = {}
  for _, thing in ipairs(things) do
    tasks[thing.task] = true
  end
  return tasks
end

function reads.next_due()
  local tasks, seen = {}, record(key('seen')) or {}
  for task, at in pairs(seen) do
    tasks[task] = is_in_use(at) or nil
  end
  for _, task in ipairs(arguments.tasks) do
    tasks[task.name] = not task.most or call('ZCARD', key('running', task.name)) < task.most or nil
  end
  local soonest = first_due(tasks) or math.huge
  for _, kind in ipairs({'leases', 'running'}) do
    soonest = math.min(soonest, tonumber(call('ZRANGE', key(kind), 0, 0, 'WITHSCORES')[2] or math.huge))
  end
  return soonest < math.huge and digits(soonest) or nil
end
