package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// flood opens an HTTP/2 connection by prior knowledge, and reads whatever comes until it ends.
func flood(t *testing.T, addr string) (conn net.Conn, f *http2.Framer, ended <-chan error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	f = http2.NewFramer(conn, conn)
	f.AllowIllegalWrites = true
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		for {
			frame, err := f.ReadFrame()
			if goaway, ok := frame.(*http2.GoAwayFrame); ok {
				end <- fmt.Errorf("GOAWAY %s", goaway.ErrCode)
				return
			}
			if err != nil {
				end <- err
				return
			}
		}
	}()
	return conn, f, end
}

func headerBlock(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

// A client that opens streams and resets them at once (CVE-2023-39325) gets no more of the gateway and of its
// upstreams than its stream limit, and others are served meanwhile.
func TestRapidReset(t *testing.T) {
	const limit, resets = 20, 3000
	var now, most atomic.Int64
	r := newRig(t, fmt.Sprintf("h2c: true\nlimits: {max_streams: %d}\n", limit))
	inner := r.up.Config.Handler
	r.up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		inner.ServeHTTP(w, req)
	})
	_, f, ended := flood(t, strings.TrimPrefix(r.url, "http://"))
	body := []byte(`{"model":"o/echo?latency=1s","messages":[{"role":"user","content":"x"}]}`)
	head := headerBlock(":method", "POST", ":scheme", "http", ":authority", "gateway", ":path", "/v1/chat/completions",
		"authorization", "Bearer "+testKey, "content-type", "application/json")
	written := 0
	for i := range uint32(resets) {
		id := 2*i + 1
		if err := errors.Join(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true}),
			f.WriteData(id, true, body), f.WriteRSTStream(id, http2.ErrCodeCancel)); err != nil {
			break // the server has had enough, which is good
		}
		written++
		if i%1000 == 500 {
			if resp, answer := do(t, r.request(t, vendors[0], "o/echo", "hello", false)); resp.StatusCode != 200 {
				t.Errorf("meanwhile another client gets %d: %s", resp.StatusCode, answer)
			}
		}
	}
	select {
	case err := <-ended:
		t.Logf("after %d resets the server ended the connection: %v", written, err)
	default:
		t.Logf("the server took %d resets", written)
	}
	n := most.Load()
	t.Logf("at most %d calls at a time reached the upstream", n)
	if n > 2*limit {
		t.Errorf("%d calls at a time reached the upstream, the limit of streams is %d", n, limit)
	}
	if resp, answer := do(t, r.request(t, vendors[0], "o/echo", "hello", false)); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d %s", resp.StatusCode, answer)
	}
}

// A head that never ends in CONTINUATION frames (CVE-2023-45288) is not read for ever.
func TestContinuationFlood(t *testing.T) {
	r := newRig(t, "h2c: true\n")
	_, f, ended := flood(t, strings.TrimPrefix(r.url, "http://"))
	head := headerBlock(":method", "POST", ":scheme", "http", ":authority", "gateway", ":path", "/v1/chat/completions")
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head}); err != nil {
		t.Fatal(err)
	}
	fragment := headerBlock("x-fill", strings.Repeat("z", 10_000))
	const most = 64 << 20
	sent := 0
	for sent < most {
		if err := f.WriteContinuation(1, false, fragment); err != nil {
			break
		}
		sent += len(fragment)
	}
	if sent >= most {
		t.Errorf("the server took %d MB of a head", sent>>20)
	}
	t.Logf("ended after %d KB: %v", sent>>10, <-ended)
	if resp, answer := do(t, r.request(t, vendors[0], "o/echo", "hello", false)); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d %s", resp.StatusCode, answer)
	}
}
