package h1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"sluice/internal/llm"
)

// A tape is a connection whose peer answers a request with recorded pieces, and then ends.
type tape struct {
	net.Conn // nil: what is not here is not called
	once     sync.Once
	asked    chan struct{} // closed at the first write
	closed   chan struct{}
	pieces   [][]byte
}

func newTape(pieces [][]byte) *tape {
	return &tape{asked: make(chan struct{}), closed: make(chan struct{}), pieces: slices.Clone(pieces)}
}

func (c *tape) Write(p []byte) (int, error) {
	c.once.Do(func() { close(c.asked) })
	return len(p), nil
}

func (c *tape) Read(p []byte) (int, error) {
	<-c.asked
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *tape) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

var tapeURL = &url.URL{Scheme: "http", Host: "upstream.invalid", Path: "/"}

// oursOn and theirsOn send one request on a tape. kept tells whether the connection is kept for another; what
// comes later is no matter of the answer (TestIdleConnectionIsLookedAt).
func oursOn(t testing.TB, pieces [][]byte, size int) (a answer, kept bool) {
	t.Helper()
	tp := newTape(pieces)
	c := New(Options{Dial: func(context.Context, string, string) (net.Conn, error) { return tp, nil }})
	defer c.CloseIdle()
	resp, err := c.Send(t.Context(), &llm.Request{Method: "GET", URL: tapeURL})
	if err == nil {
		a.status, a.header = resp.Status, resp.Header.Clone()
		var b bytes.Buffer
		_, a.err = io.CopyBuffer(struct{ io.Writer }{&b}, resp.Body, make([]byte, size))
		a.body = b.String()
		_ = resp.Body.Close()
	} else {
		a.err = err
	}
	return a, c.idleCount() == 1
}

func theirsOn(t testing.TB, pieces [][]byte) (a answer, kept bool) {
	t.Helper()
	tp, put := newTape(pieces), make(chan struct{})
	std := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return tp, nil },
		DisableCompression: true, MaxResponseHeaderBytes: maxHead,
	}
	defer std.CloseIdleConnections()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{PutIdleConn: func(err error) {
		if err == nil {
			close(put)
		}
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, tapeURL.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := std.RoundTrip(req)
	if err != nil {
		return answer{err: err}, false
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	select {
	case <-put:
		kept = true
	case <-tp.closed:
		select { // it closes what it has put at the tape's end
		case <-put:
			kept = true
		default:
		}
	}
	return answer{resp.StatusCode, resp.Header, string(b), err}, kept
}

// compare holds one answer in pieces against net/http's client: the same, or a stricter refusal, and no
// connection kept that net/http would not keep.
func compare(t testing.TB, raw []byte, pieces [][]byte, size int) (refused bool) {
	t.Helper()
	ours, kept := oursOn(t, pieces, size)
	theirs, theirsKept := theirsOn(t, pieces)
	if kept && (!theirsKept || ours.err != nil) {
		t.Errorf("%q in %d pieces: the connection is kept (net/http: %v), err %v", raw, len(pieces), theirsKept, ours.err)
	}
	if ours.err != nil {
		if theirs.err == nil && ours.status != 0 && !strings.HasPrefix(theirs.body, ours.body) {
			t.Errorf("%q: before %v came %q, net/http has %q", raw, ours.err, ours.body, theirs.body)
		}
		return true
	}
	if theirs.err != nil {
		t.Errorf("%q: got %d %q, net/http refuses it: %v", raw, ours.status, ours.body, theirs.err)
		return false
	}
	for _, h := range []http.Header{ours.header, theirs.header} {
		for _, name := range []string{"Transfer-Encoding", "Trailer", "Connection"} {
			delete(h, name) // net/http takes these out
		}
		for name, values := range h {
			h[name] = []string{strings.Join(values, "\n")}
			if name == "Content-Length" {
				h[name] = []string{values[0]}
			}
		}
	}
	if h := theirs.header; h["Pragma"] != nil { // for which net/http makes up a Cache-Control
		delete(h, "Cache-Control")
		delete(ours.header, "Cache-Control")
	}
	if ours.status != theirs.status || ours.body != theirs.body || !sameHeader(ours.header, theirs.header) {
		t.Errorf("%q:\n got %d %q %q\nwant %d %q %q", raw, ours.status, ours.header, ours.body, theirs.status, theirs.header, theirs.body)
	}
	return false
}

// generate makes an answer: mostly valid, sometimes odd. mutate breaks it.
func generate(r *rand.Rand) []byte {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	var b strings.Builder
	for range r.IntN(8) / 6 {
		b.WriteString(pick("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "HTTP/1.1 102 \r\n\r\n"))
	}
	b.WriteString(pick("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0") + " " +
		pick("200", "200", "200", "200", "201", "204", "205", "304", "307", "400", "429", "500", "529", "599", "101", "999") + pick(" OK", " Too Many", " ", "", " \xc3\xa4") + "\r\n")
	var lines []string
	for range r.IntN(5) {
		lines = append(lines, pick("Content-Type", "content-type", "X-Request-ID", "x_odd.name", "SET-COOKIE", "date", "Server", "a", "1")+
			":"+pick(" ", "", "\t", "  ")+pick("application/json", "text/event-stream", "", "a, b; c=\"d\"", "x\xff", ": :", strings.Repeat("v", r.IntN(3000)))+pick("", "", " ", "\t "))
	}
	if r.IntN(6) == 0 {
		lines = append(lines, pick("Connection: close", "Connection: keep-alive", "connection: Keep-Alive, CLOSE", "Keep-Alive: timeout=5, max=3", "Connection:"))
	}
	body := strings.Repeat(pick("x", "data: {}\n\n", "\r\n", "0\r\n\r\n"), r.IntN(400))
	switch r.IntN(8) {
	case 0: // as it ends
	case 1, 2, 3:
		lines = append(lines, fmt.Sprintf("%s: %d", pick("Content-Length", "content-length"), len(body)+r.IntN(20)/19))
	case 4: // two ways at once
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)), pick("Transfer-Encoding: chunked", fmt.Sprintf("Content-Length: %d", len(body)+r.IntN(2))))
	default:
		lines = append(lines, pick("Transfer-Encoding", "transfer-encoding", "Transfer-Encoding")+": "+pick("chunked", "chunked", "chunked", "chunked", "Chunked", "gzip, chunked", "identity", "chunked, chunked"))
		if r.IntN(3) == 0 {
			lines = append(lines, "Trailer: X-Sum")
		}
		body = chunk(r, body)
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	b.WriteString("\r\n" + body)
	if r.IntN(12) == 0 {
		b.WriteString(pick("\r\n", "HTTP/1.1 200 OK\r\n\r\n", "x", "0\r\n\r\n"))
	}
	return []byte(b.String())
}

func chunk(r *rand.Rand, body string) string {
	var b strings.Builder
	for len(body) > 0 {
		n := 1 + r.IntN(min(len(body), 1+r.IntN(300)))
		size := fmt.Sprintf("%x", n)
		switch r.IntN(10) {
		case 0:
			size = "000" + strings.ToUpper(size)
		case 1:
			size += ";name=\"value\";x"
		case 2:
			size += " "
		}
		b.WriteString(size + "\r\n" + body[:n] + "\r\n")
		body = body[n:]
	}
	b.WriteString("0" + []string{"", "", ";last", "00"}[r.IntN(4)] + "\r\n")
	for range r.IntN(6) / 4 {
		b.WriteString([]string{"X-Sum: 1\r\n", "Content-Length: 3\r\n", "x:\r\n"}[r.IntN(3)])
	}
	return b.String() + "\r\n"
}

// mutate spoils up to three places, most often where lines end.
func mutate(r *rand.Rand, raw []byte) []byte {
	for range r.IntN(4) {
		if len(raw) < 2 {
			return raw
		}
		i := r.IntN(len(raw))
		if j := bytes.IndexAny(raw[i:], "\r\n:; "); j >= 0 && r.IntN(3) > 0 {
			i += j
		}
		switch r.IntN(6) {
		case 0:
			raw = raw[:i]
		case 1:
			raw = slices.Delete(slices.Clone(raw), i, i+1)
		case 2:
			raw = slices.Insert(slices.Clone(raw), i, "\r\n :;,0f\x00\xff\t-+"[r.IntN(13)])
		case 3:
			raw = slices.Clone(raw)
			raw[i] = byte(r.IntN(256))
		case 4:
			raw = slices.Clone(raw)
			raw[i] = "\r\n :;,0f\x00\xff\t-+"[r.IntN(13)]
		case 5:
			j := min(len(raw), i+1+r.IntN(40))
			raw = slices.Insert(slices.Clone(raw), j, raw[i:j]...)
		}
	}
	return raw
}

// split cuts raw at random places.
func split(r *rand.Rand, raw []byte) (pieces [][]byte) {
	most := []int{1, 10, 200, 5000, 1 << 20}[r.IntN(5)]
	for len(raw) > 0 {
		n := 1 + r.IntN(min(len(raw), most))
		pieces, raw = append(pieces, raw[:n]), raw[n:]
	}
	return pieces
}

func TestLikeNetHTTP(t *testing.T) {
	cases := 20_000
	if testing.Short() {
		cases = 2_000
	}
	refused := 0
	for i := range cases {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		raw := generate(r)
		if r.IntN(2) == 0 {
			raw = mutate(r, raw)
		}
		if compare(t, raw, split(r, raw), 1+r.IntN(1+r.IntN(5000))) {
			refused++
		}
		if t.Failed() {
			t.Fatalf("seed %d", i)
		}
	}
	t.Logf("%d answers, %d refused or broken", cases, refused)
	if refused < cases/20 || refused > cases*3/4 {
		t.Errorf("%d of %d were refused: the generator tests little", refused, cases)
	}
}

func FuzzAnswer(f *testing.F) {
	for i := range 50 {
		f.Add(generate(rand.New(rand.NewPCG(uint64(i), 1))), uint64(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		compare(t, raw, split(r, raw), 1+r.IntN(5000))
	})
}

// Whatever the pieces, chunked bytes decode to the same, and to what the standard library makes of them.
func FuzzChunked(f *testing.F) {
	for i := range 20 {
		r := rand.New(rand.NewPCG(uint64(i), 2))
		f.Add([]byte(chunk(r, strings.Repeat("ab", r.IntN(100)))), uint64(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		whole := slices.Clone(raw)
		var d chunked
		n, err := d.decode(whole)
		data, state := whole[:n], d.state

		var cut []byte
		var cutErr error
		d = chunked{}
		for _, p := range split(rand.New(rand.NewPCG(seed, 3)), slices.Clone(raw)) {
			var m int
			m, cutErr = d.decode(p)
			if cut = append(cut, p[:m]...); cutErr != nil {
				break
			}
		}
		if !bytes.Equal(cut, data) || !errors.Is(cutErr, err) || d.state != state {
			t.Fatalf("%q: whole %q %v, in pieces %q %v", raw, data, err, cut, cutErr)
		}
		if err != nil && !errors.Is(err, errAfter) || state != chunksEnd {
			return
		}
		std, stdErr := io.ReadAll(httputil.NewChunkedReader(iotest.OneByteReader(bytes.NewReader(raw))))
		if !bytes.Equal(std, data) || stdErr != nil {
			t.Fatalf("%q: got %q, the standard library %q %v", raw, data, std, stdErr)
		}
	})
}

// A head that is taken says the same to net/http, in whatever pieces its end was looked for.
func FuzzHead(f *testing.F) {
	for i := range 50 {
		f.Add(generate(rand.New(rand.NewPCG(uint64(i), 4))))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		end, _, err := headEnd(raw, 0)
		line, later := 0, 0
		var laterErr error
		for n := 1; n <= len(raw) && later == 0 && laterErr == nil; n++ {
			later, line, laterErr = headEnd(raw[:n], line)
		}
		if end != later || (err == nil) != (laterErr == nil) && len(raw) > 0 {
			t.Fatalf("%q: the end is at %d %v, piece by piece at %d %v", raw, end, err, later, laterErr)
		}
		if end == 0 {
			return
		}
		h, err := parseHead(slices.Clone(raw[:end]))
		if err != nil {
			return
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw[:end])), nil)
		if err != nil {
			t.Fatalf("%q was taken: %v", raw[:end], err)
		}
		_ = std.Body.Close()
		for name, values := range h.header {
			if !slices.Contains([]string{"Transfer-Encoding", "Trailer", "Connection", "Content-Length"}, name) && strings.Join(values, "|") != strings.Join(std.Header[name], "|") {
				t.Fatalf("%q: %s is %q, net/http has %q", raw[:end], name, values, std.Header[name])
			}
		}
		if h.status != std.StatusCode || h.chunked && h.status/100 != 1 && h.status != 204 && h.status != 304 && !slices.Equal(std.TransferEncoding, []string{"chunked"}) {
			t.Fatalf("%q: %+v, net/http has %+v", raw[:end], h, std)
		}
	})
}
