-- Replaces what a key holds, if it is what the caller thinks: 1. Else nothing happens: 0.
-- KEYS: the key
-- ARGV: what it holds, what it shall hold ('': nothing), for how long in milliseconds
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
	redis.call('DEL', KEYS[1])
else
	redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
