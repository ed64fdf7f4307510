-- Leaves of holds that nobody renewed what they are known to have spent.
-- KEYS: organisation, expiries, holds, then the counters
-- ARGV: number of holds, and each: "id", number of counters, and the numbers of their keys
-- Gives epoch, count
for _ = 1, num() do
	local id, n = text(), num()
	local score = tonumber(redis.call('ZSCORE', KEYS[2], id) or nil)
	local over = score and score <= ms
	for _ = 1, n do
		local b = open(KEYS[3 + num()])
		local hold = over and redis.call('HGET', b.key, 'g:' .. id)
		if hold then
			local was, amount, used = counted(hold)
			local left = math.min(amount, used)
			if left ~= was then redis.call('HINCRBY', b.key, 'h', whole(left - was)) end
			if left > 0 then
				redis.call('HSET', b.key, 'g:' .. id, whole(amount) .. ' ' .. whole(used) .. ' 1')
			else
				redis.call('HDEL', b.key, 'g:' .. id)
			end
		end
	end
	if over then
		redis.call('ZREM', KEYS[2], id)
		redis.call('HDEL', KEYS[3], id, 'l:' .. id)
	end
end
return {whole(epoch), whole(count)}
