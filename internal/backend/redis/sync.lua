-- One report in, the picture out, in one step. All times are this server's, in milliseconds.
-- KEYS: replicas, in flight, latency, breaker, mode, revoked
-- ARGV: replica, lease, its calls in flight, weight of what is old, most fields in a hash, revoked since, keep, then four
-- counts and their rows: latencies (deployment, samples, mean), breakers (deployment, left, opens, closed), modes that
-- somebody remembers (deployment, since, mode), fields to forget if unchanged (number of their key, field, value)
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local function whole(x) return string.format('%.0f', x) end
local function first(x) return x and tonumber(string.match(x, '^%-?%d+')) end
local most, at = tonumber(ARGV[5]), 12

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now))) do
	redis.call('HDEL', KEYS[2], dead)
	redis.call('ZREM', KEYS[1], dead)
end
redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[2])), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
if redis.call('HLEN', KEYS[2]) > redis.call('ZCARD', KEYS[1]) then -- reports of nobody: the leases were lost
	redis.call('DEL', KEYS[2])
	redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end

local function set(key, field, value)
	if redis.call('HEXISTS', key, field) == 1 or redis.call('HLEN', key) < most then
		redis.call('HSET', key, field, value)
	end
end

-- What is to be forgotten comes last among the rows and goes first.
local rows = at + 3 * tonumber(ARGV[8]) + 4 * tonumber(ARGV[9]) + 3 * tonumber(ARGV[10])
for i = rows, rows + 3 * (tonumber(ARGV[11]) - 1), 3 do
	local key = KEYS[tonumber(ARGV[i])]
	if redis.call('HGET', key, ARGV[i + 1]) == ARGV[i + 2] then redis.call('HDEL', key, ARGV[i + 1]) end
end

-- All averages are read once and changed ones written once: a command costs more than its share of the arithmetic.
local averages, place, changed = redis.call('HGETALL', KEYS[3]), {}, {}
for i = 1, #averages, 2 do place[averages[i]] = i + 1 end
for _ = 1, tonumber(ARGV[8]) do
	local field, mean = ARGV[at], tonumber(ARGV[at + 2])
	local old = place[field] and first(averages[place[field]])
	if old then mean = old + (1 - tonumber(ARGV[4]) ^ tonumber(ARGV[at + 1])) * (mean - old) end
	if not place[field] and #averages < 2 * most then
		averages[#averages + 1] = field
		place[field] = #averages + 1
	end
	if place[field] then
		averages[place[field]] = whole(mean) .. ' ' .. whole(now)
		changed[#changed + 1] = field
		changed[#changed + 1] = averages[place[field]]
	end
	at = at + 3
end
if #changed > 0 then redis.call('HSET', KEYS[3], (unpack or table.unpack)(changed)) end
for _ = 1, tonumber(ARGV[9]) do
	local field, left = ARGV[at], tonumber(ARGV[at + 1])
	if ARGV[at + 3] == '1' then redis.call('HDEL', KEYS[4], field) end
	local old = first(redis.call('HGET', KEYS[4], field))
	if left ~= 0 and (not old or old < now + left) then
		set(KEYS[4], field, whole(now + left) .. ' ' .. ARGV[at + 2])
	end
	at = at + 4
end
for _ = 1, tonumber(ARGV[10]) do
	local old = first(redis.call('HGET', KEYS[5], ARGV[at]))
	if not old or old < tonumber(ARGV[at + 1]) then
		set(KEYS[5], ARGV[at], ARGV[at + 1] .. ' ' .. ARGV[at + 2])
	end
	at = at + 3
end
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[2]))
for i = 3, 6 do redis.call('PEXPIRE', KEYS[i], ARGV[7]) end
return {
	whole(now), redis.call('ZRANGE', KEYS[1], 0, -1), redis.call('HGETALL', KEYS[2]), averages,
	redis.call('HGETALL', KEYS[4]), redis.call('HGETALL', KEYS[5]), redis.call('ZRANGEBYSCORE', KEYS[6], ARGV[6], '+inf'),
}
