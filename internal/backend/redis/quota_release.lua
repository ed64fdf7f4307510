-- Ends limits of holds: see free.lua.
-- KEYS: organisation, expiries, holds, then those of the leases and paces
-- Gives epoch, count
return {whole(epoch), whole(count)}
