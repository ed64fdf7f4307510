//go:build !race

package auth

const racing = false
