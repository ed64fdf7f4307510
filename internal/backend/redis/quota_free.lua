-- Ends leases of holds, and corrects their token paces, each once. It comes before what else a script does, and changes nothing of a
-- hold that another epoch had.
-- KEYS: organisation, expiries, holds, then the counters
-- ARGV: number of holds, and each: "id", tokens used, number of asks, and each: p, number of its key
--   | t, number of its key, span in us, cost, slot
for _ = 1, num() do
	local id, tokens, n = text(), num(), num()
	local first = redis.call('HDEL', KEYS[3], 'l:' .. id) == 1
	for _ = 1, n do
		local kind, key = arg(), KEYS[3 + num()]
		if kind == 'p' then
			redis.call('ZREM', key, id)
		else
			local span, cost, slot = num(), num(), num()
			local width = math.max(math.floor(span / 100), 1)
			local current, more = math.floor(now / width), tokens - cost
			if slot < current - 100 then -- it has left: a debt is due now
				slot, more = current, math.max(more, 0)
			end
			local v = redis.call('HMGET', key, whole(slot), 't')
			local has = tonumber(v[1] or 0)
			more = math.max(more, -has)
			if first and more ~= 0 then
				redis.call('HSET', key, whole(slot), whole(has + more), 't', whole(tonumber(v[2] or 0) + more))
				if not v[1] then
					redis.call('HSETNX', key, 'f', whole(slot))
					redis.call('PEXPIRE', key, whole(math.ceil(span / 1000) + math.ceil(width / 1000) + 1000))
				end
			end
		end
	end
	local budgets = redis.call('HGET', KEYS[3], id)
	if not budgets or budgets == '' then -- there are none, or they are settled
		redis.call('HDEL', KEYS[3], id)
		redis.call('ZREM', KEYS[2], id)
	end
end
