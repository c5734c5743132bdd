-- Begins a new generation, later than any before whatever the clock says, of one scope or of all.
-- KEYS: clears. ARGV: the scope, or nothing for all.
local latest = now_micros()
for _, clear in ipairs(redis.call('HVALS', KEYS[1])) do
  latest = math.max(latest, tonumber(clear) + 1)
end
-- the hash never expires: it holds one field for each scope cleared since all were, and these are few
if not ARGV[1] then redis.call('UNLINK', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1] or ALL, fixed(latest))
wake(KEYS[1])
