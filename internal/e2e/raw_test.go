package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// A rawCase is bytes that two parsers could take for different requests.
type rawCase struct {
	name string
	data string
	want verdict
	half bool // nothing follows: the client has closed its side
}

// A verdict is what a case must come to.
type verdict uint8

const (
	refuse verdict = iota // no answer, or an error: it has no one meaning
	accept                // one plain reading exists
	either                // the standard lets a server choose
)

const ask = `{"model":"oai-echo","messages":[{"role":"user","content":"ping"}]}`

// hidden is a request within the body of another. Whoever answers it has been smuggled past.
var hidden = head(length(len(smuggled))) + smuggled

const smuggled = `{"model":"oai-echo","messages":[{"role":"user","content":"SMUGGLED-WORD"}]}`

// head is a request's head; extra lines come before its end, each with its own line end.
func head(extra string) string {
	return "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer " + key + "\r\nContent-Type: application/json\r\n" + extra + "\r\n"
}

func chunked(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }

func length(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }

func rawCases() (cases []rawCase) {
	add := func(name, data string, want verdict) {
		cases = append(cases, rawCase{name: name, data: data, want: want})
	}
	add("plain", head(length(len(ask)))+ask, accept)
	add("plain chunked", head("Transfer-Encoding: chunked\r\n")+chunked(ask), accept)

	// A length and a coding at once: the chunks end, the length goes on over another request. A server may
	// take the chunks, but then it must close (RFC 9112, section 6.1).
	tail := chunked(ask) + hidden
	for i, te := range []string{
		"chunked", " chunked", "\tchunked", "chunked ", "chunked\t", "Chunked", "CHUNKED", "chunked, identity", "identity, chunked", "gzip, chunked", "chunked, gzip",
		"xchunked", "chunkedx", "chunked;q=1", "\"chunked\"", "'chunked'", "chunk", "", ",chunked", "chunked,", "chunked,chunked", "\x0bchunked", "\x0cchunked",
		"chunked\x00", "chunked\x0b", "identity", "x, chunked", "chu\u212aned", "ch\u00fcnked", "deflate",
	} {
		add(fmt.Sprintf("length and coding %d", i), head(length(len(tail))+"Transfer-Encoding: "+te+"\r\n")+tail, either)
		if !strings.EqualFold(strings.Trim(te, " \t"), "chunked") { // that would be two requests, rightly
			add(fmt.Sprintf("coding and no length %d", i), head("Transfer-Encoding: "+te+"\r\n")+"0\r\n\r\n"+hidden, refuse)
		}
	}
	for i, line := range []string{
		"Transfer-Encoding : chunked\r\n", " Transfer-Encoding: chunked\r\n", "\tTransfer-Encoding: chunked\r\n", "Transfer_Encoding: chunked\r\n",
		"Transfer-Encoding\t: chunked\r\n", "Transfer\x00-Encoding: chunked\r\n", "X: y\nTransfer-Encoding: chunked\r\n", "X: y\rTransfer-Encoding: chunked\r\n",
		"X: y\r\n Transfer-Encoding: chunked\r\n", "Transfer-Encoding:\r\n chunked\r\n", "Transfer-Encoding: x\r\n chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
		"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "transfer-encoding:chunked\r\n",
		"X:\"y\r\nTransfer-Encoding: chunked\"\r\n", "Content-Encoding: chunked\r\n", "TE: chunked\r\n", "Transfer-Encoding\r\n: chunked\r\n", "Transfer-Encoding\xa0: chunked\r\n",
	} {
		body := ask + strings.Repeat(" ", 40)
		harmless := strings.HasPrefix(line, "TE:") || strings.HasPrefix(line, "Transfer_") || strings.HasPrefix(line, "X: y\r\n ")
		if harmless { // no coding at all: the length counts
			add(fmt.Sprintf("line that is no coding %d", i), head(length(len(body))+line)+body, accept)
			continue
		}
		add(fmt.Sprintf("odd coding line %d", i), head(length(len(body))+line)+body, refuse)
		add(fmt.Sprintf("odd coding line over a request %d", i), head(length(5)+line)+"0\r\n\r\n"+hidden, refuse)
	}

	// Lengths that parsers read differently. The real body is ask; what follows it is another request.
	for i, v := range []string{
		"+%d", "-%d", "%d,%[1]d", "%d, 6", "6, %d", "0x%x", "%d.0", "%de0", "", "\u0665", "%d_", "%d a", "%d;", "\"%d\"", "99999999999999999999%d", "18446744073709551682", "%d\x00", "\x0b%d", "%d\r\n 1", " ", "abc", "0%d\x0b",
	} {
		value := v
		if strings.Contains(v, "%") {
			value = fmt.Sprintf(v, len(ask))
		}
		add(fmt.Sprintf("odd length %d", i), head("Content-Length: "+value+"\r\n")+ask+hidden, refuse)
	}
	add("length twice, the same", head(length(len(ask))+length(len(ask)))+ask, accept)
	add("length twice, not the same", head(length(len(ask))+length(len(ask)+len(hidden)))+ask+hidden, refuse)
	add("length twice, nought first", head(length(0)+length(len(hidden)))+hidden, refuse)
	add("length with a blank before the colon", head(fmt.Sprintf("Content-Length : %d\r\n", len(ask)))+ask, refuse)
	add("length folded", head(fmt.Sprintf("Content-Length:\r\n %d\r\n", len(ask)))+ask, either)
	add("length too long", head(length(len(ask)+50))+ask, refuse)
	cases[len(cases)-1].half = true

	// Chunks that parsers read differently.
	te := head("Transfer-Encoding: chunked\r\n")
	n := len(ask)
	for i, chunk := range []string{
		"0x%x\r\n", "+%x\r\n", "-%x\r\n", " %x\r\n", "%x_\r\n", "%xg\r\n", "%x\n", "%x\r", "%x;a=\"\n\r\n", "\r\n", "g\r\n", "ffffffffffffffff%x\r\n", "%x\x00\r\n", "%x\x0b\r\n", "%x,%[1]x\r\n", "1%x\r\n", "%x;\n",
	} {
		if strings.Contains(chunk, "%") {
			chunk = fmt.Sprintf(chunk, n)
		}
		add(fmt.Sprintf("odd chunk %d", i), te+chunk+ask+"\r\n0\r\n\r\n", refuse)
		cases[len(cases)-1].half = true
	}
	add("chunk with an extension", te+fmt.Sprintf("%x;name=value\r\n%s\r\n0\r\n\r\n", n, ask), accept)
	add("chunk without its line end", te+fmt.Sprintf("%x\r\n%s0\r\n\r\n", n, ask), refuse)
	add("chunk longer than told", te+fmt.Sprintf("%x\r\n%sxx\r\n0\r\n\r\n", n, ask), refuse)
	add("no last chunk", te+fmt.Sprintf("%x\r\n%s\r\n", n, ask), refuse)
	cases[len(cases)-1].half = true
	add("trailer that is a length", te+fmt.Sprintf("%x\r\n%s\r\n0\r\nContent-Length: 5\r\n\r\n", n, ask), accept)
	add("trailer that is a coding", te+fmt.Sprintf("%x\r\n%s\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", n, ask), accept)
	add("trailer with a bare line feed", te+fmt.Sprintf("%x\r\n%s\r\n0\r\nX: y\nZ: w\r\n\r\n", n, ask), either)
	add("trailer without a colon", te+fmt.Sprintf("%x\r\n%s\r\n0\r\nnonsense\r\n\r\n", n, ask), refuse)

	// Request lines and heads.
	line := func(l string) string {
		return strings.Replace(head(length(len(ask))), "POST /v1/chat/completions HTTP/1.1", l, 1) + ask
	}
	for i, l := range []string{
		"POST  /v1/chat/completions HTTP/1.1", "POST\t/v1/chat/completions\tHTTP/1.1", "POST /v1/chat/completions", "POST /v1/chat/completions HTTP/0.9", "POST /v1/chat/completions HTTP/9.9",
		"POST /v1/chat/completions http/1.1", "POST /v1/chat/completions HTTP/1.1 ", "POST /v1/chat/completions HTTP/1.1\r\n x", " POST /v1/chat/completions HTTP/1.1", "post /v1/chat/completions HTTP/1.1",
		"POST /v1/chat/completions\x00 HTTP/1.1", "POST /v1/chat completions HTTP/1.1", "POST v1/chat/completions HTTP/1.1", "P\x01ST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions HTTP/1.1\rX: y", "POST * HTTP/1.1", "POST http:// HTTP/1.1",
		"CONNECT gateway:443 HTTP/1.1", "PRI * HTTP/2.0",
	} {
		add(fmt.Sprintf("odd request line %d", i), line(l), refuse)
	}
	for i, l := range []string{
		"nonsense\r\n", ": empty\r\n", "X y: z\r\n", "X\x00: y\r\n", "X: y\x00z\r\n", "X: y\rz\r\n", "\r X: y\r\n", "X(: y\r\n", "X\xff: y\r\n", "Host: other\r\n", "X: y\x7f\r\n", "X: y\x01\r\n",
	} {
		add(fmt.Sprintf("odd header %d", i), head(length(len(ask))+l)+ask, refuse)
	}
	add("no host", strings.Replace(head(length(len(ask))), "Host: gateway\r\n", "", 1)+ask, refuse)
	add("host with a path", strings.Replace(head(length(len(ask))), "Host: gateway", "Host: a/v1", 1)+ask, refuse)
	add("GET with a body that is a request", "GET /v1/models HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer "+key+"\r\n"+length(len(hidden))+"\r\n"+hidden, accept)
	add("length named by Connection", head("Connection: Content-Length\r\n"+length(len(ask)))+ask, accept)
	add("wish for h2c", head("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"+length(len(ask)))+ask, accept)
	add("unknown expectation", head("Expect: 200-ok\r\n"+length(len(ask)))+ask, refuse)
	add("body of a refused call that is a request", strings.Replace(head(length(len(hidden))), key, "wrong", 1)+hidden, refuse)
	add("old protocol with a coding", strings.Replace(head("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"), "HTTP/1.1", "HTTP/1.0", 1)+"0\r\n\r\n"+hidden, refuse)
	add("old protocol with a coding and a length", strings.Replace(head("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"+length(len(ask))), "HTTP/1.1", "HTTP/1.0", 1)+ask+hidden, either)
	return cases
}

// TestSmuggling sends each case on a connection of its own: never are there two answers to one request, the
// hidden request never reaches an upstream, and what is ambiguous is refused.
func TestSmuggling(t *testing.T) {
	dir := t.TempDir()
	mock, addr, err := startMock(dir, "--capture", "2000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mock.stop)
	g := started(t, mockConfig("http://"+addr))
	cases := rawCases()
	if len(cases) < 146 {
		t.Errorf("only %d cases", len(cases))
	}
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				statuses := exchange(t, g.addr, c)
				ok := len(statuses) == 1 && statuses[0] == http.StatusOK
				switch {
				case len(statuses) > 1:
					t.Errorf("%d answers: %v\n%q", len(statuses), statuses, c.data)
				case c.want == refuse && ok:
					t.Errorf("200 for what has no one meaning\n%q", c.data)
				case c.want == accept && !ok:
					t.Errorf("got %v, want 200\n%q", statuses, c.data)
				}
			})
		}
	})
	resp, err := http.Get("http://" + addr + "/log") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	served, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(served, []byte("ping")) {
		t.Fatalf("the upstream's log does not hold bodies: %.500s", served)
	}
	hidden := bytes.Contains(served, []byte("SMUGGLED-WORD"))
	if hidden {
		t.Error("a hidden request reached the upstream")
	}
	found.add("R40 raw requests", !t.Failed(), "never two answers, none hidden goes upstream", fmt.Sprintf("%d cases, failed: %v", len(cases), t.Failed()))
}

// exchange sends a case and gives the status of every answer, until the server closes or has nothing more to
// say. Interim answers (100 Continue) are no answers.
func exchange(t *testing.T, addr string, c rawCase) (statuses []int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, c.data); err != nil {
		return nil // it would not even be read
	}
	if c.half {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	r := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		resp, err := http.ReadResponse(r, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) && len(statuses) == 0 && !c.half {
			t.Errorf("no answer and no end\n%q", c.data)
		}
		if err != nil {
			return statuses
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode >= 200 {
			statuses = append(statuses, resp.StatusCode)
		}
		if resp.StatusCode == http.StatusOK && len(body) == 0 {
			t.Errorf("200 without a body\n%q", c.data)
		}
		if err != nil {
			return statuses
		}
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // a second answer would come at once
	}
}
