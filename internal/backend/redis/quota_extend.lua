-- Grants more of budgets that a hold has, in all or none.
-- KEYS: organisation, then one for each ask
-- ARGV: "id", number of asks, and each: limit, least, most, mode, grace, oldest, until
-- Gives in one string, parted by spaces: answer, ask, epoch, count, now, wait, then for each ask: used, granted, wait, reset, cold
local id, n = text(), num()
local asks, code, ask = {}, 0, 0
for i = 1, n do
	local a = {limit = num(), least = num(), most = num(), mode = arg(), grace = num(), oldest = num(), till = num(), cold = 0, wait = 0}
	a.b = open(KEYS[1 + i])
	local hold = redis.call('HGET', KEYS[1 + i], 'g:' .. id)
	a.used = spent(a.b, a.oldest)
	a.hard, a.room = a.mode ~= 's', a.limit - a.used - a.b.held
	if a.mode == 'g' and (not a.b.over or ms - a.b.over < a.grace) then a.pass = true end
	local cut
	if hold then
		local _
		_, a.has, a.spent, cut = counted(hold)
	end
	if not hold or cut then
		code, a.has, a.spent = 5, a.has or 0, 0
	elseif code ~= 5 and a.hard and not a.b.known then
		code, a.cold = 2, 1
	elseif code == 0 and a.room < a.least and a.hard and not a.pass then
		code, ask, a.wait = 1, i - 1, (a.till - ms) * 1000
	end
	asks[i] = a
end
if code == 0 then
	for i, a in ipairs(asks) do
		local most = math.max(a.most - a.has, 0)
		local more = most
		if a.hard and a.room >= a.least then
			local least = math.min(a.least, most)
			more = math.max(least, math.min(math.floor(a.room / 4), most))
		end
		if a.hard and a.room < a.least and not a.b.over then redis.call('HSET', KEYS[1 + i], 'o', whole(ms)) end
		a.has = a.has + more
		redis.call('HSET', KEYS[1 + i], 'g:' .. id, whole(a.has) .. ' ' .. whole(a.spent) .. ' 0')
		redis.call('HINCRBY', KEYS[1 + i], 'h', whole(more))
	end
end
local out = {five(code, ask, epoch, count, now), '0'}
for _, a in ipairs(asks) do out[#out + 1] = five(a.used, a.has, a.wait, 0, a.cold) end
return table.concat(out, ' ')
