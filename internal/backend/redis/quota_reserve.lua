-- Takes all asks or none.
-- KEYS: organisation, expiries of holds, holds (ID the budgets' counters, as the sweeper reads them; l:ID slots of the
-- token paces, until they are released), then one key for each ask
-- ARGV: "id", "the counters for the sweeper", 1 if there is a hold to keep, number of asks, and each:
--   r or t, limit, span in us, cost | p, limit
--   | b, limit, fixed, least, most, mode, grace, from, until, part, oldest, keep until, "alerts"
-- Gives in one string, parted by spaces: answer, ask, epoch, count, now, wait, then for each ask: used, granted or slot, wait, reset, cold; times in us
local id, packed, hold, n = text(), text(), arg() == '1', num()
local asks, cold, wrong, waits = {}, false, false, false
for i = 1, n do
	local a = {kind = arg(), key = KEYS[3 + i], used = 0, granted = 0, wait = 0, reset = 0, cold = 0}
	if a.kind == 'b' then
		a.limit, a.fixed, a.least, a.most, a.mode, a.grace = num(), num(), num(), num(), arg(), num()
		a.from, a.till, a.part, a.oldest, a.keep, a.alerts = num(), num(), arg(), num(), arg(), text()
		a.hard = a.mode ~= 's'
		if ms < a.from or ms >= a.till then wrong = true end
		if ms < ready and a.hard then waits = true end
	else
		a.limit = num()
		if a.kind ~= 'p' then a.span, a.cost = num(), num() end
	end
	asks[i] = a
end

local function answer(code, ask)
	local out = {five(code, ask, epoch, count, now), whole(math.max(ready - ms, 0) * 1000)}
	for _, a in ipairs(asks) do out[#out + 1] = five(a.used, a.granted, a.wait, a.reset, a.cold) end
	return table.concat(out, ' ')
end

if hold then -- asked before?
	local known = redis.call('HMGET', KEYS[3], id, 'l:' .. id)
	if known[1] or known[2] then
		local next_slot = string.gmatch(known[2] or '', '%d+')
		for _, a in ipairs(asks) do
			if a.kind == 't' then a.granted = tonumber(next_slot() or 0) end
			if a.kind == 'b' then
				local _, amount = counted(redis.call('HGET', a.key, 'g:' .. id) or '0 0 0')
				a.granted = amount
			end
		end
		return answer(0, 0)
	end
end
if wrong then return answer(3, 0) end
for _, a in ipairs(asks) do
	if a.kind == 'b' then
		a.b = open(a.key)
		if not a.b.known then
			a.cold = 1
			cold = cold or a.hard
		end
	end
end
if waits then return answer(4, 0) end
if cold then return answer(2, 0) end

-- A pace is a hash: t in all, f the first slot, and what is in each slot. Those that have left the span go.
local function pace(a)
	a.width = math.max(math.floor(a.span / 100), 1)
	a.slot = math.floor(now / a.width)
	local v = redis.call('HMGET', a.key, 't', 'f', whole(a.slot))
	a.used, a.first, a.has = tonumber(v[1] or 0), math.min(tonumber(v[2] or a.slot), a.slot), tonumber(v[3] or nil)
	if v[2] and a.first < a.slot - 100 then
		if a.first < a.slot - 1000 then -- longer than it is kept
			redis.call('DEL', a.key)
			a.used, a.first, a.has = 0, a.slot, nil
		else
			while a.first < a.slot - 100 do
				local gone = redis.call('HGET', a.key, whole(a.first))
				if gone then
					a.used = a.used - tonumber(gone)
					redis.call('HDEL', a.key, whole(a.first))
				end
				a.first = a.first + 1
			end
			redis.call('HSET', a.key, 't', whole(a.used), 'f', whole(a.first))
		end
	end
	if a.used > 0 then a.reset = (a.slot + 101) * a.width - now end
	if a.used + a.cost <= a.limit then return true end
	local over, slot = a.used + a.cost - a.limit, a.first
	while over > 0 and slot <= a.slot do
		over = over - tonumber(redis.call('HGET', a.key, whole(slot)) or 0)
		slot = slot + 1
	end
	if over <= 0 then a.wait = (slot - 1 + 101) * a.width - now end
	return false
end

local function budget(a)
	local b = a.b
	a.used = spent(b, a.oldest)
	a.room = a.limit - a.used - b.held - a.fixed
	if a.room >= a.least or not a.hard then return true end
	if a.mode == 'g' and (not b.over or ms - b.over < a.grace) then return true end
	a.wait = (a.till - ms) * 1000
	if a.limit - a.used - a.fixed >= a.least then a.wait = 1000000 end
	return false
end

local worst = 0
for i, a in ipairs(asks) do
	local ok
	if a.kind == 'b' then
		ok = budget(a)
	elseif a.kind == 'p' then
		a.used = redis.call('ZCARD', a.key)
		if a.used >= a.limit or count % 100 == 0 then -- some may be dead
			redis.call('ZREMRANGEBYSCORE', a.key, '-inf', whole(ms))
			a.used = redis.call('ZCARD', a.key)
		end
		ok = a.used < a.limit
	else
		ok = pace(a)
	end
	if not ok and (worst == 0 or a.wait > asks[worst].wait) then worst = i end
end
if worst > 0 then return answer(1, worst - 1) end

local slots = ''
for _, a in ipairs(asks) do
	if a.kind == 'p' then
		redis.call('ZADD', a.key, whole(ms + lease), id)
		redis.call('PEXPIRE', a.key, 4 * lease)
		a.used = a.used + 1
	elseif a.kind ~= 'b' then
		a.used, a.granted, a.reset = a.used + a.cost, a.slot, (a.slot + 101) * a.width - now
		redis.call('HSET', a.key, 't', whole(a.used), 'f', whole(a.first), whole(a.slot), whole((a.has or 0) + a.cost))
		if not a.has then -- it leaves the span, and so the key is of no more use, at the same time for all of a slot
			redis.call('PEXPIRE', a.key, whole(math.ceil(a.span / 1000) + math.ceil(a.width / 1000) + 1000))
		end
		if a.kind == 't' then slots = slots .. whole(a.slot) .. ' ' end
	else
		local b = a.b
		if b.new or a.part ~= '0' then keepfor(b, a.keep) end -- one that does not roll ends with its period
		local output = a.most
		if a.hard and a.room >= a.least then output = math.max(a.least, math.min(math.floor(a.room / 4), a.most)) end
		a.granted = a.fixed + output
		if a.room < a.least and not b.over then redis.call('HSET', a.key, 'o', whole(ms)) end
		local held = b.held + a.granted
		if held < exact then
			redis.call('HSET', a.key, 'g:' .. id, whole(a.granted) .. ' 0 0', 'h', whole(held))
		else
			redis.call('HSET', a.key, 'g:' .. id, whole(a.granted) .. ' 0 0')
			redis.call('HINCRBY', a.key, 'h', whole(a.granted))
		end
		if a.part ~= '0' then
			local left, old = {}, false
			for part in string.gmatch(b.parts, '%d+') do
				if tonumber(part) >= a.oldest then
					left[#left + 1] = part
				else
					old = true
					redis.call('HDEL', a.key, 's:' .. part)
				end
			end
			if old then
				b.parts = table.concat(left, ' ')
				redis.call('HSET', a.key, 'p', b.parts, 'a', whole(math.min(b.told, reached(b, a.used))))
			end
		end
		if a.alerts ~= b.alerts then redis.call('HSET', a.key, 'l', a.alerts) end
	end
end
if hold then
	redis.call('ZADD', KEYS[2], whole(ms + lease), id)
	redis.call('HSET', KEYS[3], id, packed, 'l:' .. id, slots)
	redis.call('PEXPIRE', KEYS[2], keep)
	redis.call('PEXPIRE', KEYS[3], keep)
end
return answer(0, 0)
