-- The ends of attempts, and of their leases.

-- A full server records how attempts ended, but not what they wrote.
local function leave_out_texts()
  local full
  for _, ending in ipairs(given.ends) do
    if (ending.error or ending.output) and full == nil then
      full = is_full()
    end
    if full then
      ending.error = ending.error and ending.line
      ending.output = ending.output and '(not kept: the server was full)'
    end
  end
end

function verbs.finish()
  local states = {}
  leave_out_texts()
  write_although_full()
  is_to_be_repeated = true
  for i, ending in ipairs(given.ends) do
    local run = Runs.held_by(ending)
    states[i] = run and run.state == 'running' and Endings.finish(run, ending) or false
  end
  if given.capacity then
    Targets.refresh_touched()
    Claims.claim_pending()
    Gate.bring_forward(done.claims[1] and now + given.lease)
  end
  Targets.bring_forward_touched()
  return {
    states = states, claims = done.claims, dropped = done.dropped, left = done.left, odd = done.odd, more = done.more, fresh_for = digits(Gate.fresh_for())
  }
end

function completed.finish(finished)
  Runs.add_long_fields(finished.claims)
  Runs.complete(finished.dropped)
end

function verbs.renew()
  write_although_full()
  local living = Runs.renew(given.claims, given.lease)
  Gate.bring_forward(living[1] and now + given.lease)
  return living
end

function verbs.release()
  write_although_full()
  for _, one in ipairs(given.claims) do
    local run = Runs.held_by(one)
    if run and run.is_kept then
      Runs.free(run)
    end
  end
  Targets.bring_forward_touched()
end

-- A manual run, whose slot is now.
function verbs.start()
  if Targets.count_of(given.name) >= given.max_instances then
    return 'overlap'
  end
  write_although_full()
  is_to_be_repeated = true
  Targets.note_cron(given.name)
  local claimed = Claims.start({kind = 'manual', name = given.name, due = now, slot = now})
  Targets.bring_forward_touched()
  Gate.bring_forward(now + given.lease)
  return claimed
end

function completed.start() end
