-- One run: where it is listed, and its lease.
--
-- run:ID            a run, as `Run` has it, and: place, in the order in which all was stored; stop, if it was cancelled
--                   while it ran; counts, if it counts for max_instances while it is pending; line, the last one of
--                   its error; has_texts, if there are such
-- texts:ID          its error and output, which are long and seldom read
-- arguments:ID      its arguments, if they are long: a hash of short values takes half the memory
-- jobs:STATE:TASK, crons:STATE   the jobs of a task, and the runs of crons, in a state, by place
-- keyed             the jobs with a key, as 'KEY NUL PLACE ID'
-- ended:STATE       the jobs in a final state, by their end
-- lines:CRON        all runs of a cron, by place; final:CRON those in a final state
-- ready:TARGET      the pending runs that were due when they were looked at, by priority, as 'DUE PLACE ID', which is the
--                   order of those of one priority
-- scheduled:TARGET  the other pending runs, by when they are due, as 'PRIORITY:PLACE ID'
-- expires:TARGET    the pending runs that expire, by when that is to be recorded
-- keys, busy        which pending job, and which living one, has a key
-- leases            the living runs, by the ends of their leases, as 'ID NUL TARGET NUL KEY', so that they can be ended
--                   without their records
-- living:TARGET     the living runs of a target

local AS_NUMBERS = {'due', 'place', 'expires'}
local AS_COUNTS = {'priority', 'attempts', 'failures', 'lost', 'fence'}
local WHOLE = {
  'due', 'place', 'expires', 'created', 'slot', 'started', 'ended', 'unfit_since', 'priority', 'attempts', 'failures',
  'lost', 'fence'
}
local KINDS = {slot = true, job = true, manual = true}

function Runs.new_place()
  local place = try('INCR', key('places'))
  if not place then  -- it is harmed: from now on places are higher than any before
    call('SET', key('places'), written_now)
  end
  return place or now
end

-- Whether a record can be read.
local function is_sound(run)
  for _, field in ipairs(WHOLE) do
    if run[field] and not whole(run[field]) then
      return false
    end
  end
  return run.due and run.place and run.created and run.name and STATES[run.state] and KINDS[run.kind]
end

-- A run without its long texts; nil if its record is gone or can't be read.
function Runs.find(id)
  local run = id and record(key('run', id))
  if not run or not is_sound(run) then
    return nil
  end
  run.run_id = id
  for _, field in ipairs(AS_NUMBERS) do
    run[field] = tonumber(run[field])
  end
  for _, field in ipairs(AS_COUNTS) do
    run[field] = tonumber(run[field]) or 0
  end
  return run
end

-- Deal with a run of a target that is in an index, and that `find` does not find: an id without a record is dropped, a
-- record that can't be read becomes one of a run that has failed. Either is told.
function Runs.set_aside(target, id, place)
  local is_job, name = target:sub(1, 1) == 't', target:sub(3)
  local stored = key('run', id)
  for _, state in ipairs({'pending', 'running'}) do
    call('ZREM', is_job and key('jobs', state .. ':' .. name) or key('crons', state), id)
  end
  call('ZREM', key('expires', target), id)
  call('SREM', key('living', target), id)
  call('SREM', key('counting', name), id)
  Targets.touch(target)
  local is_gone = call('EXISTS', stored) == 0
  done.odd[#done.odd + 1] = {id, name, is_gone}
  if is_gone then
    call('ZREM', key('lines', name), id)
    return
  end
  local arguments, of_task = unpack(try('HMGET', stored, 'arguments', 'key') or {})
  call('DEL', stored)
  local run = {
    run_id = id, kind = is_job and 'job' or 'slot', name = name, state = 'failed', due = now, created = now, ended = now,
    slot = not is_job and now or nil, place = tonumber(place) or Runs.new_place(), arguments = arguments or nil,
    key = of_task or nil, reason = 'its record could not be read'
  }
  set(stored, texts(run))
  Runs.enlist(run)
end

local long_texts = {}

-- Read the long texts of a run that is to be reported, as it may be deleted by what becomes of it.
function Runs.read_long_texts(run)
  long_texts[run.run_id] = run.has_texts and record(key('texts', run.run_id)) or {}
  return long_texts[run.run_id]
end

-- Its arguments, or the first bytes of them.
function Runs.arguments_of(run, at_most)
  local stored = run.has_arguments and key('arguments', run.run_id)
  if not stored then
    return run.arguments
  elseif at_most then
    local written = call('GETRANGE', stored, 0, at_most)
    -- What was cut may end in a part of a character.
    return #written > at_most and written:sub(1, at_most):gsub('[\192-\255]?[\128-\191]*$', '') or written
  end
  return call('GET', stored) or nil
end

local long_fields = {}

function Runs.note_long_fields(run)
  long_fields[run.run_id] = {Runs.arguments_of(run), run.earlier}
end

-- Add what may be long to claims, or to runs.
function Runs.add_long_fields(records)
  for _, one in ipairs(records) do
    if not long_fields[one.run_id] then
      Runs.note_long_fields(Runs.find(one.run_id) or one)
    end
    one.arguments, one.earlier = unpack(long_fields[one.run_id], 1, 2)
  end
end

-- A run as it is now, without what may be long.
function Runs.brief(run)
  local brief = texts(run)
  Runs.note_long_fields(run)
  brief.arguments, brief.earlier, brief.line = nil, nil, nil
  return brief
end

-- Add to runs what may be long, as an answer is kept without it.
function Runs.complete(runs)
  Runs.add_long_fields(runs)
  for _, run in ipairs(runs) do
    local read = long_texts[run.run_id] or Runs.read_long_texts(run)
    run.error, run.output = read.error, read.output
  end
end

-- A run as it is told: whole, or without what it wrote and with the beginning of its arguments.
function Runs.told(id, is_brief)
  local run = record(key('run', id))
  if run then
    run.run_id = id
    run.arguments = Runs.arguments_of(run, is_brief and BRIEFLY)
    local read = run.has_texts and not is_brief and Runs.read_long_texts(run) or {}
    run.error, run.output = read.error, read.output
  end
  return run
end

function Runs.target_of(run)
  run.target = run.target or (run.kind == 'job' and 't:' or 'c:') .. run.name
  return run.target
end

function Runs.is_final(state)
  return state ~= 'pending' and state ~= 'running'
end

-- Fields of a run; what is `false` is deleted.
function Runs.change(run, fields)
  local written = {}
  for field, value in pairs(fields) do
    if value ~= false or run[field] then
      written[field] = value
    end
    run[field] = value or nil
  end
  set(key('run', run.run_id), written)
end

-- Where it is listed

function Runs.listing(run)
  return run.kind == 'job' and key('jobs', run.state .. ':' .. run.name) or key('crons', run.state)
end

function Runs.keyed(of_task, place, id)
  return of_task .. '\0' .. Targets.written_place(place) .. id
end

function Runs.member_of_ready(priority, due, place, id)
  return digits(-priority), string.format('%016.0f', due) .. Targets.written_place(place) .. id
end

function Runs.member_of_scheduled(run)
  return digits(run.priority) .. ':' .. Targets.written_place(run.place) .. run.run_id
end

function Runs.wait(run)
  local target = Runs.target_of(run)
  if run.due <= now then
    call('ZADD', key('ready', target), Runs.member_of_ready(run.priority, run.due, run.place, run.run_id))
  else
    call('ZADD', key('scheduled', target), digits(run.due), Runs.member_of_scheduled(run))
  end
  if run.expires then
    call('ZADD', key('expires', target), digits(math.max(run.due, run.expires + 1)), run.run_id)
  end
  if run.key then
    call('HSET', key('keys'), Targets.key_of(target, run.key), run.run_id)
  end
  if run.counts and not run.is_kept then
    call('SADD', key('counting', run.name), run.run_id)
  end
end

function Runs.wait_no_longer(run)
  local target = Runs.target_of(run)
  local _, member = Runs.member_of_ready(run.priority, run.due, run.place, run.run_id)
  if run.is_ready then
    write_later(key('ready', target), member, false)
  elseif call('ZREM', key('ready', target), member) == 0 then
    call('ZREM', key('scheduled', target), Runs.member_of_scheduled(run))
  end
  if run.expires then
    call('ZREM', key('expires', target), run.run_id)
  end
  if run.key then
    call('HDEL', key('keys'), Targets.key_of(target, run.key))
  end
  if run.counts then
    call('SREM', key('counting', run.name), run.run_id)
  end
end

-- Delete a run that has ended.
function Runs.forget(run)
  write_later(Runs.listing(run), run.run_id, false)
  if run.kind == 'job' then
    write_later(key('ended', run.state), run.run_id, false)
    if run.key then
      write_later(key('keyed'), Runs.keyed(run.key, run.place, run.run_id), false)
    end
  else
    call('ZREM', key('lines', run.name), run.run_id)
    call('ZREM', key('final', run.name), run.run_id)
  end
  call('DEL', key('run', run.run_id), key('texts', run.run_id), key('arguments', run.run_id))
end

-- Keep the newest ended runs of a cron, and those that have a lease.
function Runs.trim(cron)
  for _, id in ipairs(call('ZRANGE', key('final', cron), 0, -given.keep - 1)) do
    local run = Runs.find(id)
    if not run then
      call('ZREM', key('final', cron), id)
      call('ZREM', key('lines', cron), id)
      call('DEL', key('run', id), key('texts', id))
    elseif not run.is_kept then
      Runs.forget(run)
    end
  end
end

function Runs.enlist(run)
  write_later(Runs.listing(run), run.run_id, digits(run.place))
  if run.state == 'pending' then
    Runs.wait(run)
  elseif Runs.is_final(run.state) and run.kind == 'job' then
    write_later(key('ended', run.state), run.run_id, digits(run.ended))
  elseif Runs.is_final(run.state) then
    call('ZADD', key('final', run.name), digits(run.place), run.run_id)
    if run.state ~= 'succeeded' then
      count(key('cron', run.name), 'failures', 1)
    end
    Runs.trim(run.name)
  end
  Targets.touch(Runs.target_of(run))
end

-- Before its state changes.
function Runs.delist(run)
  write_later(Runs.listing(run), run.run_id, false)
  if run.state == 'pending' then
    Runs.wait_no_longer(run)
  elseif Runs.is_final(run.state) then
    write_later(key('ended', run.state), run.run_id, false)  -- only jobs live again
  end
  Targets.touch(Runs.target_of(run))
end

-- Its lease

function Runs.lease_of(id, target, of_task)
  return id .. '\0' .. target .. '\0' .. (of_task or '')
end

-- The id, the target and the key of a lease.
function Runs.parts_of_lease(member)
  return member:match('^([^%z]*)%z([^%z]*)%z(.*)$')
end

local function lease_of(run)
  return Runs.lease_of(run.run_id, Runs.target_of(run), run.key)
end

function Runs.begin_lease(run, lease)
  write_later(key('leases'), lease_of(run), digits(now + lease))
  call('SADD', key('living', Runs.target_of(run)), run.run_id)
  if run.key then
    call('HSET', key('busy'), Targets.key_of(Runs.target_of(run), run.key), run.run_id)
  end
end

function Runs.end_lease(run)
  write_later(key('leases'), lease_of(run), false)
  call('SREM', key('living', Runs.target_of(run)), run.run_id)
  if run.key then
    call('HDEL', key('busy'), Targets.key_of(Runs.target_of(run), run.key))
  end
  Targets.touch(Runs.target_of(run))
end

-- End a lease that is over, of a run that `find` does not find.
function Runs.end_odd_lease(member)
  local id, target, of_task = Runs.parts_of_lease(member)
  write_later(key('leases'), member, false)
  if id then
    if of_task ~= '' and call('HGET', key('busy'), Targets.key_of(target, of_task)) == id then
      call('HDEL', key('busy'), Targets.key_of(target, of_task))
    end
    Runs.set_aside(target, id)
  end
end

-- A living run without a lease gets one, so that it ends; an id without a record is dropped.
function Runs.check_lease(target, id, lease)
  local run = Runs.find(id)
  if not run or run.state ~= 'running' and not run.is_kept then
    Runs.set_aside(target, id)
  elseif not call('ZSCORE', key('leases'), lease_of(run)) then
    write_later(key('leases'), lease_of(run), digits(now + lease))
  end
end

-- End the lease of a run whose result is recorded.
function Runs.free(run)
  Runs.end_lease(run)
  Runs.change(run, {is_kept = false})
  if run.state == 'pending' and run.counts then
    call('SADD', key('counting', run.name), run.run_id)
  elseif Runs.is_final(run.state) and run.kind ~= 'job' then
    Runs.trim(run.name)
  end
end

-- The run that a claim holds, or whose lease it has kept.
function Runs.held_by(claim)
  local run = Runs.find(claim.run_id)
  return run and run.fence == claim.fence and (run.state == 'running' or run.is_kept) and run or nil
end

-- Renew the leases of claims that still have one; return their ids.
function Runs.renew(claims, lease)
  local living = {}
  for _, claim in ipairs(claims) do
    local fence, kind, name, of_task = unpack(try('HMGET', key('run', claim.run_id), 'fence', 'kind', 'name', 'key') or {})
    local target = name and (kind == 'job' and 't:' or 'c:') .. name
    local member = target and Runs.lease_of(claim.run_id, target, of_task)
    if member and tonumber(fence or nil) == claim.fence and call('ZSCORE', key('leases'), member) then
      write_later(key('leases'), member, digits(now + lease))
      living[#living + 1] = claim.run_id
    end
  end
  return living
end
