package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines is a connection that keeps the read deadlines that are set on it.
type deadlines struct {
	http.ResponseWriter
	set []time.Duration // from the start; -1: none
	at  time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		d.set = append(d.set, -1)
	} else {
		d.set = append(d.set, t.Sub(d.at))
	}
	return nil
}

// A body may take as long as its bytes at the least pace, and some grace; a cap holds over that.
func TestPace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rate  int64
		cap   time.Duration
		reads []int           // bytes, one read a second
		want  []time.Duration // deadlines, when they are moved
	}{
		{"no pace, a cap", 0, 30 * time.Second, []int{1, 1, 1}, []time.Duration{30 * time.Second}},
		{"slow", 100, 0, []int{1, 1, 1}, []time.Duration{grace}},
		{"fast", 100, 0, []int{1000, 1, 1}, []time.Duration{grace, grace + 10*time.Second}},
		{"fast, a cap", 100, 8 * time.Second, []int{1000, 1000, 1}, []time.Duration{grace, 8 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				d := &deadlines{at: start}
				p := &paced{body: io.NopCloser(strings.NewReader(strings.Repeat("x", 5000))), rc: *http.NewResponseController(d), rate: tt.rate, start: start}
				if tt.cap > 0 {
					p.end = start.Add(tt.cap)
				}
				for _, n := range tt.reads {
					if _, err := p.Read(make([]byte, n)); err != nil {
						t.Fatal(err)
					}
					<-time.After(time.Second)
				}
				if len(d.set) != len(tt.want) {
					t.Fatalf("deadlines %v, want %v", d.set, tt.want)
				}
				for i := range d.set {
					if d.set[i] != tt.want[i] {
						t.Errorf("deadlines %v, want %v", d.set, tt.want)
					}
				}
			})
		})
	}
}
