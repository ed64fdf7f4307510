package wire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"sluice/internal/llm"
)

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(text)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, text []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(text, nil)
}

func TestReadBody(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789"), 1000)
	bomb := bytes.Repeat([]byte{0}, 64<<20)
	for _, c := range []struct {
		name     string
		body     io.Reader
		encoding string
		mime     string
		length   int64
		most     int64
		kind     llm.Kind
	}{
		{name: "plain", body: bytes.NewReader(text)},
		{name: "exactly the limit", body: bytes.NewReader(text), most: 10_000},
		{name: "one over the limit", body: bytes.NewReader(text), most: 9_999, kind: llm.KindTooLarge},
		{name: "over the limit by its length", body: iotest.ErrReader(errors.New("must not be read")), length: 10_001, most: 10_000, kind: llm.KindTooLarge},
		{name: "length unknown", body: iotest.HalfReader(bytes.NewReader(text)), length: -1},
		{name: "gzip", body: bytes.NewReader(gzipped(t, text)), encoding: "gzip"},
		{name: "GZIP", body: bytes.NewReader(gzipped(t, text)), encoding: "GZIP"},
		{name: "zstd", body: bytes.NewReader(zstded(t, text)), encoding: "zstd"},
		{name: "gzip bomb", body: bytes.NewReader(gzipped(t, bomb)), encoding: "gzip", most: 1 << 20, kind: llm.KindTooLarge},
		{name: "zstd bomb", body: bytes.NewReader(zstded(t, bomb)), encoding: "zstd", most: 1 << 20, kind: llm.KindTooLarge},
		{name: "not gzip", body: bytes.NewReader(text), encoding: "gzip", kind: llm.KindInvalid},
		{name: "gzip, cut", body: bytes.NewReader(gzipped(t, text)[:20]), encoding: "gzip", kind: llm.KindInvalid},
		{name: "not zstd", body: bytes.NewReader(text), encoding: "zstd", kind: llm.KindInvalid},
		{name: "brotli", body: bytes.NewReader(text), encoding: "br", kind: llm.KindMediaType},
		{name: "twice encoded", body: bytes.NewReader(text), encoding: "gzip, gzip", kind: llm.KindMediaType},
		{name: "json with charset", body: bytes.NewReader(text), mime: "application/json; charset=UTF-8"},
		{name: "other json", body: bytes.NewReader(text), mime: "application/vnd.api+json"},
		{name: "other charset", body: bytes.NewReader(text), mime: "application/json; charset=latin1", kind: llm.KindMediaType},
		{name: "form", body: bytes.NewReader(text), mime: "application/x-www-form-urlencoded", kind: llm.KindMediaType},
		{name: "multipart", body: bytes.NewReader(text), mime: "multipart/form-data; boundary=x", kind: llm.KindMediaType},
		{name: "too slow", body: iotest.ErrReader(os.ErrDeadlineExceeded), kind: llm.KindRequestTimeout},
		{name: "ends early", body: iotest.ErrReader(io.ErrUnexpectedEOF), kind: llm.KindInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", c.body)
			r.ContentLength = c.length
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			if c.mime != "" {
				r.Header.Set("Content-Type", c.mime)
			}
			most := c.most
			if most == 0 {
				most = 1 << 20
			}
			room := new(Room)
			b, err := ReadBody(r, most, room)
			if c.kind != "" {
				if e := llm.AsError(err); e.Kind != c.kind {
					t.Fatalf("%v, want %s", err, c.kind)
				}
				if room.Used() != 0 {
					t.Errorf("%d bytes of the room stay taken", room.Used())
				}
				return
			}
			if err != nil || !bytes.Equal(b.Bytes(), text) {
				t.Fatalf("read %d bytes, err %v; want %d", len(b.Bytes()), err, len(text))
			}
			if room.Used() < int64(len(text)) {
				t.Errorf("%d bytes of the room are taken for a body of %d", room.Used(), len(text))
			}
			b.Release()
			if room.Used() != 0 {
				t.Errorf("%d bytes of the room stay taken", room.Used())
			}
		})
	}
}

// Buffers come back from the pool clean and in their class.
func TestBuffersGrowThroughClasses(t *testing.T) {
	for _, size := range []int{0, 1, 4 << 10, 4<<10 + 1, 100_000, 3 << 20, 10 << 20} {
		text := bytes.Repeat([]byte{'a'}, size)
		b, err := takeBuffer(0, new(Room))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.readAll(iotest.HalfReader(bytes.NewReader(text)), 32<<20); err != nil || !bytes.Equal(b.Bytes(), text) {
			t.Fatalf("%d bytes: read %d, err %v", size, len(b.Bytes()), err)
		}
		if b.class >= 0 && cap(b.b) != bufferSizes[b.class] {
			t.Errorf("%d bytes: capacity %d in class %d", size, cap(b.b), b.class)
		}
		b.Release()
	}
}

func TestCanonicalModel(t *testing.T) {
	for _, name := range []string{"gpt-4o", "mock/echo", "meta-llama/llama-3.2-3b-instruct:free", "us.anthropic.claude-v1:0", "ft:gpt-4o:org::id", "mock/echo?status=429&retry=2s", "@cf/meta/llama"} {
		if got, err := canonicalModel(name); err != nil || got != name {
			t.Errorf("%q: %q %v", name, got, err)
		}
	}
	for _, name := range []string{"", " gpt-4o", "gpt-4o ", "gpt 4o", "gpt\n4o", "gpt\x004o", "../x", "a/../b", "a//b", "/a", "a/", ".", "a/.", "x#y", "x%2e", `a\b`, "<x>", "gpt-4ö", "gpt\u200b4o", strings.Repeat("x", 257), strings.Repeat("x", 1_000_000)} {
		if _, err := canonicalModel(name); llm.AsError(err).Kind != llm.KindInvalid {
			t.Errorf("%s: %v, want a refusal", clip([]byte(name)), err)
		}
	}
}

func FuzzReadBody(f *testing.F) {
	f.Add([]byte("{}"), "gzip")
	f.Add(gzipped(f, []byte("{}")), "gzip")
	f.Add(zstded(f, []byte("{}")), "zstd")
	f.Fuzz(func(t *testing.T, body []byte, encoding string) {
		r := &http.Request{Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{"Content-Encoding": {encoding}}, ContentLength: -1}
		b, err := ReadBody(r, 1<<16, new(Room))
		if err == nil && len(b.Bytes()) > 1<<16 {
			t.Fatalf("%d bytes are over the limit", len(b.Bytes()))
		}
		if err != nil && llm.AsError(err).Kind == llm.KindInternal {
			t.Fatalf("a client's error is taken for ours: %v", err)
		}
	})
}

func ExampleNewProblem() {
	e := &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not valid", Problems: []llm.Problem{{At: "/n", Msg: "must be a whole number"}, {At: "", Msg: "x"}}}
	fmt.Println(NewProblem(e, "req_1").Detail)
	// Output: the request body is not valid: /n must be a whole number; the body x
}
