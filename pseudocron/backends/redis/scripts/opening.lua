-- What a process asks as it opens.

-- The version of what is stored, which is that of the first process that came.
function reads.version()
  local version = call('GET', key('version'))
  if not version then
    call('SET', key('version'), given.version)
  end
  return version or text(given.version)
end
