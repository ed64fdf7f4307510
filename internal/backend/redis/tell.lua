-- Keeps what must outlast a notice. All times are this server's, in milliseconds. Gives the time since which the mode
-- holds: later than that of any word before it, whatever the clock does.
-- KEYS: latency, breaker, mode, revoked
-- ARGV: deployment, mode, left, opens, closed, reset, revoked key, most fields in a hash, most revoked keys, keep
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local function whole(x) return string.format('%.0f', x) end
local function first(x) return x and tonumber(string.match(x, '^%-?%d+')) end
local field, left, since = ARGV[1], tonumber(ARGV[3]), now

local function set(key, value)
	if redis.call('HEXISTS', key, field) == 1 or redis.call('HLEN', key) < tonumber(ARGV[8]) then
		redis.call('HSET', key, field, value)
	end
end

if ARGV[6] == '1' then redis.call('HDEL', KEYS[1], field) end
if ARGV[5] == '1' or ARGV[6] == '1' then redis.call('HDEL', KEYS[2], field) end
if left ~= 0 then
	local old = first(redis.call('HGET', KEYS[2], field))
	if not old or old < now + left then set(KEYS[2], whole(now + left) .. ' ' .. ARGV[4]) end
end
if ARGV[2] ~= '' then
	local old = first(redis.call('HGET', KEYS[3], field))
	if old and old >= since then since = old + 1 end
	set(KEYS[3], whole(since) .. ' ' .. ARGV[2])
end
if ARGV[7] ~= '' then
	redis.call('ZADD', KEYS[4], whole(now), ARGV[7])
	redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', whole(now - tonumber(ARGV[10])))
	redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - tonumber(ARGV[9]))
end
for i = 2, 4 do redis.call('PEXPIRE', KEYS[i], ARGV[10]) end
return whole(since)
