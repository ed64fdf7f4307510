package account

// Cheap makes passwords cost little, for tests, and not what is usual, so that stored hashes can go stale.
func (o Options) Cheap(passes uint32) Options {
	o.cost = cost{64, passes, 1}
	return o
}

// Hashes counts how many hashes of passwords were computed.
func (d *Door) Hashes() int64 { return d.passwords.computed.Load() }

// Code is what an authenticator shows for a secret as Enrol gives it.
var Code = codeAt
