package cache

// Meaning is what finds answers by what their questions mean.
type Meaning struct{}
