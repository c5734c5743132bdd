-- Replaces a checkpoint, a hash of version and data, where its version is the one given; false where it is not.
-- KEYS: checkpoint. ARGV: version to be replaced (0: none yet), data.
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then return false end
local fresh
if version == '0' then
  -- never one of a checkpoint that was deleted, as it would be if they began at 1
  local now = redis.call('TIME')
  fresh = string.format('%d%06d', now[1], now[2])
else
  fresh = string.format('%.0f', tonumber(version) + 1)
end
redis.call('HSET', KEYS[1], 'version', fresh, 'data', ARGV[2])
return fresh
