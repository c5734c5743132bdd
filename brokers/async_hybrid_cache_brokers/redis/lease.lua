-- Replaces whatever is there by a lease. KEYS: clears, key. ARGV: scope, token, milliseconds.
local generation = generations(KEYS[1], {ARGV[1]})[1]
lease(KEYS[2], 'L' .. generation .. ARGV[2], ARGV[3])
