-- Lists of runs, for people; they change nothing.

function reads.run()
  return Runs.told(given.run_id)
end

local function lists_of(state)
  local lists = {}
  for i, task in ipairs(given.name and {given.name} or call('SMEMBERS', key('tasks'))) do
    lists[i] = key('jobs', state .. ':' .. task)
  end
  return lists
end

function reads.counts()
  local counts = {}
  for i, state in ipairs(given.states) do
    counts[i] = 0
    for _, list in ipairs(lists_of(state)) do
      counts[i] = counts[i] + call('ZCARD', list)
    end
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

local function is_wanted(run)
  return run and (not given.name or run.name == given.name) and (not given.key or run.key == given.key)
    and (not given.is_kept or run.is_kept) and given.kinds[run.kind] and given.states[run.state]
end

-- A source of runs, the latest stored first: what reads some below a place gives them by {place, id}.
local function open_source(read)
  local source = {members = {}, at = 1, size = 4, below = given.below}
  function source.first()
    if source.at > #source.members and source.size then
      source.members, source.at = read(source.below, source.size), 1
      local count = #source.members
      source.below = count > 0 and source.members[count].place
      source.size = count == source.size and math.min(2 * source.size, 128) or nil
    end
    return source.members[source.at]
  end
  return source
end

-- The runs of a list by place.
local function of_list(list)
  return open_source(function(below, size)
    local highest, found = below and '(' .. digits(below) or '+inf', {}
    local part = call('ZREVRANGEBYSCORE', list, highest, '-inf', 'WITHSCORES', 'LIMIT', 0, size)
    for i = 1, #part, 2 do
      found[#found + 1] = {id = part[i], place = tonumber(part[i + 1])}
    end
    return found
  end)
end

-- The jobs with a key.
local function of_key()
  return open_source(function(below, size)
    local highest, found = below and Runs.keyed(given.key, below, '') or given.key .. '\1', {}
    local part = call('ZREVRANGEBYLEX', key('keyed'), '(' .. highest, '(' .. given.key .. '\0', 'LIMIT', 0, size)
    for i, member in ipairs(part) do
      local place, id = Targets.place_and_id(member, #given.key + 2)
      found[i] = {id = id, place = tonumber(place)}
    end
    return found
  end)
end

local function by_place(one, other)
  return one.place > other.place
end

-- The runs with leases.
local function of_leases()
  local found = {}
  for _, member in ipairs(call('ZRANGE', key('leases'), 0, -1)) do
    local id = Runs.parts_of_lease(member)
    local run = id and record(key('run', id))
    local place = run and tonumber(run.place)
    if place and (not given.below or place < given.below) then
      found[#found + 1] = {id = id, place = place}
    end
  end
  table.sort(found, by_place)
  local source = {at = 1}
  function source.first()
    return found[source.at]
  end
  return source
end

-- What the runs are in that are asked for.
local function sources_of()
  if given.is_kept then
    return {of_leases()}
  elseif given.key then
    return {of_key()}
  end
  local has_crons, sources = given.kinds.slot or given.kinds.manual, {}
  if has_crons and given.name then
    sources[1] = of_list(key('lines', given.name))
  end
  for state in pairs(given.states) do
    for _, list in ipairs(given.kinds.job and lists_of(state) or {}) do
      sources[#sources + 1] = of_list(list)
    end
    if has_crons and not given.name then
      sources[#sources + 1] = of_list(key('crons', state))
    end
  end
  return sources
end

local function by_first(one, other)
  return one.first().place < other.first().place
end

-- Return a function that gives the latest stored run of all sources, and then the next.
local function merge(sources)
  local line = {}
  for _, source in ipairs(sources) do
    if source.first() then
      line[#line + 1] = source
    end
  end
  table.sort(line, by_first)
  return function()
    local latest = table.remove(line)
    local one = latest and latest.first()
    if one then
      latest.at = latest.at + 1
      if latest.first() then
        local at = #line + 1
        while at > 1 and by_first(latest, line[at - 1]) do
          at = at - 1
        end
        table.insert(line, at, latest)
      end
    end
    return one
  end
end

local function size_of(run)
  return #(run.arguments or '') + #(run.error or '') + #(run.output or '')
end

-- Some runs, the latest stored first, and below which place to read on, if there may be more.
function reads.runs()
  local next_one, runs, size, scanned, last = merge(sources_of()), {}, 0, 0, nil
  while #runs < given.limit and scanned < given.scan and size < given.size do
    local one = next_one()
    if not one then
      return {runs = runs}
    end
    scanned, last = scanned + 1, one.place
    local run = Runs.told(one.id, given.is_brief)
    if is_wanted(run) then
      runs[#runs + 1] = run
      size = size + size_of(run)
    end
  end
  return {runs = runs, below = last and digits(last)}
end

-- The newest runs and skips of crons, each with its place.
function reads.timelines()
  local timelines = {}
  for i, name in ipairs(given.names) do
    local runs = {}
    local ids = given.has_runs == false and {} or call('ZREVRANGE', key('lines', name), 0, given.limit - 1)
    for _, id in ipairs(ids) do
      runs[#runs + 1] = Runs.told(id, true)
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
