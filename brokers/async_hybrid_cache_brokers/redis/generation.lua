-- Entries and leases belong to the generation in which they were written; a clear begins a new one.
local ALL = ''  -- the field of a scope is a colon and its name
local TIME = redis.call('TIME')

local function fixed(number) return string.format('%020.0f', number) end

local function now_micros() return TIME[1] * 1000000 + TIME[2] end
local function now_millis() return TIME[1] * 1000 + math.floor(TIME[2] / 1000) end

-- The generations of these scopes, each the later of the scope's clear and the clear of all. Where nothing is
-- known (first use, or the hash was evicted) a new one begins, so that a lost clear never brings entries back.
local function generations(clears, scopes)
  local found = redis.call('HMGET', clears, ALL, unpack(scopes))
  if not found[1] then
    found[1] = fixed(now_micros())
    redis.call('HSET', clears, ALL, found[1])
  end
  local result = {}
  for i = 1, #scopes do
    local scope = found[i + 1]
    result[i] = (scope and scope > found[1]) and scope or found[1]
  end
  return result
end

-- Begins a new generation, later than any before whatever the clock says, of one scope (its field) or of ALL.
local function begin_generation(clears, field)
  local latest = now_micros()
  for _, clear in ipairs(redis.call('HVALS', clears)) do
    latest = math.max(latest, tonumber(clear) + 1)
  end
  -- the hash never expires: it holds one field for each scope cleared since all were, and these are few
  if field == ALL then redis.call('UNLINK', clears) end
  redis.call('HSET', clears, field, fixed(latest))
end

