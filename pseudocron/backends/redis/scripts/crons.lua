-- What is kept of crons, for a process that plans and for people.

function reads.states()
  local states = {}
  for i, name in ipairs(given.names) do
    states[i] = Targets.state_of(name)
  end
  local _, longest = Targets.times_in_use()
  return {states = states, polled = whole(of_gate('polled')) and of_gate('polled') or nil, cron_max_time = digits(longest)}
end

function verbs.pause()
  write_although_full()
  set(key('cron', given.name), {paused = given.paused and 1 or false})
  Targets.note_cron(given.name)
  Targets.touch('c:' .. given.name)
  Targets.bring_forward_touched()
end

function verbs.reset()
  write_although_full()
  set(key('cron', given.name), {mark = given.mark, since = given.mark, back = given.mark, next = now, held = false})
  Targets.note_cron(given.name)
  Targets.touch('c:' .. given.name)
  Targets.bring_forward_touched()
end
