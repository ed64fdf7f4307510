-- Claims a key that nobody has; else gives what it holds.
-- KEYS: the key
-- ARGV: the claim, its time in milliseconds
local had = redis.call('GET', KEYS[1])
if had then return had end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
