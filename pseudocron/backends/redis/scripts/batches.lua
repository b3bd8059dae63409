-- Large calls of defer: their jobs are brought in parts, accepted by one small step, and stored in parts.
--
-- batch:ID   the parts of a call by their numbers, as JSON, until they are stored; broken: a key that it had reserved was
--            taken by others; next: once it is accepted, the part to store next; parts: how many; touched: when a part was
--            stored last; kept:JOB: with on_conflict='keep' the pending job that stands for it. Not accepted within a
--            minute after its last part, it is deleted.
-- batches    the accepted ones, by when that was

local EXPIRY = 60

local function note_accepted()
  Gate.note_batches(call('ZCARD', key('batches')))
end

-- Keep a part, and reserve its keys if they are to be free; return the job whose key is taken, if any.
function Batches.stage()
  local batch = Reserving.batch(given.batch)
  call('HSET', batch, given.number, given.part)
  call('EXPIRE', batch, EXPIRY)
  return given.reserves and Storing.reserve(cjson.decode(given.part), given.batch) or nil
end

-- Delete a part that will not be accepted, and free its keys; return whether it was there.
function Batches.unstage()
  local batch = Reserving.batch(given.batch)
  local part = call('HGET', batch, given.number)
  if part and given.reserves then
    Storing.free(cjson.decode(part), given.batch)
  end
  call('HDEL', batch, given.number)
  return part and true or false
end

-- Accept a call, if all of it has been brought and no key was taken by others.
function Batches.accept()
  local batch = Reserving.batch(given.batch)
  if call('HEXISTS', batch, 'next') == 0 then
    if call('HLEN', batch) ~= given.parts then
      return false
    end
    call('HSET', batch, 'next', 1, 'parts', given.parts, 'touched', written_now)
    call('PERSIST', batch)
    call('ZADD', key('batches'), written_now, given.batch)
    note_accepted()
  end
  return true
end

local function forget(id, has_kept)
  call('ZREM', key('batches'), id)
  note_accepted()
  if has_kept then
    call('EXPIRE', Reserving.batch(id), EXPIRY)
  else
    call('DEL', Reserving.batch(id))
  end
end

-- Store the next part of an accepted call; return how many there are left.
function Batches.store(id)
  local batch = Reserving.batch(id)
  local read = numbers(batch, {'next', 'parts', 'has_kept'})
  if not read.next or read.next > read.parts then
    return 0
  end
  local part = call('HGET', batch, read.next)
  local has_kept = Storing.store_part(part and cjson.decode(part) or {}, id) or read.has_kept
  call('HDEL', batch, read.next)
  set(batch, {next = read.next + 1, touched = now, has_kept = has_kept and 1 or nil})
  if read.next == read.parts then
    forget(id, has_kept)
  end
  return read.parts - read.next
end

-- Store a part of the first accepted call whose process seems to be gone; return its id if there is more of it.
function Batches.store_left()
  local id = call('ZRANGE', key('batches'), 0, 0)[1]
  local touched = id and number(Reserving.batch(id), 'touched')
  if not id then
    note_accepted()
  elseif not touched then  -- it was deleted by others
    forget(id)
  elseif touched > now or now - touched > 1000000 then
    return Batches.store(id) > 0 and id or nil
  end
end
