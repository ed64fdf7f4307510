package upstream

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int
		after  time.Duration
		random float64
		wait   time.Duration
		same   bool
	}{
		{"first", 0, 0, 1, 250 * time.Millisecond, true},
		{"full jitter", 0, 0, 0, 0, true},
		{"half", 0, 0, 0.5, 125 * time.Millisecond, true},
		{"third", 2, 0, 1, time.Second, true},
		{"the most", 5, 0, 1, 5 * time.Second, true},
		{"far beyond", 500, 0, 1, 5 * time.Second, true},
		{"before the first", -1, 0, 1, 250 * time.Millisecond, true},
		{"told", 0, 3 * time.Second, 0, 3 * time.Second, true},
		{"told, with jitter", 4, 3 * time.Second, 1, 3250 * time.Millisecond, true},
		{"told the most", 0, 10 * time.Second, 0, 10 * time.Second, true},
		{"told too much", 0, 10*time.Second + 1, 0.5, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if wait, same := backoff(c.n, c.after, c.random); wait != c.wait || same != c.same {
				t.Errorf("got %v, %v; want %v, %v", wait, same, c.wait, c.same)
			}
		})
	}
}
