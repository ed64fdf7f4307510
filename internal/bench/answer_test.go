package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/internal/mock"
)

// answers are what the mock says to a scenario.
func rightAnswer(t testing.TB, name string) (*scenario, []byte) {
	s, err := findScenario(name)
	if err != nil {
		t.Fatal(err)
	}
	up, err := mock.New(mock.Options{Script: mockScript()})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	up.ServeHTTP(w, httptest.NewRequest("POST", "/v1/chat/completions", bytes.NewReader(s.body())))
	return &s, w.Body.Bytes()
}

func TestWrongAnswersAreFound(t *testing.T) {
	swap := func(from, to string) func(string) string {
		return func(s string) string { return strings.Replace(s, from, to, 1) }
	}
	// dropEvent leaves out the nth event.
	dropEvent := func(n int) func(string) string {
		return func(s string) string {
			all := strings.SplitAfter(s, "\n\n")
			return strings.Join(append(all[:n:n], all[n+1:]...), "")
		}
	}
	half := func(s string) string { return s[:len(s)/2] }
	tests := []struct {
		scenario, name string
		spoil          func(string) string
		wrong          bool
	}{
		{"small", "as it is", func(s string) string { return s }, false},
		{"small", "another layout", func(s string) string { return strings.ReplaceAll(s, "\n", " ") }, false},
		{"small", "another model", swap(`"bench-small"`, `"other"`), false},
		{"small", "half", half, true},
		{"small", "empty", func(string) string { return "" }, true},
		{"small", "another text", swap(`"content": "`, `"content": "X`), true},
		{"small", "another finish", swap(`"stop"`, `"length"`), true},
		{"small", "no usage", swap(`"usage"`, `"used"`), true},
		{"small", "an error", func(string) string { return `{"error":{"message":"x"}}` }, true},
		{"small", "twice", func(s string) string { return s + s }, true},
		{"stream", "as it is", func(s string) string { return s }, false},
		{"stream", "CRLF", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }, false},
		{"stream", "a comment", func(s string) string { return ": hello\n\n" + s }, false},
		{"stream", "no [DONE]", swap("data: [DONE]\n\n", ""), true},
		{"stream", "half", half, true},
		{"stream", "a piece less", dropEvent(50), true},
		{"stream", "no finish", dropEvent(101), true},
		{"stream", "no usage", dropEvent(102), true},
		{"stream", "a piece twice", func(s string) string {
			all := strings.SplitAfter(s, "\n\n")
			all[50] += all[50]
			return strings.Join(all, "")
		}, true},
		{"stream", "pieces joined", func(s string) string {
			all := strings.SplitAfter(s, "\n\n")
			text := func(e string) string {
				_, e, _ = strings.Cut(e, `"content":"`)
				e, _, _ = strings.Cut(e, `"`)
				return e
			}
			all[51] = strings.Replace(all[51], text(all[51]), text(all[50])+text(all[51]), 1)
			return strings.Join(append(all[:50:50], all[51:]...), "")
		}, true},
		{"stream", "broken JSON", swap(`"choices":[`, `"choices":`), true},
		{"stream", "an error event", swap("data: [DONE]", "data: {\"error\":{\"message\":\"x\"}}\n\ndata: [DONE]"), true},
		{"stream", "more after [DONE]", func(s string) string { return s + "data: {}\n\n" }, true},
		{"stream", "not events", func(string) string { return "<html></html>" }, true},
		{"meter", "as it is", func(s string) string { return s }, false},
		{"meter", "usage that nobody asked for", swap("data: [DONE]", "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\ndata: [DONE]"), true},
	}
	for _, tt := range tests {
		t.Run(tt.scenario+": "+tt.name, func(t *testing.T) {
			s, right := rightAnswer(t, tt.scenario)
			want, err := learn(s.stream, s.usage, right)
			if err != nil {
				t.Fatal(err)
			}
			body := []byte(tt.spoil(string(right)))
			if tt.name != "as it is" && bytes.Equal(body, right) {
				t.Fatal("the answer was not changed")
			}
			k := &checker{want: want}
			// Once when nothing is known, and once when the right bytes are.
			for range 2 {
				if err := k.check(head{status: 200}, body); (err != nil) != tt.wrong {
					t.Errorf("error %v, want wrong=%v", err, tt.wrong)
				}
				if err := k.check(head{status: 200}, right); err != nil {
					t.Fatal(err)
				}
			}
			if err := k.check(head{status: 500}, right); err == nil {
				t.Error("status 500 is right")
			}
		})
	}
}

// talk gives a client one raw answer, in pieces of n bytes.
func talk(t testing.TB, raw string, n int) (head, *client, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		buf := make([]byte, 1024)
		if _, err := there.Read(buf); err != nil {
			return
		}
		for raw != "" {
			m := min(n, len(raw))
			if _, err := io.WriteString(there, raw[:m]); err != nil {
				return
			}
			raw = raw[m:]
		}
	}()
	c := &client{timeout: time.Minute, keep: true, conn: here, buf: make([]byte, 256)}
	h, err := c.do([]byte("GET / HTTP/1.1\r\n\r\n"))
	_ = here.Close()
	return h, c, err
}

func TestClient(t *testing.T) {
	tests := []struct {
		name, raw, body string
		fails           error // errors.Is; nil: well
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", nil},
		{"chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello", nil},
		{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", "hello", nil},
		{"large chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E8\r\n" + strings.Repeat("x", 1000) + "\r\n0\r\n\r\n", strings.Repeat("x", 1000), nil},
		{"to the end", "HTTP/1.1 200 OK\r\n\r\nhello", "hello", nil},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", nil},
		{"none", "HTTP/1.1 204 No Content\r\n\r\n", "", nil},
		{"bare newlines", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "hello", nil},
		{"cut head", "HTTP/1.1 200 OK\r\nConte", "", io.ErrUnexpectedEOF},
		{"cut length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "hello", io.ErrUnexpectedEOF},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", "hello", io.ErrUnexpectedEOF},
		{"cut between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello", io.ErrUnexpectedEOF},
		{"cut before the end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "hello", io.ErrUnexpectedEOF},
		{"bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "", errProtocol},
		{"bad chunk end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", "he", errProtocol},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "", errProtocol},
		{"not HTTP", "SSH-2.0-OpenSSH_9.9\r\n", "", errProtocol},
		{"a line without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10_000), "", errProtocol},
		{"nothing", "", "", io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		for _, n := range []int{1, 7, 1 << 20} {
			h, c, err := talk(t, tt.raw, n)
			if !errors.Is(err, tt.fails) || tt.fails == nil && err != nil {
				t.Errorf("%s by %d: error %v, want %v", tt.name, n, err, tt.fails)
			}
			if string(c.body) != tt.body {
				t.Errorf("%s by %d: body %q, want %q", tt.name, n, c.body, tt.body)
			}
			if (err != nil || h.close) != (c.conn == nil) {
				t.Errorf("%s by %d: connection kept=%v after %v", tt.name, n, c.conn != nil, err)
			}
		}
	}
}

func TestClientIsInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &client{addr: l.Addr().String(), timeout: time.Minute}
	ctx, cancel := context.WithCancel(t.Context())
	context.AfterFunc(ctx, c.interrupt)
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.do([]byte("GET / HTTP/1.1\r\n\r\n")); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := c.do([]byte("GET / HTTP/1.1\r\n\r\n")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the interrupt: %v", err)
	}
}

func FuzzClient(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 3)
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 1)
	f.Fuzz(func(t *testing.T, raw string, n int) {
		h, c, err := talk(t, raw, max(1, n))
		if err == nil && h.length >= 0 && len(c.body) != h.length && !h.chunked {
			t.Errorf("%d bytes of %d", len(c.body), h.length)
		}
		if len(c.body) > len(raw) {
			t.Errorf("%d bytes out of %d", len(c.body), len(raw))
		}
	})
}

func FuzzEvents(f *testing.F) {
	s, right := rightAnswer(f, "stream")
	want, err := learn(s.stream, s.usage, right)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(right)
	f.Fuzz(func(t *testing.T, body []byte) {
		if want.events(body) == nil && !bytes.Contains(body, []byte("[DONE]")) {
			t.Errorf("%q is right", body)
		}
	})
}
