package h1

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of the head of an answer, interim answers before it included.
const (
	maxHead   = 64 << 10
	maxFields = 256
)

var (
	errHeadSize = errors.New("the answer's head is too large")
	errNotHTTP  = errors.New("what came is no HTTP/1 answer")
	errLine     = errors.New("a line of the answer's head does not end in CRLF")
)

// A head is what the first lines of an answer say.
type head struct {
	status  int
	header  http.Header
	length  int64         // of the body; -1: not said
	chunked bool          // the body says where it ends
	old     bool          // HTTP/1.0
	close   bool          // nothing can follow on this connection
	idle    time.Duration // how long the peer keeps an idle connection; 0: not said
}

// headEnd looks for the end of the head that b begins with, from an offset that an earlier call returned as
// line. end is 0 as long as it has not come.
func headEnd(b []byte, line int) (end, next int, err error) {
	const begin = "HTTP/1."
	if n := min(len(b), len(begin)); string(b[:n]) != begin[:n] {
		return 0, 0, errNotHTTP
	}
	for {
		i := bytes.IndexByte(b[line:], '\n')
		if i < 0 {
			return 0, line, nil
		}
		if i == 0 || b[line+i-1] != '\r' {
			return 0, 0, errLine
		}
		if i == 1 {
			return line + 2, line + 2, nil
		}
		line += i + 1
	}
}

// parseHead reads a whole head, with the empty line at its end. It changes the names in b to their canonical
// form, where they stand.
func parseHead(b []byte) (head, error) {
	h := head{length: -1}
	i := bytes.IndexByte(b, '\n')
	if i < 1 {
		return h, errNotHTTP
	}
	if err := h.statusLine(b[:i-1]); err != nil {
		return h, err
	}
	n := bytes.Count(b, []byte("\n")) - 2
	if n > maxFields {
		return h, errHeadSize
	}
	b = b[i+1:]
	ends, err := canonical(b, make([][3]int32, 0, 32)) // on the stack, and at the deepest point of a call's: twice as wide would make it grow
	if err != nil {
		return h, err
	}
	// One string holds all names and values, and one array all lists of one.
	all, values := string(b), make([]string, len(ends))
	h.header = headers.Get().(http.Header)
	for _, at := range ends {
		name := all[at[0]:at[1]]
		value := strings.Trim(all[at[1]+1:at[2]], " \t")
		if err := h.framing(name, value); err != nil {
			return h, err
		}
		if had := h.header[name]; had != nil {
			h.header[name] = append(had, value)
			continue
		}
		values[0] = value
		h.header[name], values = values[:1:1], values[1:]
	}
	if h.chunked && h.length >= 0 {
		return h, errors.New("the answer has both Content-Length and Transfer-Encoding")
	}
	return h, nil
}

// headers are maps to be filled by the next heads: making one costs more than all else about a head. Values are never used again.
var headers = sync.Pool{New: func() any { return make(http.Header, 16) }}

// release gives the map of fields back, if it is of a usual size.
func release(h http.Header) {
	if len(h) <= 32 {
		clear(h)
		headers.Put(h)
	}
}

// statusLine reads "HTTP/1.1 200 OK". The reason may be missing.
func (h *head) statusLine(line []byte) error {
	const version = "HTTP/1.1"
	if len(line) < len(version)+4 || string(line[:len(version)-1]) != version[:len(version)-1] || line[len(version)] != ' ' {
		return errNotHTTP
	}
	switch line[len(version)-1] {
	case '1':
	case '0':
		h.old, h.close = true, true // a peer that means to keep the connection speaks 1.1
	default:
		return errNotHTTP
	}
	rest := line[len(version)+1:]
	for _, d := range rest[:3] {
		if d < '0' || d > '9' {
			return errNotHTTP
		}
		h.status = h.status*10 + int(d-'0')
	}
	if h.status < 100 || h.status > 599 || len(rest) > 3 && rest[3] != ' ' {
		return errNotHTTP
	}
	for _, c := range rest[3:] {
		if !text[c] {
			return errNotHTTP
		}
	}
	return nil
}

// canonical checks the lines of fields and appends where each name begins and ends, and where its line does.
func canonical(b []byte, at [][3]int32) ([][3]int32, error) {
	for line := 0; ; {
		i := bytes.IndexByte(b[line:], '\n')
		if i < 1 {
			return nil, errLine
		}
		if i == 1 {
			return at, nil
		}
		end, up, name := line+i-1, true, line
		for ; name < end && b[name] != ':'; name++ {
			c := b[name]
			if !token[c] { // this also finds a line that continues the one before
				return nil, fmt.Errorf("%.40q is no name of a field", b[line:end])
			}
			switch {
			case up && c >= 'a' && c <= 'z':
				b[name] = c - 'a' + 'A'
			case !up && c >= 'A' && c <= 'Z':
				b[name] = c - 'A' + 'a'
			}
			up = c == '-'
		}
		if name == line || name == end {
			return nil, fmt.Errorf("%.40q is no field", b[line:end])
		}
		for _, c := range b[name+1 : end] {
			if !text[c] {
				return nil, fmt.Errorf("the value of field %.40q has a control character", b[line:name])
			}
		}
		at = append(at, [3]int32{int32(line), int32(name), int32(end)}) // of maxHead bytes at most
		line += i + 1
	}
}

// framing notes what a field says about the end of the body and of the connection.
func (h *head) framing(name, value string) error {
	switch name {
	case "Content-Length":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || h.length >= 0 && h.length != int64(n) {
			return fmt.Errorf("the answer's Content-Length is wrong: %.40q", value)
		}
		h.close = h.close || h.length >= 0 // said twice: believed, but not trusted
		h.length = int64(n)
	case "Transfer-Encoding":
		if h.chunked || !strings.EqualFold(value, "chunked") || h.old {
			return fmt.Errorf("the answer's Transfer-Encoding is not known: %.40q", value)
		}
		h.chunked = true
	case "Connection":
		for v := range strings.SplitSeq(value, ",") {
			h.close = h.close || strings.EqualFold(strings.Trim(v, " \t"), "close")
		}
	case "Keep-Alive":
		for v := range strings.SplitSeq(value, ",") {
			if s, ok := strings.CutPrefix(strings.Trim(v, " \t"), "timeout="); ok {
				if n, err := strconv.ParseUint(s, 10, 31); err == nil {
					h.idle = time.Duration(n) * time.Second
				}
			}
		}
	}
	return nil
}
