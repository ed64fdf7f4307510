//go:build race

package h1

// The race detector makes allocations of its own.
const racing = true
