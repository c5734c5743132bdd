-- Begins a new generation. KEYS: clears. ARGV: the field of the scope, or that of all.
begin_generation(KEYS[1], ARGV[1])
wake(KEYS[1])
