package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/wire"
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

// A call that there is no room for is refused once its client has sent all of it, so that the client sees why and keeps its connection.
func TestNoRoom(t *testing.T) {
	h := newHouse(answers(whole))
	h.state.Limits.Memory = 16 << 20
	h.Swap(h.state)
	large := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 20<<20)))
	held, err := wire.ReadBody(large, 32<<20, &h.room)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		size   int
		change func(*http.Request)
		left   int // of the body
		close  bool
	}{
		{"small", 100, func(*http.Request) {}, 0, false},
		{"told to wait", 100, func(r *http.Request) { r.Header.Set("Expect", "100-continue") }, 100, true},
		{"too large", 5000, func(r *http.Request) { r.ContentLength = -1 }, 5000 - 1001, true},
		{"HTTP/2", 100, func(r *http.Request) { r.ProtoMajor = 2 }, 100, false},
	} {
		text := strings.NewReader(strings.Repeat(" ", tt.size))
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", io.NopCloser(text))
		r.ContentLength = int64(tt.size)
		tt.change(r)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "limits.memory") {
			t.Errorf("%s: %d %v %s", tt.name, w.Code, w.Header(), w.Body)
		}
		if text.Len() != tt.left || (w.Header().Get("Connection") == "close") != tt.close {
			t.Errorf("%s: %d bytes of %d are not read, want %d; Connection %q", tt.name, text.Len(), tt.size, tt.left, w.Header().Get("Connection"))
		}
	}
	held.Release()
	if w := h.serve(t, asked(ask)); w.Code != http.StatusOK || h.Taken() != 0 {
		t.Errorf("with room again: %d, %d bytes stay taken", w.Code, h.Taken())
	}
}
