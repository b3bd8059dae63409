-- What all verbs stand on: the time, the names of the keys, hashes as records, and the gate.
--
-- KEYS[1]  the application's prefix; its hash tag puts all that belongs to the application on one node
-- ARGV[1]  the verb
-- ARGV[2]  the time, in microseconds since the Unix epoch; '' for the server's own
-- ARGV[3]  a token, fresh for each call
-- ARGV[4]  the arguments of the verb, as JSON; what is None is left out
--
-- Instants are microseconds since the epoch, which a double holds exactly up to the year 2255.

local call = redis.call
local prefix, token, arguments = KEYS[1], ARGV[3], cjson.decode(ARGV[4])
local reads, verbs = {}, {}

local function read_clock()
  if ARGV[2] ~= '' then
    return tonumber(ARGV[2])
  end
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local now = read_clock()

local function key(kind, of)
  return of and prefix .. ':' .. kind .. ':' .. of or prefix .. ':' .. kind
end

-- Lua would write a large number as 1.7e+15.
local function digits(number)
  return string.format('%.0f', number)
end

local function text(value)
  return type(value) == 'number' and digits(value) or tostring(value)
end

-- A hash as a table, nil if there is none.
local function record(name)
  local flat = call('HGETALL', name)
  if #flat == 0 then
    return nil
  end
  local read = {}
  for i = 1, #flat, 2 do
    read[flat[i]] = flat[i + 1]
  end
  return read
end

-- As JSON, as one text is read faster than many. Large numbers in it must be texts.
local function encode(said)
  return said == nil and 'null' or cjson.encode(said)
end

-- What a verb answers. A client whose reply was lost asks again with the same token, and is told the same again:
-- what was claimed for it must not be lost by that.
local function answer(verb)
  if reads[verb] then
    return encode(reads[verb]())
  end
  local said = key('said', token)
  local told = call('GET', said)
  if not told then
    told = encode(verbs[verb]())
    call('SET', said, told, 'EX', 10)
  end
  return told
end

-- A record as it reads when it is stored: what was just written need not be read again to be told.
local function texts(fields)
  local stored = {}
  for field, value in pairs(fields) do
    stored[field] = text(value)
  end
  return stored
end

-- Set the fields of a hash.
local function set(name, fields)
  local flat = {}
  for field, value in pairs(fields) do
    flat[#flat + 1] = field
    flat[#flat + 1] = text(value)
  end
  call('HSET', name, unpack(flat))
end

local function number(name, field)
  return tonumber(call('HGET', name, field) or nil)
end

-- Some fields of a hash, as numbers.
local function numbers(name, fields)
  local values, read = call('HMGET', name, unpack(fields)), {}
  for i, field in ipairs(fields) do
    read[field] = tonumber(values[i] or nil)
  end
  return read
end

-- A fence grows even after the server has lost its memory, or a failover its last second.
local function next_fence(last)
  return math.max((tonumber(last or nil) or 0) + 1, now)
end

-- The gate: when it was entered, and by which call.

local gate = key('gate')

-- For how long the gate is fresh, and when it was entered.
local function left(max_age)
  local at = number(gate, 'at')
  if not at or at > now then
    return 0, at
  end
  return math.max(0, at + max_age - now), at
end

-- A gate that lies in the future is stale now, and fresh when the clock has come to it. It gives way to what is due now
-- only: to anything later it would be fresh at once.
local function lower(due, max_age)
  local fresh, at = left(max_age)
  if at and due - max_age < at and (fresh > 0 or due <= now) then
    call('HSET', gate, 'at', digits(due - max_age))
  end
end

-- Let the gate turn stale at `due`, if that is given and sooner. The last that a verb does: a full server lets a script
-- go on that has begun by taking something away.
local function bring_forward(due)
  if due then
    lower(due, arguments.cron_max_time)
  end
end
