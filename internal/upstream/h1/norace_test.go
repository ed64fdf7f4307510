//go:build !race

package h1

const racing = false
