package upstream

import (
	"testing"
	"time"

	"sluice/internal/llm"
)

func TestThrottle(t *testing.T) {
	room := func(left int64, wait time.Duration) llm.Room {
		return llm.Room{Known: true, Left: left, Reset: noon.Add(wait)}
	}
	for _, c := range []struct {
		name     string
		q        llm.Quota
		inFlight int
		after    time.Duration
		want     time.Duration // from noon; 0: not throttled
	}{
		{name: "nothing said", inFlight: 1000},
		{name: "plenty", q: llm.Quota{At: noon, Requests: room(10, time.Minute), Tokens: room(1, time.Minute)}, inFlight: 9},
		{name: "no requests", q: llm.Quota{At: noon, Requests: room(0, 5*time.Second)}, want: 5 * time.Second},
		{name: "the rest is in flight", q: llm.Quota{At: noon, Requests: room(10, 5*time.Second)}, inFlight: 10, want: 5 * time.Second},
		{name: "no tokens", q: llm.Quota{At: noon, Requests: room(10, time.Second), Tokens: room(0, 7*time.Second)}, want: 7 * time.Second},
		{name: "the later of both", q: llm.Quota{At: noon, Requests: room(0, 9*time.Second), Tokens: room(0, 7*time.Second)}, want: 9 * time.Second},
		{name: "before the reset", q: llm.Quota{At: noon, Requests: room(0, 5*time.Second)}, after: 4999 * time.Millisecond, want: 5 * time.Second},
		{name: "after the reset", q: llm.Quota{At: noon, Requests: room(0, 5*time.Second)}, after: 5 * time.Second},
		{name: "a day's limit", q: llm.Quota{At: noon, Requests: room(0, 10*time.Hour)}, want: time.Minute},
		{name: "a day's limit, a minute later", q: llm.Quota{At: noon, Requests: room(0, 10*time.Hour)}, after: time.Minute},
		{name: "reset not said", q: llm.Quota{At: noon, Requests: llm.Room{Known: true}}, want: time.Second},
		{name: "reset not said, a second later", q: llm.Quota{At: noon, Requests: llm.Room{Known: true}}, after: time.Second},
		{name: "reset at once", q: llm.Quota{At: noon, Requests: room(0, 0)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			until, closed := throttle(c.q, c.inFlight, noon.Add(c.after))
			if closed != (c.want > 0) || closed && until != noon.Add(c.want) || !closed && !until.IsZero() {
				t.Errorf("%v, %v; want until %v", until.Sub(noon), closed, c.want)
			}
		})
	}
}
