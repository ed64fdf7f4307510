package route

import (
	"sort"

	"sluice/internal/catalog"
)

// quick finds the first choice of a strategy without looking at every candidate, where it can be found so: in
// a group of 300 that is what most calls need. It gives the index that the strategy itself would give if all of
// the lowest tier were free, and -1 where it takes a look at all of them. The caller checks that the choice
// is free, and asks the strategy if it is not.
func quick(strategy string, p *Pick, g *catalog.Group) int {
	n := len(g.Sums)
	if n < 2 {
		return n - 1 // nothing to choose
	}
	switch strategy {
	case "weighted":
	case "round-robin":
		return int(p.Turn % uint64(n))
	case "priority":
		return 0
	case "sticky":
		if p.Affinity != 0 && p.Stuck < n {
			return p.Stuck // or -1
		}
		if p.Affinity != 0 {
			return -1
		}
	default:
		return -1
	}
	total := g.Sums[n-1]
	at := position(p.Turn, n, total)
	// Where the weights are alike, it is found without the search, whose every step looks elsewhere in memory.
	if i := int(int64(at) * int64(n) / int64(total)); at < g.Sums[i] && (i == 0 || at >= g.Sums[i-1]) {
		return i
	}
	return sort.SearchInts(g.Sums, at+1)
}
