-- Whoever waits for a lease to end has subscribed to the channel named as its key.
local function wake(channel)
  -- a user who may not publish may write all the same
  redis.pcall('PUBLISH', channel, '')
end

local function drop(key)
  local kind = redis.call('GETRANGE', key, 0, 0)
  redis.call('UNLINK', key)
  if kind == 'L' then wake(key) end
end

local function lease(key, value, milliseconds)
  local old = redis.call('SET', key, value, 'PX', milliseconds, 'GET')
  if old and string.sub(old, 1, 1) == 'L' then wake(key) end
end

