-- The head of every script of the quota: the clock, and whether this server has lost what the caller has seen.
-- KEYS[1]: the organisation: e epoch, t when hard budgets may be asked, n commands so far, s:REPLICA last position settled
-- ARGV[1]: words, parted by spaces: epoch and count that the caller has seen, grace, lease, time to keep, all in ms, us to be ahead of the
-- clock, and then those of the script. ARGV[2] and so on: texts of the script. Where a script lists its arguments, texts stand in quotes.
-- All numbers are exact below 2^53; sums may be above it, in Redis. Times are of this server.
local exact = 2 ^ 53
local list = unpack or table.unpack -- of later versions of Lua
local arg, at = string.gmatch(ARGV[1], '%S+'), 1
local function num() return tonumber((arg())) end
local function text()
	at = at + 1
	return ARGV[at]
end
local function whole(x) return string.format('%d', x) end -- only whole numbers come here; as floats they take far longer
local function five(...) return string.format('%d %d %d %d %d', ...) end

local seen, commands, grace, lease, keep = num(), num(), num(), num(), arg()
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2]) + num()
local ms = math.floor(now / 1000)

local state = redis.call('HMGET', KEYS[1], 'e', 't', 'n')
local epoch, ready = tonumber(state[1] or 0), tonumber(state[2] or 0)
local function lost()
	epoch = math.max(ms, epoch + 1, seen + 1)
	ready = ms + grace
	redis.call('HSET', KEYS[1], 'e', whole(epoch), 't', whole(ready))
	redis.call('PEXPIRE', KEYS[1], keep)
end
if epoch == 0 or epoch < seen or (epoch == seen and tonumber(state[3] or 0) < commands) then lost() end
local count = redis.call('HINCRBY', KEYS[1], 'n', 1)
if count % 100 == 0 then redis.call('PEXPIRE', KEYS[1], keep) end

-- A budget's counter is a hash: e epoch it is of, k 1 if its level is known, h what is held, s:PART what is spent in a part
-- (0: it does not roll), p the parts, o when it was first without room, l its limit and alerts, a the highest alert told,
-- r:REPLICA the last position in it, w:REPLICA:POSITION a settlement that waits for the level, g:ID a hold: amount, what
-- of it is spent, 1 if only that counts.
local function open(key)
	local b = redis.call('HMGET', key, 'e', 'k', 'h', 's:0', 'p', 'o', 'l', 'a')
	if b[1] ~= whole(epoch) then
		if b[1] then redis.call('DEL', key) end
		return {key = key, known = false, held = 0, flat = 0, parts = '', over = nil, alerts = '', told = 0, new = true}
	end
	return {key = key, known = b[2] == '1', held = tonumber(b[3] or 0), flat = tonumber(b[4] or 0), parts = b[5] or '', over = tonumber(b[6] or nil),
		alerts = b[7] or '', told = tonumber(b[8] or 0)}
end

local function keepfor(b, until_ms)
	if b.new then redis.call('HSET', b.key, 'e', whole(epoch)) end
	b.new = false
	redis.call('PEXPIREAT', b.key, until_ms)
end

local function spent(b, oldest)
	local sum = b.flat
	for part in string.gmatch(b.parts, '%d+') do
		if tonumber(part) >= oldest then sum = sum + tonumber(redis.call('HGET', b.key, 's:' .. part) or 0) end
	end
	return sum
end

local function book(b, part, amount)
	local sum = redis.call('HINCRBY', b.key, 's:' .. part, amount)
	if part == '0' then
		b.flat = sum
	elseif not string.find(' ' .. b.parts .. ' ', ' ' .. part .. ' ', 1, true) then
		b.parts = b.parts == '' and part or b.parts .. ' ' .. part
		redis.call('HSET', b.key, 'p', b.parts)
	end
end

-- counted is what a hold, as it is written, adds to what is held.
local function counted(hold)
	local amount, used, cut = string.match(hold, '^(%d+) (%d+) (%d)$')
	amount, used = tonumber(amount), tonumber(used)
	if cut == '1' then return math.min(amount, used), amount, used, true end
	return amount, amount, used, false
end

local function reached(b, sum)
	local top = 0
	for percent, amount in string.gmatch(b.alerts, '(%d+)=(%d+)') do
		if sum >= tonumber(amount) then top = math.max(top, tonumber(percent)) end
	end
	return top
end

-- later compares positions, which may be longer than a number is exact.
local function later(a, b) return #a > #b or (#a == #b and a > b) end
