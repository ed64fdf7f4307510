package route

// cost takes the cheapest candidate. A price that is not known is above every price; candidates of the same
// price share the calls by weight, as in weighted.
func cost(p *Pick, c []Candidate) int {
	price := func(x *Candidate) uint64 { return uint64(max(x.Price, -1)) } // -1 is above all others as an unsigned number
	best, n, total := price(&c[0]), 0, 0
	for i := range c {
		switch x := price(&c[i]); {
		case x < best:
			best, n, total = x, 1, c[i].Weight
		case x == best:
			n, total = n+1, total+c[i].Weight
		}
	}
	at := position(p.Turn, n, total)
	last := 0
	for i := range c {
		if price(&c[i]) != best {
			continue
		}
		if at -= c[i].Weight; at < 0 {
			return i
		}
		last = i
	}
	return last
}
