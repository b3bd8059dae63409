-- What all verbs begin with: the arguments, the time, the names of keys, hashes as tables, the answer.
--
-- KEYS[1]  the prefix of all keys of the application; its hash tag puts them on one node of a cluster. It ends in ':', as
--          a user who may use no other keys may give no other one here
-- ARGV[1]  the verb
-- ARGV[2]  the time, in microseconds since the Unix epoch; '' for the server's own
-- ARGV[3]  a token, new for each call: a repeated call has the same
-- ARGV[4]  the arguments of the verb, as JSON; what is None is left out
-- ARGV[5]  the targets that may be claimed, each behind a NUL, and with its limit, if it has one, behind another
-- ARGV[6]  a digest of ARGV[5] and of the CRON_MAX_TIME
--
-- Instants and durations are whole microseconds, which a double holds exactly up to the year 2255.
-- A target is 't:TASK' or 'c:CRON'. LOST_AT_MOST and the like are written before this file, see schema.py.

local call = redis.call
local prefix, token, given = KEYS[1], ARGV[3], cjson.decode(ARGV[4])
local reads, verbs, completed = {}, {}, {}

local function read_clock()
  if ARGV[2] ~= '' then
    return tonumber(ARGV[2])
  end
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local now = read_clock()

local function key(kind, of)
  return of and prefix .. kind .. ':' .. of or prefix .. kind
end

-- Lua would write a large number as 1.7e+15.
local function digits(number)
  return string.format('%.0f', number)
end

local written_now = digits(now)

local function text(value)
  if value == now then
    return written_now
  end
  return type(value) == 'number' and digits(value) or tostring(value)
end

local function texts(fields)
  local written = {}
  for field, value in pairs(fields) do
    written[field] = text(value)
  end
  return written
end

-- What a command answers, nil if it fails: what is stored may be harmed.
local function try(...)
  local answered = redis.pcall(...)
  return not (type(answered) == 'table' and answered.err) and answered or nil
end

-- A value that JSON stands for, if it is a table.
local function decoded(written)
  local is_read, value = pcall(cjson.decode, written)
  return is_read and type(value) == 'table' and value or nil
end

local function record(name)
  local flat = try('HGETALL', name)
  if not flat or #flat == 0 then
    return nil
  end
  local read = {}
  for i = 1, #flat, 2 do
    read[flat[i]] = flat[i + 1]
  end
  return read
end

-- Set fields of a hash; what is `false` is deleted.
local function set(name, fields)
  local written, gone = {}, {}
  for field, value in pairs(fields) do
    if value == false then
      gone[#gone + 1] = field
    else
      written[#written + 1] = field
      written[#written + 1] = text(value)
    end
  end
  if #gone > 0 then
    call('HDEL', name, unpack(gone))
  end
  if #written > 0 then
    call('HSET', name, unpack(written))
  end
end

-- A whole number that is kept exactly, as Python reads it.
local function whole(written)
  return written and #written <= 16 and written:match('^%-?%d+$') and tonumber(written) or nil
end

local function number(name, field)
  return whole(call('HGET', name, field))
end

-- Some fields of a hash, as numbers.
local function numbers(name, fields)
  local values, read = call('HMGET', name, unpack(fields)), {}
  for i, field in ipairs(fields) do
    read[field] = whole(values[i])
  end
  return read
end

-- Let a number in a hash grow.
local function count(name, field, by)
  if not try('HINCRBY', name, field, by) then
    call('HSET', name, field, by)
  end
end

-- A full server lets a script continue that has begun by deleting something. All verbs begin so that free memory, or
-- take little: only `defer` is refused.
local function write_although_full()
  call('DEL', key('nothing'))
end

-- Whether the server refuses to store anything. Only to be called before the first write of a verb.
local function is_full()
  local answered = redis.pcall('SETRANGE', key('nothing'), 0, '')  -- writes nothing
  return type(answered) == 'table' and answered.err and answered.err:find('OOM', 1, true) and true or false
end

-- No fence is lower than the time: fences grow also after the server has lost its memory, or a failover its last second.
local function next_fence(last)
  return math.max((last or 0) + 1, now)
end

-- Members of sorted sets that are written at the end of a verb, as it does not read them: by set and member the score,
-- false to delete it. Many members of one set are one call.
local later = {}

local function write_later(set_key, member, score)
  later[set_key] = later[set_key] or {}
  later[set_key][member] = score
end

local function write_in_parts(command, name, words)
  for start = 1, #words, 1000 do
    call(command, name, unpack(words, start, math.min(start + 999, #words)))
  end
end

local function write_now(set_key)
  local added, gone = {}, {}
  for member, score in pairs(later[set_key] or {}) do
    if score then
      added[#added + 1] = score
      added[#added + 1] = member
    else
      gone[#gone + 1] = member
    end
  end
  later[set_key] = nil
  write_in_parts('ZREM', set_key, gone)
  write_in_parts('ZADD', set_key, added)
end

-- Fields of the gate, read once, and written at the end of a verb.
local gate = key('gate')
local GATE = {'stale', 'polled', 'named', 'named_at', 'oldest', 'times', 'takeovers', 'batches', 'behind', 'stepped'}
local gate_read, gate_changes

local function of_gate(field)
  if not gate_read then
    gate_read = {}
    for i, value in ipairs(call('HMGET', gate, unpack(GATE))) do
      gate_read[GATE[i]] = value or nil
    end
  end
  return gate_read[field]
end

local function change_gate(field, value)
  of_gate(field)
  gate_read[field] = value and text(value) or nil
  gate_changes = gate_changes or {}
  gate_changes[field] = value
end

local function write_all()
  for set_key in pairs(later) do
    write_now(set_key)
  end
  if gate_changes then
    set(gate, gate_changes)
  end
end

-- What the parts of a verb have done, for its answer.
local done = {claims = {}, refused = {}, dropped = {}, left = false, has_skipped = false, odd = {}}

-- Note that there is more to do than one script may do: the process calls again.
local function note_more()
  done.left, done.more = true, true
end

-- A table of functions that `open` adds when the first of them is called: a verb pays only for those that it needs.
local function lazily(open)
  return setmetatable({}, {
    __index = function(module, name)
      setmetatable(module, nil)
      open(module)
      return rawget(module, name)
    end
  })
end

local is_to_be_repeated = false

-- What the verb answers, as JSON: large numbers in it must be texts. If the reply is lost, the client repeats the call
-- with the same token. A verb that must not act twice has `completed`, and says by `is_to_be_repeated` that its answer is
-- to be kept for a while. What may be long, arguments and what runs wrote, is not kept in it: `completed` adds it.
local function answer(verb)
  local kept = completed[verb] and call('GET', key('answer', token))
  local result
  if kept then
    result = cjson.decode(kept)
  else
    result = (reads[verb] or verbs[verb])()
    write_all()
    if is_to_be_repeated then
      call('SET', key('answer', token), cjson.encode(result), 'EX', 10)
    end
  end
  if completed[verb] then
    completed[verb](result)
  end
  return {digits(now), result == nil and 'null' or cjson.encode(result)}
end
