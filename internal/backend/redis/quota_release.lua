-- Ends a hold's leases, and corrects its token paces once.
-- KEYS: organisation, expiries, holds, then one for each ask
-- ARGV: id, tokens used, number of asks, and each: p | t, span in us, cost, slot
-- Gives epoch, count
local id, tokens, n = arg(), num(), num()
local first = redis.call('HDEL', KEYS[3], 'l:' .. id) == 1
for i = 1, n do
	local key = KEYS[3 + i]
	if arg() == 'p' then
		redis.call('ZREM', key, id)
	else
		local span, cost, slot = num(), num(), num()
		local width = math.max(math.floor(span / 100), 1)
		local current, more = math.floor(now / width), tokens - cost
		if slot < current - 100 then -- it has left: a debt is due now
			slot, more = current, math.max(more, 0)
		end
		local has = tonumber(redis.call('HGET', key, whole(slot)) or 0)
		more = math.max(more, -has)
		if first and more ~= 0 then
			redis.call('HINCRBY', key, whole(slot), whole(more))
			redis.call('HINCRBY', key, 't', whole(more))
			redis.call('HSETNX', key, 'f', whole(slot))
			redis.call('PEXPIRE', key, whole(math.ceil(span / 1000) + math.ceil(width / 1000) + 1000))
		end
	end
end
if redis.call('HGET', KEYS[3], id) == '' then -- there are no budgets
	redis.call('HDEL', KEYS[3], id)
	redis.call('ZREM', KEYS[2], id)
end
return {whole(epoch), whole(count)}
