-- Reads many entries, and takes leases for those that are missing.
-- KEYS: clears, then a key for each get. ARGV: token, then for each group of gets that follow one another: their
-- scope, the oldest stamp that will do, the milliseconds of a lease, how many they are.
-- Returns the milliseconds now, then for each get: the entry, 1 where a lease was taken, 0 where none was wanted, or
-- negative the milliseconds for which another is live.
local scopes = {}
for at = 2, #ARGV, 4 do scopes[#scopes + 1] = ARGV[at] end
local current = generations(KEYS[1], scopes)
local values = redis.call('MGET', unpack(KEYS, 2))
local result = {now_millis()}
local taken = {}
local i = 0
for group, generation in ipairs(current) do
  local oldest, lease, count = unpack(ARGV, group * 4 - 1, group * 4 + 1)
  for _ = 1, count do
    i = i + 1
    local key, value = KEYS[i + 1], values[i]
    local kind = value and string.sub(value, 2, 21) == generation and string.sub(value, 1, 1)
    if taken[key] or kind == 'L' then
      result[i + 1] = -math.max(1, taken[key] or redis.call('PTTL', key))
    -- digits only: Lua compares strings by the locale
    elseif kind == 'V' and string.sub(value, 42, 81) >= oldest then
      result[i + 1] = value
    elseif lease == '0' then
      if kind == 'V' then redis.call('UNLINK', key) end
      result[i + 1] = 0
    else
      redis.call('SET', key, 'L' .. generation .. ARGV[1] .. i, 'PX', lease)
      taken[key] = tonumber(lease)
      result[i + 1] = 1
    end
  end
end
return result
