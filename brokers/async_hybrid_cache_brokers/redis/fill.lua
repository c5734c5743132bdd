-- Stores an entry in the place of its live lease; 0 where that is gone.
-- KEYS: clears, key. ARGV: scope, token, stamp, milliseconds to live, data.
local generation = generations(KEYS[1], {ARGV[1]})[1]
if redis.call('GET', KEYS[2]) ~= 'L' .. generation .. ARGV[2] then return 0 end
local header = 'V' .. generation .. fixed(now_millis() + ARGV[4]) .. ARGV[3]
redis.call('SET', KEYS[2], header .. ARGV[5], 'PX', ARGV[4])
wake(KEYS[2])
return 1
