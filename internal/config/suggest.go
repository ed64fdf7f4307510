package config

import "strings"

// nearest gives the known name that was probably meant, "" when none is near.
func nearest(name string, known []string) string {
	best, least := "", 1+max(1, min(len(name), 64)/3)
	for _, k := range known {
		if plain(name) == plain(k) {
			return k
		}
		if d := distance(plain(clip(name)), plain(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// plain forgets what people mix up: case, and which of - and _ a name has.
func plain(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

// distance counts the letters to add, drop, change or swap with their neighbour (optimal string alignment).
func distance(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := prev[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(prev[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
