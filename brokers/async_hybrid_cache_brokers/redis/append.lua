-- Appends one record and returns its id; nil where the stream is gone or of another epoch. `also`, if given, is called
-- just before, and not where an earlier attempt is found.
-- KEYS: stream, ... ARGV: epoch, record id, record, retention, and the offset after which an earlier attempt of
-- unknown fate would lie ('' where there was none), ...
local function append(also)
  local last = stream_ids(KEYS[1])
  if not last or string.match(last, '^%d+') ~= ARGV[1] then return false end
  if ARGV[5] ~= '' then
    local after = ARGV[1] .. '-' .. ARGV[5]
    repeat
      local records = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', 100)
      for _, record in ipairs(records) do
        after = record[1]
        if record[2][1] == 'id' and record[2][2] == ARGV[2] then return after end
      end
    until #records < 100
  end
  if also then also() end
  return redis.call('XADD', KEYS[1], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[4], ARGV[1] .. '-*',
    'id', ARGV[2], 'data', ARGV[3])
end

