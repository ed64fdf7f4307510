-- Reads counters.
-- KEYS: organisation, then the counters
-- Gives each counter as it is, or nothing if it is of another epoch
local out = {}
for i = 2, #KEYS do
	local all = {}
	if redis.call('HGET', KEYS[i], 'e') == redis.call('HGET', KEYS[1], 'e') then all = redis.call('HGETALL', KEYS[i]) end
	out[#out + 1] = all
end
return out
