-- Claiming: what is new or pending becomes running, with a lease.

local CLAIM = {'kind', 'name', 'due', 'fence', 'started', 'slot', 'key', 'unfit_since', 'failures'}

-- A claim without the arguments, see `Runs.add_long_fields`.
function Claims.claim_of(run)
  Runs.note_long_fields(run)
  local claim = {run_id = run.run_id, attempt = text(run.attempts)}
  for _, field in ipairs(CLAIM) do
    claim[field] = run[field] and text(run[field])
  end
  return claim
end

function Claims.fence_for(run)
  if run.kind == 'job' then
    return next_fence(run.fence)
  end
  local cron = key('cron', run.name)
  local fence = next_fence(number(cron, 'fence'))
  call('HSET', cron, 'fence', digits(fence))
  count(cron, 'claims', 1)
  return fence
end

-- Let a process have a pending run.
function Claims.claim(run)
  Runs.delist(run)
  Runs.change(run, {
    state = 'running', attempts = run.attempts + 1, fence = Claims.fence_for(run), worker = given.worker, started = now,
    ended = false
  })
  Runs.enlist(run)
  Runs.begin_lease(run, given.lease)
  done.claims[#done.claims + 1] = Claims.claim_of(run)
end

-- Let a process have a run of a cron that begins now.
function Claims.start(run)
  run.state, run.created, run.started, run.worker, run.attempts, run.failures = 'running', now, now, given.worker, 1, 0
  run.run_id = token:sub(1, 26) .. string.format('%06x', #done.claims)
  run.fence, run.place = Claims.fence_for(run), Runs.new_place()
  local stored = texts(run)
  stored.run_id = nil
  set(key('run', run.run_id), stored)
  call('ZADD', key('lines', run.name), digits(run.place), run.run_id)
  Runs.enlist(run)
  Runs.begin_lease(run, given.lease)
  done.claims[#done.claims + 1] = Claims.claim_of(run)
  return done.claims[#done.claims]
end

-- Pending runs

local moved, expired = 0, 0

-- Let scheduled runs that are due be ready, as many as one call may move.
function Claims.make_ready(target)
  local scheduled, ready = key('scheduled', target), key('ready', target)
  local due = call(
    'ZRANGEBYSCORE', scheduled, '-inf', digits(now), 'WITHSCORES', 'LIMIT', 0, AT_MOST - moved
  )
  for i = 1, #due, 2 do
    local colon = due[i]:find(':', 1, true) or 0
    local place, id = Targets.place_and_id(due[i], colon + 1)
    local priority = tonumber(due[i]:sub(1, colon - 1)) or 0
    local rank, member = Runs.member_of_ready(priority, tonumber(due[i + 1]), tonumber(place) or 0, id)
    write_later(scheduled, due[i], false)
    write_later(ready, member, rank)
  end
  write_now(scheduled)
  write_now(ready)
  moved = moved + #due / 2
  if moved >= AT_MOST then
    note_more()
  end
end

-- The ready runs of a target in their order, read some at a time.
function Claims.open_line(target, room)
  local line = {target = target, room = room, read = 0, members = {}, at = 1}
  function line.first()
    if line.at > #line.members then
      line.members = call('ZRANGE', key('ready', target), line.read, line.read + 49, 'WITHSCORES')
      line.read, line.at = line.read + 50, 1
    end
    local member, rank = line.members[line.at], tonumber(line.members[line.at + 1] or nil)
    return member and {rank = rank, member = member, run_id = Targets.id_of('ready', member)} or nil
  end
  return line
end

function Claims.next_of(lines)
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
function Claims.is_early(run)
  if run.due <= now then
    return false
  end
  Runs.delist(run)
  Runs.enlist(run)
  return true
end

-- Record that a run has expired, if one call may record so many.
function Claims.expire(run)
  if expired >= STARTED_AT_MOST then
    note_more()
    return false
  end
  expired = expired + 1
  Endings.drop_pending(run, 'expired')
  return true
end

-- Deal with a member of an index whose run can't be claimed.
function Claims.set_aside(target, first)
  write_later(key('ready', target), first.member, false)
  Targets.touch(target)
  local run = Runs.find(first.run_id)
  if not run then
    Runs.set_aside(target, first.run_id, (Targets.place_and_id(first.member, 17)))
  end
end

-- Claim the first ready runs of these lines. While all that are picked are still in the indexes, the lines can be read.
function Claims.pick(lines, capacity)
  local due, over, odd, passed = {}, {}, {}, 0
  while true do
    local first, line = Claims.next_of(lines)
    if not first then
      break
    elseif passed >= AT_MOST then
      note_more()
      break
    end
    local run = Runs.find(first.run_id)
    local is_over = run and Endings.is_expired(run)
    if not run or run.state ~= 'pending' then  -- it is gone, or harmed
      odd[#odd + 1], passed = {line.target, first}, passed + 1
    elseif not Targets.waits_for_lease(line.target, run.key, run.is_kept) then
      if is_over or run.due > now then
        over[#over + 1], passed = run, passed + 1
      elseif #due >= capacity then
        done.left = true
        break
      elseif #done.claims + #due >= STARTED_AT_MOST then
        note_more()
        break
      else
        due[#due + 1], run.is_ready = run, true
        line.room = line.room - 1
      end
    end
    line.at = line.at + 2
  end
  for _, one in ipairs(odd) do
    Claims.set_aside(unpack(one))
  end
  for _, run in ipairs(over) do
    if not Claims.is_early(run) then
      Claims.expire(run)
    end
  end
  for _, run in ipairs(due) do
    Claims.claim(run)
  end
end

-- Record those that have expired behind what was picked, so that they are not due for ever.
function Claims.sweep(lines)
  for _, line in ipairs(lines) do
    local most, over = STARTED_AT_MOST - expired, {}
    if line.room > 0 then
      over = call('ZRANGEBYSCORE', key('expires', line.target), '-inf', digits(now), 'LIMIT', 0, most)
      if #over == most then
        note_more()
      end
    end
    for _, id in ipairs(over) do
      local run = Runs.find(id)
      if not run or run.state ~= 'pending' then
        call('ZREM', key('expires', line.target), id)
      elseif not Targets.waits_for_lease(line.target, run.key, run.is_kept) then
        Claims.expire(run)
      end
    end
  end
end

-- The targets of a kind with pending runs that the process may start. If the last poll has named just what this process
-- may claim, the index of what is due is that of this process.
function Claims.candidates()
  local all = {}
  if of_gate('named') == ARGV[6] then
    all = Targets.head('due') <= now and call('ZRANGEBYSCORE', key('due'), '-inf', digits(now)) or {}
  else
    all = call('SMEMBERS', key('pending'))
  end
  local resting, found = {}, {c = {}, t = {}}
  for _, target in ipairs(all[1] and given.resting or {}) do
    resting[target] = true
  end
  for _, target in ipairs(all) do
    local limit = Targets.limit_of(target)
    local is_paused = Targets.is_cron(target) and number(key('cron', target:sub(3)), 'paused')
    local lines = found[target:sub(1, 1)]
    if lines and limit ~= nil and not resting[target] and not is_paused then
      local room = (limit or math.huge) - call('SCARD', key('living', target))
      if room > 0 then
        Claims.make_ready(target)
        table.insert(lines, Claims.open_line(target, room))
      end
    end
  end
  return found
end

-- Claim pending runs while there is capacity for their kind: those of slots first.
function Claims.claim_pending()
  local lines, capacity = Claims.candidates(), given.capacity
  Claims.pick(lines.c, math.min(capacity.total - #done.claims, capacity.slots - #done.claims))
  Claims.sweep(lines.c)
  local slots = #done.claims
  Claims.pick(lines.t, math.min(capacity.total - slots, capacity.jobs))
  Claims.sweep(lines.t)
end
