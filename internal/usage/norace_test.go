//go:build !race

package usage

const racing = false
