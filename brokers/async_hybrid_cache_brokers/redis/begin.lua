-- Begins a new, empty epoch where there is no stream or its epoch is at most `above`; returns the last id.
-- KEYS: stream. ARGV: above (-1: only where there is none), floor that a new epoch must exceed.
local last = stream_ids(KEYS[1])
if last and tonumber(string.match(last, '^%d+')) > tonumber(ARGV[1]) then return last end
redis.call('UNLINK', KEYS[1])
local time = redis.call('TIME')
local epoch = math.max(time[1] * 1000000 + time[2], tonumber(ARGV[2]) + 1)
-- offset 0 is taken and given back, so that the first record gets offset 1
local id = redis.call('XADD', KEYS[1], string.format('%.0f-0', epoch), 'epoch', '')
redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
return id
