-- What becomes of runs. The rules are those of `backends/rules.py`.

local dropped = {}

local function drop(run, state, fields)
  fields = fields or {}
  fields.state, fields.ended, fields.reason = state, now, REASONS[state]
  delist(run)
  change(run, fields)
  enlist(run)
end

-- The same of a pending run, which is reported.
local function drop_pending(run, state)
  keep_long_texts(run)
  drop(run, state)
  dropped[#dropped + 1] = brief(run)
end

local function is_expired(run)
  return run.expires and run.expires < now
end

-- The pending job with a key.
local function pending_with(target, of_task)
  return of_task and find(call('HGET', key('keys'), key_of(target, of_task)) or nil)
end

-- The same, without one that has expired: that is recorded, and leaves the key.
local function holder(target, of_task)
  local run = pending_with(target, of_task)
  if run and is_expired(run) then
    drop_pending(run, 'expired')
    return nil
  end
  return run
end

-- Let a run that was running be pending again, unless its key is taken.
local function let_again(run, fields, outcome, due)
  if run.key and holder(target_of(run), run.key) then
    drop(run, 'replaced', fields)
    return
  end
  local earlier = run.earlier and cjson.decode(run.earlier) or {}
  earlier[#earlier + 1] = {run.worker, text(run.started), digits(now), outcome, fields.line or run.line}
  while #earlier > EARLIER_AT_MOST do
    table.remove(earlier, 1)
  end
  fields.state, fields.due, fields.earlier = 'pending', due, cjson.encode(earlier)
  delist(run)
  change(run, fields)
  enlist(run)
end

-- Record how an attempt ended.
local function finish(run, ending)
  local failed = ending.counts and (ending.outcome == 'failed' or ending.outcome == 'timed_out')
  local fields = {
    state = ending.outcome, ended = now, attempts = run.attempts - (ending.counts and 0 or 1),
    failures = run.failures + (failed and 1 or 0), error = ending.error, line = ending.line,
    output = ending.output or false, wrote = ending.output and 1 or false, reason = ending.reason or false,
    is_kept = ending.goes_on and 1 or false,
    unfit_since = ending.unfit and (run.unfit_since or now) or false, stop = false
  }
  run.output = run.wrote  -- which is not read
  if not ending.goes_on then
    end_lease(run)
  end
  if ending.outcome ~= 'succeeded' and run.stop then
    drop(run, 'cancelled', fields)
  elseif ending.outcome ~= 'succeeded' and ending.due then
    let_again(run, fields, ending.outcome, math.max(ending.due, now))
  else
    delist(run)
    change(run, fields)
    enlist(run)
  end
  return run.state
end

-- Record that the lease of a running run is over.
local function lose(run)
  local fields = {ended = now, lost = run.lost + 1, unfit_since = false, stop = false}
  end_lease(run)
  if run.stop then
    drop(run, 'cancelled', fields)
  elseif fields.lost < LOST_AT_MOST and (run.kind == 'job' or run.at_least_once) then
    let_again(run, fields, 'lost', now)
  else
    local often = fields.lost >= LOST_AT_MOST
    fields.state, fields.reason = often and 'failed' or 'lost', often and 'lost ' .. fields.lost .. ' times' or nil
    delist(run)
    change(run, fields)
    enlist(run)
  end
end
