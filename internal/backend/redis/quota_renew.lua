-- Keeps holds alive, and makes those anew that are not there.
-- KEYS: organisation, expiries, holds, then the counters
-- ARGV: number of holds, and each: "id", "counters for the sweeper", number of asks, and each: p or b, number of its key, amount,
-- spent, keep until
-- Gives epoch, count
for _ = 1, num() do
	local id, packed, n = text(), text(), num()
	for _ = 1, n do
		local kind, key, amount, used, till = arg(), KEYS[3 + num()], num(), num(), arg()
		if kind == 'p' then
			redis.call('ZADD', key, whole(ms + lease), id)
			redis.call('PEXPIRE', key, 4 * lease)
		else
			local b, was = open(key), 0
			keepfor(b, till)
			local hold = redis.call('HGET', key, 'g:' .. id)
			if hold then
				local before
				was, amount, before = counted(hold)
				used = math.max(used, before)
			end
			redis.call('HSET', key, 'g:' .. id, whole(amount) .. ' ' .. whole(used) .. ' 0')
			if amount ~= was then redis.call('HINCRBY', key, 'h', whole(amount - was)) end
		end
	end
	if n > 0 or redis.call('ZSCORE', KEYS[2], id) then
		redis.call('ZADD', KEYS[2], whole(ms + lease), id)
		redis.call('HSET', KEYS[3], id, packed)
	end
end
redis.call('PEXPIRE', KEYS[2], keep)
redis.call('PEXPIRE', KEYS[3], keep)
return {whole(epoch), whole(count)}
