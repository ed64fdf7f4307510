package h1

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// replies answers every request on one connection with the same bytes, without a copy of its own.
func replies(t testing.TB, raw string) *llm.Request {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte("}")) {
				_, _ = io.WriteString(c, raw)
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	u, err := url.Parse("http://" + l.Addr().String() + "/v1/chat/completions")
	if err != nil {
		t.Fatal(err)
	}
	return &llm.Request{
		Method: "POST", URL: u, Body: [][]byte{[]byte(`{"model":"`), []byte(`m"}`)},
		Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}, Auth: llm.Auth{Name: "Authorization", Scheme: "Bearer ", Secret: "x"},
	}
}

const typical = "HTTP/1.1 200 OK\r\ndate: Mon, 02 Jan 2006 15:04:05 GMT\r\ncontent-type: application/json\r\nserver: x\r\nx-request-id: 1\r\ncontent-length: 300\r\n\r\n"

func exchangeOnce(t testing.TB, c *Client, r *llm.Request, buf []byte) {
	resp, err := c.Send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := resp.Body.Read(buf); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	_ = resp.Body.Close()
}

// What a call allocates: the exchange, the watch over its context, and the head's text and values.
func TestAllocations(t *testing.T) {
	r := replies(t, typical+strings.Repeat("x", 300))
	c, buf := newClient(t, Options{}), make([]byte, 1024)
	exchangeOnce(t, c, r, buf)
	const most = 6
	if n := testing.AllocsPerRun(200, func() { exchangeOnce(t, c, r, buf) }); n > most && !racing {
		t.Errorf("%v allocations a call, want at most %d", n, most)
	}
}

// A chunk that is read allocates nothing.
func TestChunksDoNotAllocate(t *testing.T) {
	const data = "data: {\"a\":\"bcdefghi\"}\n\n"
	raw := fmt.Appendf(nil, "%x\r\n%s\r\n", len(data), data)
	var d chunked
	p := make([]byte, len(raw))
	if n := testing.AllocsPerRun(1000, func() {
		copy(p, raw)
		if n, err := d.decode(p); n != len(data) || err != nil {
			t.Fatalf("%d %v", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a chunk", n)
	}
}

func BenchmarkSend(b *testing.B) {
	r := replies(b, typical+strings.Repeat("x", 300))
	c, buf := newClient(b, Options{}), make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		exchangeOnce(b, c, r, buf)
	}
}

func BenchmarkHead(b *testing.B) {
	raw := []byte(typical)
	p := make([]byte, len(raw))
	b.ReportAllocs()
	for b.Loop() {
		copy(p, raw)
		h, err := parseHead(p)
		if err != nil {
			b.Fatal(err)
		}
		release(h.header)
	}
}
