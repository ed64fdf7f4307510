//go:build !race

package cache_test

const racing = false
