-- The ends of attempts, and of their leases.

function verbs.finish()
  local states = {}
  write_although_full()
  is_to_be_repeated = true
  for i, ending in ipairs(given.ends) do
    local run = held_by(ending)
    states[i] = run and run.state == 'running' and finish(run, ending) or false
  end
  if given.capacity then
    refresh_touched()
    claim_pending()
    bring_forward(claims[1] and now + given.lease)
  end
  bring_forward_touched()
  return {states = states, claims = claims, dropped = dropped, left = left, fresh_for = digits(fresh_for())}
end

function completed.finish(finished)
  complete(finished.dropped)
end

function verbs.renew()
  write_although_full()
  local living = renew(given.claims, given.lease)
  bring_forward(living[1] and now + given.lease)
  return living
end

function verbs.release()
  for _, one in ipairs(given.claims) do
    local run = held_by(one)
    if run and run.is_kept then
      free(run)
    end
  end
  bring_forward_touched()
end

-- A manual run, whose slot is now.
function verbs.start()
  if count_of(given.name) >= given.max_instances then
    return 'overlap'
  end
  is_to_be_repeated = true
  note_cron(given.name)
  local claimed = start({kind = 'manual', name = given.name, due = now, slot = now})
  bring_forward_touched()
  bring_forward(now + given.lease)
  return claimed
end

function completed.start() end
