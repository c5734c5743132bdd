-- The last id and the id of the first record held (nil in an empty stream); nil where there is no stream.
local last, first = stream_ids(KEYS[1])
return last and {last, first or false}
