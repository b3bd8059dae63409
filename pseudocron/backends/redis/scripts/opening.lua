-- What a process asks before it polls.

-- The version of what is stored, which is that of the first process that came.
function reads.version()
  local version = call('GET', key('version'))
  if not version then
    call('SET', key('version'), given.version)
  end
  return version or text(given.version)
end

function reads.stale_in()
  return digits(Gate.fresh_for())
end
