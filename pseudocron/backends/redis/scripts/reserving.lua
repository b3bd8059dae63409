-- Keys that a large call of defer has reserved until its jobs are stored, see batches.lua. In `keys` they are written as
-- NUL BATCH NUL JOB.

function Reserving.batch(id)
  return key('batch', id)
end

function Reserving.written(id, job)
  return '\0' .. id .. '\0' .. job
end

-- What a reserved key stands for: the job that will be stored, once its call is accepted. Else the key is free, and the
-- call must begin again.
function Reserving.job_of(reserved)
  local id, job = reserved:match('^%z([^%z]*)%z(.*)$')
  local batch = Reserving.batch(id)
  if call('HEXISTS', batch, 'next') == 1 then
    return {run_id = job, is_coming = true}
  elseif call('EXISTS', batch) == 1 then
    call('HSET', batch, 'broken', 1)
  end
end
