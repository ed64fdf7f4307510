-- Gives counters their level that have none, and books what waited for it.
-- KEYS: organisation, then the counters
-- ARGV: epoch, number of counters, and each: keep until, number of parts, and each: start, amount; number of marks, and each:
-- "replica", position
-- Gives epoch, count
local right = arg() == whole(epoch)
for i = 1, num() do
	local b, till, parts, marks = open(KEYS[1 + i]), arg(), {}, {}
	for _ = 1, num() do parts[#parts + 1] = {arg(), arg()} end
	for _ = 1, num() do
		local replica = text()
		marks[replica] = arg()
	end
	if right and not b.known then
		keepfor(b, till)
		redis.call('HSET', b.key, 'k', '1')
		for _, part in ipairs(parts) do book(b, part[1], part[2]) end
		redis.call('HSET', b.key, 'a', whole(reached(b, spent(b, 0))))
		local all = redis.call('HGETALL', b.key)
		local from = {}
		for replica, position in pairs(marks) do from[replica] = position end
		for j = 1, #all, 2 do
			local replica, position = string.match(all[j], '^w:(.*):(%d+)$')
			if replica then
				if later(position, from[replica] or '0') then
					local part, amount = string.match(all[j + 1], '^(%d+) (%d+)$')
					book(b, part, amount)
					if later(position, marks[replica] or '0') then marks[replica] = position end
				end
				redis.call('HDEL', b.key, all[j])
			end
		end
		for replica, position in pairs(marks) do redis.call('HSET', b.key, 'r:' .. replica, position) end
	end
end
return {whole(epoch), whole(count)}
