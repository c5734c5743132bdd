-- Appends one record, and before it changes L2: clears scopes, deletes entries, takes leases.
-- KEYS: stream, clears, the entries to delete, the entries to lease. ARGV: those of `append`, how many scopes are
-- cleared, their fields, how many entries are deleted, then for each lease: scope, token, milliseconds.
return append(function()
  local at = 6
  for _ = 1, tonumber(ARGV[at]) do
    at = at + 1
    begin_generation(KEYS[2], ARGV[at])
    wake(KEYS[2])
  end
  at = at + 1
  local last = 2 + ARGV[at]
  for i = 3, last do drop(KEYS[i]) end
  for i = last + 1, #KEYS do
    local scope, token, milliseconds = unpack(ARGV, at + 1, at + 3)
    lease(KEYS[i], 'L' .. generations(KEYS[2], {scope})[1] .. token, milliseconds)
    at = at + 3
  end
end)
