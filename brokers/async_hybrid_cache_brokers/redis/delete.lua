-- Deletes entries and leases. KEYS: them.
for _, key in ipairs(KEYS) do drop(key) end
