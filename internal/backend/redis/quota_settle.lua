-- Books costs, each once, and ends the budgets' holds.
-- KEYS: organisation, expiries, holds, then the counters
-- ARGV: "replica", last position that was settled, 1 if this was sent before, number of settlements, and each: "id", position,
-- number of counters, and each: number of its key, part, amount, keep until
-- Gives epoch, count, then for each alert (nothing is booked, and no alert given, in another epoch than the caller's: what was
-- lost before must be sent again first, or a seed's mark would pass over it): number of the key, percent, spent, limit
local replica, after, again, last = text(), arg(), arg() == '1', '0'
if seen == epoch and later(after, redis.call('HGET', KEYS[1], 's:' .. replica) or '0') then lost() end
if seen ~= 0 and seen ~= epoch then return {whole(epoch), whole(count)} end
local crossed, counters = {}, {}
for _ = 1, num() do
	local id, position, n = text(), arg(), num()
	for _ = 1, n do
		local index, part, amount, till = num(), arg(), arg(), arg()
		local key = KEYS[3 + index]
		local b = counters[index]
		if not b then
			b = open(key)
			counters[index] = b
		end
		local hold = redis.call('HGET', key, 'g:' .. id)
		if hold then
			redis.call('HDEL', key, 'g:' .. id)
			redis.call('HINCRBY', key, 'h', whole(-counted(hold)))
		end
		if position ~= '0' and not b.known then
			keepfor(b, till)
			redis.call('HSET', key, 'w:' .. replica .. ':' .. position, part .. ' ' .. amount)
		elseif position ~= '0' and later(position, redis.call('HGET', key, 'r:' .. replica) or '0') then
			redis.call('HSET', key, 'r:' .. replica, position)
			book(b, part, amount)
		end
	end
	if later(position, last) then last = position end
	redis.call('HDEL', KEYS[3], id)
	if redis.call('HEXISTS', KEYS[3], 'l:' .. id) == 0 then redis.call('ZREM', KEYS[2], id) end
end
if later(last, redis.call('HGET', KEYS[1], 's:' .. replica) or '0') then redis.call('HSET', KEYS[1], 's:' .. replica, last) end
for index, b in pairs(counters) do
	if b.known and b.alerts ~= '' then
		local sum = spent(b, 0)
		for percent, amount in string.gmatch(b.alerts, '(%d+)=(%d+)') do
			if sum >= tonumber(amount) and (again or tonumber(percent) > b.told) then
				for _, v in ipairs({index, tonumber(percent), sum, tonumber(string.match(b.alerts, '^%d+'))}) do crossed[#crossed + 1] = whole(v) end
			end
		end
		local top = reached(b, sum)
		if top > b.told then redis.call('HSET', b.key, 'a', whole(top)) end
	end
end
local out = {whole(epoch), whole(count)}
for _, v in ipairs(crossed) do out[#out + 1] = v end
return out
