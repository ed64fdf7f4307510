package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// spare is how much a small heap may grow before it is collected, in bytes. With Go's default a heap of a few megabytes is
// collected anew with every 5 MB, which is fifteen times a second under load, and all it finds is the same few megabytes.
const spare = 16 << 20

// A collector sets how often garbage is collected: after spare bytes while the heap is small, and as Go does by default,
// when it has doubled, once it is larger than that. The heap is never larger than it would be by the one rule or the other.
type collector struct {
	percent int // as set last
	samples [3]metrics.Sample
}

// collectLess makes the process collect garbage less often, unless GOGC says how often it is to be done. It holds for as long as
// the process lives.
func collectLess(getenv func(string) string) {
	if getenv("GOGC") != "" {
		return
	}
	c := &collector{percent: 100}
	for i, name := range [...]string{"/gc/heap/live:bytes", "/gc/scan/stack:bytes", "/gc/scan/globals:bytes"} {
		c.samples[i].Name = name
	}
	c.adjust()
}

// A token is garbage at once, so that its cleanup runs after each collection.
type token struct{ _ *token }

// adjust looks at what the last collection has left, and comes back after the next.
func (c *collector) adjust() {
	metrics.Read(c.samples[:])
	var kept uint64
	for i := range c.samples {
		kept += c.samples[i].Value.Uint64()
	}
	// Setting it stops the world for a moment, so small changes are left alone.
	if p := percentFor(kept); p < c.percent*9/10 || p > c.percent*11/10 {
		c.percent = p
		debug.SetGCPercent(p)
	}
	runtime.AddCleanup(new(token), (*collector).adjust, c)
}

// percentFor is how much a heap of so many bytes may grow, in percent: GOGC counts what was kept, stacks and globals included.
func percentFor(kept uint64) int {
	const most = 400 // with which Go lets a heap of less than 4 MB grow to 16
	return int(min(max(100*spare/max(kept, 1), 100), most))
}
