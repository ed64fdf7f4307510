-- Finds holds that nobody renewed.
-- KEYS: organisation, expiries, holds
-- ARGV: how many at most
-- Gives epoch, count, then for each: id, its counters
local out = {whole(epoch), whole(count)}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(ms), 'LIMIT', 0, arg())) do
	out[#out + 1] = id
	out[#out + 1] = redis.call('HGET', KEYS[3], id) or ''
end
return out
