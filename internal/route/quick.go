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
	if g.Even > 0 {
		return position(p.Turn, n, n*g.Even) / g.Even
	}
	return sort.SearchInts(g.Sums, position(p.Turn, n, g.Sums[n-1])+1)
}
