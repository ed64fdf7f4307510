package usage

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// Durations of a row are read from the monotonic clock: however the wall clock is set while a call runs, none is negative or a
// day long. A time that lost its monotonic reading on the way would be compared by the wall.
func TestDurationsAreMonotonic(t *testing.T) {
	l := New(Options{})
	if e := l.Open("req_0", llm.OpenAIChat, ""); !strings.Contains(e.Start.String(), " m=") {
		t.Errorf("the start of a call is %v", e.Start)
	}
	synctest.Test(t, func(t *testing.T) {
		e := l.Open("req_1", llm.OpenAIChat, "")
		begin := time.Now()
		time.Sleep(3 * time.Second)
		e.Met(&llm.Trace{Attempts: 1, Waited: time.Since(begin), Target: &llm.Target{}})
		for _, err := range llm.All(e.Meter(&script{events: []*llm.Event{frame(nil)}, err: io.EOF}, Hooks{})) {
			if err != nil {
				t.Fatal(err)
			}
		}
		e.Wrote(1, 1, time.Now())
		time.Sleep(time.Second)
		e.Total = time.Since(e.Start)
		if e.FirstToken != 3*time.Second || e.Own != 0 || e.Total != 4*time.Second {
			t.Errorf("first byte after %v, own %v, total %v", e.FirstToken, e.Own, e.Total)
		}
	})
}
