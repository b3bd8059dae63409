-- What becomes of runs. The rules are those of `backends/rules.py`.

function Endings.drop(run, state, fields)
  fields = fields or {}
  fields.state, fields.ended, fields.reason = state, now, REASONS[state]
  Runs.delist(run)
  Runs.change(run, fields)
  Runs.enlist(run)
end

-- The same of a pending run, which is reported.
function Endings.drop_pending(run, state)
  Runs.read_long_texts(run)
  Endings.drop(run, state)
  done.dropped[#done.dropped + 1] = Runs.brief(run)
end

function Endings.is_expired(run)
  return run.expires and run.expires < now
end

-- The pending job with a key.
function Endings.pending_with(target, of_task)
  local id = of_task and call('HGET', key('keys'), Targets.key_of(target, of_task))
  if id and id:byte() == 0 then
    return Reserving.job_of(id)
  end
  return id and Runs.find(id) or nil
end

-- The same, without one that has expired: that is recorded, and leaves the key.
function Endings.holder(target, of_task)
  local run = Endings.pending_with(target, of_task)
  if run and Endings.is_expired(run) then
    Endings.drop_pending(run, 'expired')
    return nil
  end
  return run
end

-- Let a run that was running be pending again, unless its key is taken.
function Endings.let_again(run, fields, outcome, due)
  if run.key and Endings.holder(Runs.target_of(run), run.key) then
    Endings.drop(run, 'replaced', fields)
    return
  end
  local earlier = run.earlier and decoded(run.earlier) or {}
  earlier[#earlier + 1] = {run.worker, text(run.started), digits(now), outcome, fields.line or run.line}
  while #earlier > EARLIER_AT_MOST do
    table.remove(earlier, 1)
  end
  fields.state, fields.due, fields.earlier = 'pending', due, cjson.encode(earlier)
  Runs.delist(run)
  Runs.change(run, fields)
  Runs.enlist(run)
end

-- Record how an attempt ended.
function Endings.finish(run, ending)
  local failed = ending.counts and (ending.outcome == 'failed' or ending.outcome == 'timed_out')
  local fields = {
    state = ending.outcome, ended = now, attempts = run.attempts - (ending.counts and 0 or 1),
    failures = run.failures + (failed and 1 or 0), line = ending.line,
    has_texts = (ending.error or ending.output) and 1 or nil, reason = ending.reason or false,
    is_kept = ending.goes_on and 1 or false,
    unfit_since = ending.unfit and (run.unfit_since or now) or false, stop = false
  }
  if run.has_texts or fields.has_texts then
    set(key('texts', run.run_id), {error = ending.error, output = ending.output or false})
  end
  if not ending.goes_on then
    Runs.end_lease(run)
  end
  if ending.outcome ~= 'succeeded' and run.stop then
    Endings.drop(run, 'cancelled', fields)
  elseif ending.outcome ~= 'succeeded' and ending.due then
    Endings.let_again(run, fields, ending.outcome, math.max(ending.due, now))
  else
    Runs.delist(run)
    Runs.change(run, fields)
    Runs.enlist(run)
  end
  return run.state
end

-- Record that the lease of a running run is over.
function Endings.lose(run)
  local fields = {ended = now, lost = run.lost + 1, unfit_since = false, stop = false}
  Runs.end_lease(run)
  if run.stop then
    Endings.drop(run, 'cancelled', fields)
  elseif fields.lost < LOST_AT_MOST and (run.kind == 'job' or run.at_least_once) then
    Endings.let_again(run, fields, 'lost', now)
  else
    local often = fields.lost >= LOST_AT_MOST
    fields.state, fields.reason = often and 'failed' or 'lost', often and 'lost ' .. fields.lost .. ' times' or nil
    Runs.delist(run)
    Runs.change(run, fields)
    Runs.enlist(run)
  end
end
