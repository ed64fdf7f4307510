//go:build race

package pii

const raceEnabled = true // sync.Pool drops what it is given now and then
