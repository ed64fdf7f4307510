package wire

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"sluice/internal/llm"
)

// bodyOf is a request with a body of so many bytes, whose length it tells or not.
func bodyOf(size int, told bool) *http.Request {
	r := &http.Request{Body: io.NopCloser(iotest.HalfReader(strings.NewReader(strings.Repeat("a", size)))), Header: http.Header{}, ContentLength: -1}
	if told {
		r.ContentLength = int64(size)
	}
	return r
}

// Large bodies are refused before the room is full, small ones when it is; who is alone never is.
func TestRoom(t *testing.T) {
	for name, told := range map[string]bool{"of a told length": true, "of an unknown length": false} {
		t.Run(name, func(t *testing.T) {
			room := new(Room)
			room.Resize(16 << 20)
			var held []*Buffer
			take := func(size int) error {
				b, err := ReadBody(bodyOf(size, told), 64<<20, room)
				if err == nil {
					held = append(held, b)
				}
				return err
			}
			refused := func(what string, err error) {
				t.Helper()
				if e := llm.AsError(err); err == nil || e.Kind != llm.KindOverloaded || e.RetryAfter != time.Second || !strings.Contains(e.Msg, "limits.memory") {
					t.Errorf("%s: %v, want to be refused", what, err)
				}
			}
			large := 0
			for ; large < 100 && take(1<<20) == nil; large++ {
			}
			if large < 2 || room.Used() > 12<<20 {
				t.Errorf("%d large bodies took %d bytes, want less than three quarters of the room", large, room.Used())
			}
			used := room.Used()
			refused("a large body", take(1<<20))
			if room.Used() != used {
				t.Errorf("a refused body changed the room from %d to %d", used, room.Used())
			}
			small := 0
			for ; small < 1000 && take(1000) == nil; small++ {
			}
			if small < 50 || room.Used() > 16<<20 {
				t.Errorf("%d small bodies passed, %d bytes are taken of 16 MiB", small, room.Used())
			}
			refused("a small body when the room is full", take(1000))
			for _, b := range held {
				b.Release()
			}
			if room.Used() != 0 {
				t.Errorf("%d bytes stay taken", room.Used())
			}
			if err := take(40 << 20); err != nil {
				t.Errorf("a body that is alone: %v", err)
			}
			refused("a body beside one that is larger than the room", take(1))
			room.Resize(0)
			if err := take(20 << 20); err != nil {
				t.Errorf("a room without bounds: %v", err)
			}
		})
	}
}

// A body that unfolds takes room for what it becomes.
func TestRoomOfCompressed(t *testing.T) {
	room := new(Room)
	room.Resize(16 << 20)
	b, err := ReadBody(bodyOf(1<<20, true), 64<<20, room)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	bomb := gzipped(t, bytes.Repeat([]byte{' '}, 32<<20))
	r := &http.Request{Body: io.NopCloser(bytes.NewReader(bomb)), Header: http.Header{"Content-Encoding": {"gzip"}}, ContentLength: int64(len(bomb))}
	if _, err := ReadBody(r, 64<<20, room); err == nil || llm.AsError(err).Kind != llm.KindOverloaded {
		t.Errorf("%v, want to be refused", err)
	}
}
