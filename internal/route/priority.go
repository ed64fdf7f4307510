package route

// priority takes the candidate that stands first in the configuration.
func priority(_ *Pick, c []Candidate) int {
	best, index := 0, c[0].Index
	for i := range c {
		if c[i].Index < index {
			best, index = i, c[i].Index
		}
	}
	return best
}
