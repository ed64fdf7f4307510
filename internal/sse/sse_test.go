package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

type got struct {
	event, data string
	partial     bool
}

func readAll(t testing.TB, src io.Reader, maxFrame int) (frames []got, raw string, err error) {
	t.Helper()
	r := NewReader(src, maxFrame)
	defer r.Release()
	for {
		f, err := r.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return frames, raw, err
		}
		raw += string(f.Raw)
		if f.Data != nil || f.Event != nil {
			frames = append(frames, got{string(f.Event), string(f.Data), f.Partial})
		}
	}
}

var cases = []struct {
	name, in string
	want     []got
}{
	{"one", "data: a\n\n", []got{{"", "a", false}}},
	{"no space", "data:a\n\n", []got{{"", "a", false}}},
	{"one space only is taken", "data:  a\n\n", []got{{"", " a", false}}},
	{"two lines", "data: a\ndata: b\n\n", []got{{"", "a\nb", false}}},
	{"three lines", "data: a\ndata\ndata: c\n\n", []got{{"", "a\n\nc", false}}},
	{"event", "event: x\ndata: a\n\n", []got{{"x", "a", false}}},
	{"crlf", "event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []got{{"x", "a", false}, {"", "b", false}}},
	{"cr", "data: a\r\rdata: b\r\r", []got{{"", "a", false}, {"", "b", false}}},
	{"mixed ends", "data: a\r\n\ndata: b\n\r\n", []got{{"", "a", false}, {"", "b", false}}},
	{"bom", "\xef\xbb\xbfdata: a\n\n", []got{{"", "a", false}}},
	{"comment alone", ": hi\n\ndata: a\n\n", []got{{"", "a", false}}},
	{"comment within", ": hi\ndata: a\n: there\n\n", []got{{"", "a", false}}},
	{"extra blank lines", "\n\n\ndata: a\n\n\n\n", []got{{"", "a", false}}},
	{"empty data", "data\n\ndata:\n\n", []got{{"", "", false}, {"", "", false}}},
	{"unknown fields", "id: 1\nretry: 3\nfoo: bar\ndata: a\n\n", []got{{"", "a", false}}},
	{"no final blank line", "data: a\n\ndata: b\n", []got{{"", "a", false}, {"", "b", true}}},
	{"no final newline", "data: [DONE]", []got{{"", "[DONE]", true}}},
	{"empty", "", nil},
}

func TestFrames(t *testing.T) {
	for _, c := range cases {
		for _, w := range []struct {
			name string
			wrap func(io.Reader) io.Reader
		}{
			{"whole", func(r io.Reader) io.Reader { return r }},
			{"bytes", iotest.OneByteReader},
			{"halves", iotest.HalfReader},
			{"dataerr", iotest.DataErrReader},
		} {
			t.Run(c.name+"/"+w.name, func(t *testing.T) {
				frames, raw, err := readAll(t, w.wrap(strings.NewReader(c.in)), 0)
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(frames) != fmt.Sprint(c.want) {
					t.Errorf("got %v, want %v", frames, c.want)
				}
				if raw != c.in {
					t.Errorf("raw bytes differ: %q, want %q", raw, c.in)
				}
			})
		}
	}
}

func TestLargeFrameAndBound(t *testing.T) {
	big := strings.Repeat("x", 10<<20)
	in := "data: " + big + "\n\ndata: small\n\n"
	frames, raw, err := readAll(t, strings.NewReader(in), 0)
	if err != nil || len(frames) != 2 || frames[0].data != big || raw != in {
		t.Fatalf("10 MiB frame: %d frames, err %v", len(frames), err)
	}
	if _, _, err := readAll(t, strings.NewReader(in), 1<<20); !errors.Is(err, ErrTooLong) {
		t.Fatalf("frame over the bound: err %v, want ErrTooLong", err)
	}
}

func TestSourceErrorIsKept(t *testing.T) {
	boom := errors.New("boom")
	frames, _, err := readAll(t, io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(boom)), 0)
	if !errors.Is(err, boom) || len(frames) != 1 {
		t.Fatalf("frames %v, err %v: a frame cut by an error must not be given out", frames, err)
	}
}

func TestBuffered(t *testing.T) {
	r := NewReader(strings.NewReader("data: a\n\ndata: b\n\ndata: c"), 0)
	defer r.Release()
	for i, want := range []bool{true, false} {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if r.Buffered() != want {
			t.Errorf("after frame %d: Buffered() = %v, want %v", i, !want, want)
		}
	}
}

// Any splitting into chunks gives the same frames and the same bytes.
func FuzzChunks(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.in), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = 1 + (size%64+64)%64
		want, raw, err := readAll(t, bytes.NewReader(in), 0)
		if err != nil {
			t.Fatal(err)
		}
		if raw != string(in) {
			t.Fatalf("raw bytes differ: %q, want %q", raw, in)
		}
		frames, _, err := readAll(t, &chunked{in, size}, 0)
		if err != nil || fmt.Sprint(frames) != fmt.Sprint(want) {
			t.Fatalf("in chunks of %d: %v, want %v (err %v)", size, frames, want, err)
		}
	})
}

type chunked struct {
	rest []byte
	size int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.size, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

func BenchmarkNext(b *testing.B) {
	frame := []byte("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n")
	src := &endless{frame: bytes.Repeat(frame, 64)}
	r := NewReader(src, 0)
	defer r.Release()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNextDoesNotAllocate(t *testing.T) {
	r := NewReader(&endless{frame: []byte("event: x\ndata: {\"a\":1}\n\n")}, 0)
	defer r.Release()
	if n := testing.AllocsPerRun(1000, func() { _, _ = r.Next() }); n != 0 {
		t.Errorf("%v allocations a frame, want 0", n)
	}
}

type endless struct {
	frame []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := copy(p[n:], e.frame[e.at:])
		n += m
		e.at = (e.at + m) % len(e.frame)
	}
	return n, nil
}
