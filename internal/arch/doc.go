// Package arch holds the rules of the house as tests: who may import whom, what packages may be called, how
// long a file may grow, under which licences our dependencies stand. It reads the source itself, with
// go/parser: a test that asks the go command is served from the test cache and misses a forbidden import.
//
// It knows nothing of what the packages do.
package arch
