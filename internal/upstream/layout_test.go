package upstream

import (
	"testing"
	"unsafe"
)

// With hundreds of deployments, what a call looks at of the one that it goes to comes from memory, and each line of the
// processor's cache costs it about 0.1 us. What every call needs takes two, and a third for the window's bucket.
func TestWhatEveryCallNeedsStandsTogether(t *testing.T) {
	const line = 64
	var d deployment
	header := uintptr(8) // stands before an object of more than 512 bytes that has pointers
	if unsafe.Sizeof(d) <= 512 {
		header = 0
	}
	queue, tracker, breaker := unsafe.Offsetof(d.own), unsafe.Offsetof(d.tracker), unsafe.Offsetof(d.breaker)
	first := (header + queue + unsafe.Offsetof(d.own.calls)) / line
	for name, at := range map[string]uintptr{
		"queue.calls": queue + unsafe.Offsetof(d.own.calls), "queue.open": queue + unsafe.Offsetof(d.own.open),
		"queue": unsafe.Offsetof(d.queue), "cred": unsafe.Offsetof(d.cred), "budget": unsafe.Offsetof(d.budget), "mode": unsafe.Offsetof(d.mode),
		"throttled": unsafe.Offsetof(d.throttled), "open": unsafe.Offsetof(d.open),
		"tracker": tracker, "tracker.pending": tracker + unsafe.Offsetof(d.tracker.pending),
		"breaker.shut": breaker + unsafe.Offsetof(d.breaker.shut), "breaker.connects": breaker + unsafe.Offsetof(d.breaker.connects),
	} {
		if got := (header + at) / line; got != first && got != first+1 {
			t.Errorf("%s stands in line %d, and not in %d or %d", name, got, first, first+1)
		}
	}
	if a, b := (header+tracker)/line, (header+breaker+unsafe.Offsetof(d.breaker.connects))/line; a != b {
		t.Errorf("what an answer needs stands in lines %d to %d", a, b)
	}
}
