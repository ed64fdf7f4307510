-- Books costs, each once, and ends the budgets' holds.
-- KEYS: organisation, expiries, holds, then the counters
-- ARGV: "replica", last position that was settled, 1 if this was sent before, number of settlements, and each: "id", position,
-- number of counters, and each: number of its key, part, amount, keep until
-- Gives epoch, count, then for each alert (nothing is booked, and no alert given, in another epoch than the caller's: what was
-- lost before must be sent again first, or a seed's mark would pass over it): number of the key, percent, spent, limit
local replica, after, again, last = text(), arg(), arg() == '1', '0'
if seen == epoch and later(after, redis.call('HGET', KEYS[1], 's:' .. replica) or '0') then lost() end
if seen ~= 0 and seen ~= epoch then return {whole(epoch), whole(count)} end
local crossed, counters, ids, leases = {}, {}, {}, {}
for _ = 1, num() do
	local id, position, n = text(), arg(), num()
	for _ = 1, n do
		local index = num()
		local b = counters[index]
		if not b then
			b = open(KEYS[3 + index])
			b.rows, b.fields = {}, {}
			counters[index] = b
		end
		b.rows[#b.rows + 1] = {id = id, position = position, part = arg(), amount = arg(), till = arg()}
		b.fields[#b.rows] = 'g:' .. id
	end
	ids[#ids + 1], leases[#leases + 1] = id, 'l:' .. id
	if later(position, last) then last = position end
end

-- A counter is read once and written once for all: a command costs more than its share of the arithmetic.
local function settle(b)
	local had, holds = redis.call('HGET', b.key, 'r:' .. replica) or '0', redis.call('HMGET', b.key, list(b.fields))
	local mark = had
	local gone, once, held, sums = {}, {}, 0, {}
	for i, row in ipairs(b.rows) do
		if holds[i] and not once[row.id] then
			once[row.id], gone[#gone + 1] = true, b.fields[i]
			local n = counted(holds[i])
			if held + n >= exact then
				redis.call('HINCRBY', b.key, 'h', whole(-held))
				held = 0
			end
			held = held + n
		end
		if row.position ~= '0' and not b.known then
			keepfor(b, row.till)
			redis.call('HSET', b.key, 'w:' .. replica .. ':' .. row.position, row.part .. ' ' .. row.amount)
		elseif row.position ~= '0' and later(row.position, mark) then
			mark = row.position
			local sum = (sums[row.part] or 0) + tonumber(row.amount)
			if sum < exact then sums[row.part] = sum else book(b, row.part, row.amount) end
		end
	end
	if #gone > 0 then
		redis.call('HDEL', b.key, list(gone))
		redis.call('HINCRBY', b.key, 'h', whole(-held))
	end
	if mark ~= had then redis.call('HSET', b.key, 'r:' .. replica, mark) end
	for part, sum in pairs(sums) do book(b, part, whole(sum)) end
end
for _, b in pairs(counters) do settle(b) end
if #ids > 0 then
	redis.call('HDEL', KEYS[3], list(ids))
	local free, leased = {}, redis.call('HMGET', KEYS[3], list(leases))
	for i, id in ipairs(ids) do
		if not leased[i] then free[#free + 1] = id end
	end
	if #free > 0 then redis.call('ZREM', KEYS[2], list(free)) end
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
