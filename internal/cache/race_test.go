//go:build race

package cache_test

// The race detector makes pools forget at random, so nothing can be said of allocations under it.
const racing = true
