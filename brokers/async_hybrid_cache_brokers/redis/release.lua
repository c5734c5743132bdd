-- Removes a lease where it is live. KEYS: clears, key. ARGV: scope, token.
local generation = generations(KEYS[1], {ARGV[1]})[1]
if redis.call('GET', KEYS[2]) == 'L' .. generation .. ARGV[2] then drop(KEYS[2]) end
