-- The ids of the last record ever appended and of the first one still held; nil where there is no stream.
local function stream_ids(key)
  if redis.call('EXISTS', key) == 0 then return nil, nil end
  local info = redis.call('XINFO', 'STREAM', key)
  local last, first
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'first-entry' and info[i + 1] then first = info[i + 1][1] end
  end
  return last, first
end

