-- Claiming: what is new or pending becomes running, with a lease.

local claims, left = {}, false

local CLAIM = {'kind', 'name', 'due', 'fence', 'started', 'slot', 'arguments', 'key', 'unfit_since', 'failures'}

local function claim_of(run)
  local claim = {run_id = run.run_id, attempt = text(run.attempts)}
  for _, field in ipairs(CLAIM) do
    claim[field] = run[field] and text(run[field])
  end
  return claim
end

local function fence_for(run)
  if run.kind == 'job' then
    return next_fence(run.fence)
  end
  local cron = key('cron', run.name)
  local fence = next_fence(number(cron, 'fence'))
  call('HSET', cron, 'fence', digits(fence))
  call('HINCRBY', cron, 'claims', 1)
  return fence
end

-- Let a process have a pending run.
local function claim(run)
  delist(run)
  change(run, {
    state = 'running', attempts = run.attempts + 1, fence = fence_for(run), worker = given.worker, started = now, ended = false
  })
  enlist(run)
  begin_lease(run, given.lease)
  claims[#claims + 1] = claim_of(run)
end

-- Let a process have a run of a cron that begins now.
local function start(run)
  run.state, run.created, run.started, run.worker, run.attempts, run.failures = 'running', now, now, given.worker, 1, 0
  run.run_id = token:sub(1, 26) .. string.format('%06x', #claims)
  run.fence, run.place = fence_for(run), new_place()
  local stored = texts(run)
  stored.run_id = nil
  set(key('run', run.run_id), stored)
  call('ZADD', key('lines', run.name), digits(run.place), run.run_id)
  enlist(run)
  begin_lease(run, given.lease)
  claims[#claims + 1] = claim_of(run)
  return claims[#claims]
end

-- Pending runs

local moved, expired = 0, 0

-- Let scheduled runs that are due be ready, as many as one call may move.
local function make_ready(target)
  local scheduled, ready = key('scheduled', target), key('ready', target)
  local due = call(
    'ZRANGEBYSCORE', scheduled, '-inf', digits(now), 'WITHSCORES', 'LIMIT', 0, AT_MOST - moved
  )
  for i = 1, #due, 2 do
    local priority, place, id = due[i]:match('^([^:]*):([^:]*):(.*)$')
    call('ZREM', scheduled, due[i])
    call('ZADD', ready, member_of_ready(tonumber(priority), tonumber(due[i + 1]), tonumber(place), id))
  end
  moved = moved + #due / 2
end

-- The ready runs of a target in their order, read some at a time.
local function open_line(target, room)
  local line = {target = target, room = room, read = 0, members = {}, at = 1}
  function line.first()
    if line.at > #line.members then
      line.members = call('ZRANGE', key('ready', target), line.read, line.read + 49, 'WITHSCORES')
      line.read, line.at = line.read + 50, 1
    end
    local member, rank = line.members[line.at], tonumber(line.members[line.at + 1] or nil)
    return member and {rank = rank, member = member, run_id = member:sub(35)} or nil
  end
  return line
end

local function next_of(lines)
  local best, of
  for _, line in ipairs(lines) do
    local first = line.room > 0 and line.first() or nil
    if first and (not best or first.rank < best.rank or first.rank == best.rank and first.member < best.member) then
      best, of = first, line
    end
  end
  return best, of
end

-- The clock was set back: what is ready is not due any more.
local function is_early(run)
  if run.due <= now then
    return false
  end
  delist(run)
  enlist(run)
  return true
end

-- Record that a run has expired, if one call may record so many.
local function expire(run)
  if expired >= AT_MOST then
    left = true
    return false
  end
  expired = expired + 1
  drop_pending(run, 'expired')
  return true
end

-- Claim the first ready runs of these lines. While all that are picked are still in the indexes, the lines can be read.
local function pick(lines, capacity)
  local due, over, passed = {}, {}, 0
  while passed < AT_MOST do
    local first, line = next_of(lines)
    if not first then
      break
    end
    local run = find(first.run_id)
    local is_over = run and is_expired(run)
    if run and not waits_for_lease(line.target, run.key, run.is_kept) then
      if is_over or run.due > now then
        over[#over + 1], passed = run, passed + 1
      elseif #due >= capacity then
        left = true
        break
      else
        due[#due + 1] = run
        line.room = line.room - 1
      end
    end
    line.at = line.at + 2
  end
  for _, run in ipairs(over) do
    if not is_early(run) then
      expire(run)
    end
  end
  for _, run in ipairs(due) do
    claim(run)
  end
end

-- Record those that have expired behind what was picked, so that they are not due for ever.
local function sweep(lines)
  for _, line in ipairs(lines) do
    local over = line.room > 0
      and call('ZRANGEBYSCORE', key('expires', line.target), '-inf', digits(now), 'LIMIT', 0, AT_MOST - expired) or {}
    left = left or expired >= AT_MOST and line.room > 0
    for _, id in ipairs(over) do
      local run = find(id)
      if run and not waits_for_lease(line.target, run.key, run.is_kept) then
        expire(run)
      end
    end
  end
end

-- The targets of a kind with pending runs that the process may start. If the last poll has named just what this process
-- may claim, the index of what is due is that of this process.
local function candidates()
  local all = {}
  if of_gate('named') == ARGV[6] then
    all = head('due') <= now and call('ZRANGEBYSCORE', key('due'), '-inf', digits(now)) or {}
  else
    all = call('SMEMBERS', key('pending'))
  end
  local resting, found = {}, {c = {}, t = {}}
  for _, target in ipairs(all[1] and given.resting or {}) do
    resting[target] = true
  end
  for _, target in ipairs(all) do
    local limit = limit_of(target)
    if limit ~= nil and not resting[target] and not (is_cron(target) and number(key('cron', target:sub(3)), 'paused')) then
      local room = (limit or math.huge) - call('SCARD', key('living', target))
      if room > 0 then
        make_ready(target)
        table.insert(found[target:sub(1, 1)], open_line(target, room))
      end
    end
  end
  return found
end

-- Claim pending runs while there is capacity for their kind: those of slots first.
local function claim_pending()
  local lines, capacity = candidates(), given.capacity
  pick(lines.c, math.min(capacity.total - #claims, capacity.slots - #claims))
  sweep(lines.c)
  local slots = #claims
  pick(lines.t, math.min(capacity.total - slots, capacity.jobs))
  sweep(lines.t)
end
