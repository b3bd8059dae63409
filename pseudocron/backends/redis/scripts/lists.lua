-- Lists of runs, for people; they change nothing.

function reads.run()
  return Runs.whole(given.run_id)
end

function reads.counts()
  local counts = {}
  for i, state in ipairs(given.states) do
    counts[i] = call('ZCARD', key('jobs', state))
  end
  return counts
end

function reads.waiting()
  local waiting = {}
  for _, target in ipairs(call('SMEMBERS', key('pending'))) do
    if not Targets.is_cron(target) then
      local ready = call('ZRANGE', key('ready', target), 0, 0)[1]
      local scheduled = call('ZRANGE', key('scheduled', target), 0, 0, 'WITHSCORES')[2]
      local dues = {ready and tonumber(ready:sub(1, 16)), tonumber(scheduled)}
      waiting[#waiting + 1] = {target:sub(3), text(math.min(dues[1] or dues[2], dues[2] or dues[1]))}
    end
  end
  return waiting
end

function reads.place()
  return call('HGET', key('run', given.run_id), 'place') or nil
end

local TOLD = {'name', 'kind', 'key', 'is_kept', 'state'}

local function is_wanted(id)
  local name, kind, of_task, is_kept, state = unpack(call('HMGET', key('run', id), unpack(TOLD)))
  return state and (not given.name or name == given.name) and (not given.key or of_task == given.key)
    and (not given.is_kept or is_kept) and given.kinds[kind] and given.states[state]
end

local function by_place(one, other)
  return one.place > other.place
end

-- The latest stored of the runs with leases.
local function read_leases()
  local found = {}
  for _, id in ipairs(call('ZRANGE', key('leases'), 0, -1)) do
    local place = number(key('run', id), 'place')
    if place and (not given.below or place < given.below) then
      found[#found + 1] = {id = id, place = place}
    end
  end
  table.sort(found, by_place)
  return found, false
end

-- The latest stored of the runs in lists by place; and whether there may be more.
local function read_lists()
  local found, is_cut = {}, false
  local below = given.below and '(' .. digits(given.below) or '+inf'
  for _, list in ipairs(given.lists) do
    local part = call('ZREVRANGEBYSCORE', key(list), below, '-inf', 'WITHSCORES', 'LIMIT', 0, given.scan)
    for i = 1, #part, 2 do
      found[#found + 1] = {id = part[i], place = tonumber(part[i + 1])}
    end
    is_cut = is_cut or #part == 2 * given.scan
  end
  table.sort(found, by_place)
  return found, is_cut
end

-- Some runs, the latest stored first, and below which place to read on, if there may be more.
function reads.runs()
  local found, is_cut = (given.is_kept and read_leases or read_lists)()
  local runs, last = {}, math.min(#found, given.scan)
  for i = 1, last do
    if #runs == given.limit then
      last, is_cut = i - 1, true
      break
    end
    if is_wanted(found[i].id) then
      runs[#runs + 1] = Runs.whole(found[i].id)
    end
  end
  local is_over = last == #found and not is_cut
  return {runs = runs, below = not is_over and last > 0 and digits(found[last].place) or nil}
end

-- The newest runs and skips of crons, each with its place.
function reads.timelines()
  local timelines = {}
  for i, name in ipairs(given.names) do
    local runs = {}
    for _, id in ipairs(call('ZREVRANGE', key('lines', name), 0, given.limit - 1)) do
      runs[#runs + 1] = (given.is_brief and Runs.find or Runs.whole)(id)
    end
    for _, run in ipairs(runs) do
      for field, value in pairs(run) do
        run[field] = text(value)
      end
    end
    timelines[i] = {runs = runs, skips = call('LRANGE', key('skips', name), 0, given.limit - 1)}
  end
  return timelines
end

function reads.crons()
  return call('SMEMBERS', key('crons'))
end
