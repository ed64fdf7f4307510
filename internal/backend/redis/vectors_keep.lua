-- Keeps a set of vectors in bounds after one was added. KEYS: the set. ARGV: now and the new entry's end in ms since 1970, the most entries.
-- The set lives as long as its last entry. Entries have no time of their own in Redis: each addition looks at a few others by chance and takes
-- away those that are over; when there are too many still, some go by chance.
local key, now, expires, most = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('PTTL', key) < expires - now then
	redis.call('PEXPIRE', key, math.max(1, expires - now))
end
for _, id in ipairs(redis.call('VRANDMEMBER', key, 8)) do
	local text = redis.call('VGETATTR', key, id)
	local ok, attributes = pcall(cjson.decode, text or '')
	if not ok or type(attributes) ~= 'table' or not tonumber(attributes.exp) or tonumber(attributes.exp) <= now then
		redis.call('VREM', key, id)
	end
end
local over = math.min(8, redis.call('VCARD', key) - most)
if over > 0 then
	for _, id in ipairs(redis.call('VRANDMEMBER', key, over)) do
		redis.call('VREM', key, id)
	end
end
return 0
