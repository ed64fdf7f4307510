package wire

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"sluice/internal/llm"
)

// A Buffer holds the body of one request. It comes from a pool and goes back to it.
type Buffer struct {
	b     []byte
	class int   // of the pool it came from; -1: none
	room  *Room // that it takes of
	taken int64 // bytes that it is counted with there
}

// Bytes is the content.
func (b *Buffer) Bytes() []byte { return b.b }

// The pool has classes, so that one large body does not pin its memory for the small ones after it.
var (
	bufferSizes = [...]int{512, 1 << 10, 4 << 10, 32 << 10, 256 << 10, 2 << 20}
	bufferPools [len(bufferSizes)]sync.Pool
)

// roomFor is how large the buffer for so many bytes is.
func roomFor(size int) int {
	for _, n := range bufferSizes {
		if size <= n {
			return n
		}
	}
	return size
}

// newBuffer makes a buffer that is of no room yet.
func newBuffer(size int) *Buffer {
	for class, n := range bufferSizes {
		if size <= n {
			if b, ok := bufferPools[class].Get().(*Buffer); ok {
				b.b = b.b[:0]
				return b
			}
			return &Buffer{b: make([]byte, 0, n), class: class}
		}
	}
	return &Buffer{b: make([]byte, 0, size), class: -1}
}

// takeBuffer makes a buffer that takes of the room.
func takeBuffer(size int, room *Room) (*Buffer, error) {
	n := int64(roomFor(size))
	if err := room.take(0, n); err != nil {
		return nil, err
	}
	b := newBuffer(size)
	b.room, b.taken = room, n
	return b, nil
}

// Release gives the buffer back. Nothing may hold on to its bytes.
func (b *Buffer) Release() {
	if b == nil {
		return
	}
	if b.room != nil {
		b.room.give(b.taken)
		b.room, b.taken = nil, 0
	}
	if b.class >= 0 {
		bufferPools[b.class].Put(b)
	}
}

// grow moves the content to a buffer of the next class.
func (b *Buffer) grow() error {
	n := int64(roomFor(2 * cap(b.b)))
	if err := b.room.take(b.taken, n-b.taken); err != nil {
		return err
	}
	next := newBuffer(int(n))
	next.b = append(next.b, b.b...)
	old := &Buffer{b: b.b, class: b.class}
	b.b, b.class, b.taken = next.b, next.class, n
	old.Release()
	return nil
}

// readAll reads r to its end, or to one byte beyond most.
func (b *Buffer) readAll(r io.Reader, most int64) error {
	for {
		if len(b.b) == cap(b.b) {
			if err := b.grow(); err != nil {
				return err
			}
		}
		room := b.b[len(b.b):cap(b.b)]
		if left := most + 1 - int64(len(b.b)); int64(len(room)) > left {
			room = room[:left]
		}
		if len(room) == 0 {
			return llm.Errorf(llm.KindTooLarge, "the request body is larger than the limit of %d bytes", most)
		}
		n, err := r.Read(room)
		b.b = b.b[:len(b.b)+n]
		if err == io.EOF {
			if int64(len(b.b)) > most {
				return llm.Errorf(llm.KindTooLarge, "the request body is larger than the limit of %d bytes", most)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ReadBody reads a request's body whole, decompressed and bounded by most bytes on either side of the
// decompression, and by what room there is. The whole body is needed anyway: it is checked before a byte goes
// on, and a retry sends it again.
func ReadBody(r *http.Request, most int64, room *Room) (*Buffer, error) {
	if r.ContentLength > most {
		return nil, llm.Errorf(llm.KindTooLarge, "the request body has %d bytes; the limit is %d", r.ContentLength, most)
	}
	if err := checkMediaType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	src, done, err := decompress(r, most)
	if err != nil {
		return nil, err
	}
	defer done()
	b, err := takeBuffer(int(max(r.ContentLength, 0))+1, room) // one more, so that the read that meets EOF has room
	if err != nil {
		return nil, err
	}
	if err := b.readAll(src, most); err != nil {
		b.Release()
		return nil, readError(err)
	}
	if src == r.Body { // net/http need not look for the rest of it before it answers
		_ = r.Body.Close()
	}
	return b, nil
}

// checkMediaType takes JSON, or nothing said.
func checkMediaType(v string) error {
	if v == "" || v == "application/json" {
		return nil
	}
	t, params, err := mime.ParseMediaType(v)
	if err != nil || t != "application/json" && !strings.HasSuffix(t, "+json") {
		return llm.Errorf(llm.KindMediaType, "Content-Type is %q; send application/json", clip([]byte(v)))
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return llm.Errorf(llm.KindMediaType, "charset is %q; JSON is UTF-8", clip([]byte(c)))
	}
	return nil
}

// decompress undoes the Content-Encoding. Memory is bounded by the window, output by the caller.
func decompress(r *http.Request, most int64) (src io.Reader, done func(), err error) {
	done = func() {}
	switch enc := r.Header.Values("Content-Encoding"); {
	case len(enc) == 0 || len(enc) == 1 && (enc[0] == "identity" || enc[0] == ""):
		return r.Body, done, nil
	case len(enc) == 1 && strings.EqualFold(enc[0], "gzip"):
		z, err := gzip.NewReader(io.LimitReader(r.Body, most))
		if err != nil {
			return nil, nil, encodingError(err)
		}
		return encoded{z}, done, nil
	case len(enc) == 1 && strings.EqualFold(enc[0], "zstd"):
		z, err := zstd.NewReader(io.LimitReader(r.Body, most), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, encodingError(err)
		}
		return encoded{z}, z.Close, nil
	default:
		return nil, nil, llm.Errorf(llm.KindMediaType, "Content-Encoding is %q; send gzip, zstd or none", clip([]byte(strings.Join(enc, ", "))))
	}
}

// encoded marks the errors of a decompressor as the client's.
type encoded struct{ r io.Reader }

func (e encoded) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		err = encodingError(err)
	}
	return n, err
}

func encodingError(err error) error {
	var ne net.Error
	if errors.As(err, &ne) || errors.Is(err, io.ErrUnexpectedEOF) && ne != nil {
		return readError(err)
	}
	return &llm.Error{Kind: llm.KindInvalid, Msg: "the body is not what its Content-Encoding says", Err: err}
}

// readError says whose fault it is that a body did not arrive.
func readError(err error) error {
	var e *llm.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return err
	case errors.As(err, &tooLarge):
		return llm.Errorf(llm.KindTooLarge, "the request body is larger than the limit of %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &llm.Error{Kind: llm.KindRequestTimeout, Msg: "the request body arrived too slowly", Err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &llm.Error{Kind: llm.KindInvalid, Msg: "the request body ended early", Err: err}
	}
	return &llm.Error{Kind: llm.KindInvalid, Msg: "the request body cannot be read", Err: err}
}

// ReadCall checks a body against its format and opens the call. The id names the call in logs and answers.
func ReadCall(f Format, r *http.Request, body []byte, id string) (*llm.Call, error) {
	scanner := scanners.Get().(*scanner)
	defer scanner.release()
	s, err := scanner.scan(f.Shape(), body)
	if err != nil {
		return nil, err
	}
	call := &llm.Call{ID: id, Format: f.Format(), Choices: 1, Body: llm.NewBody(f, body, s.Marks)}
	call.Body.Texts = llm.Texts{Long: slices.Clone(s.Texts.Long), Disguised: s.Texts.Disguised}
	if r.URL.RawQuery != "" {
		call.Query = r.URL.Query()
	}
	if h, ok := f.(interface{ Headers() []string }); ok {
		for _, name := range h.Headers() {
			if v := r.Header[name]; len(v) > 0 {
				if call.Header == nil {
					call.Header = make(http.Header, 2)
				}
				call.Header[name] = v
			}
		}
	}
	if err := f.Open(call, r, s); err != nil {
		return nil, err
	}
	if call.Model, err = canonicalModel(call.Model); err != nil {
		return nil, err
	}
	return call, nil
}

// canonicalModel checks a model's name before any policy sees it: there is one way to write each name, and
// none of them can be mistaken for a path or a query.
func canonicalModel(name string) (string, error) {
	const most = 256
	bad := func(why string) error {
		return &llm.Error{
			Kind: llm.KindInvalid, Msg: "the model's name is not valid", Param: "model",
			Problems: []llm.Problem{{At: "/model", Msg: why}},
		}
	}
	switch {
	case name == "":
		return "", bad("is required")
	case len(name) > most:
		return "", bad(fmt.Sprintf("is %d bytes long; at most %d are allowed", len(name), most))
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"\<>^{|}#%`+"`", c) >= 0 {
			return "", bad("has a character that no model's name has; write the name as GET /v1/models lists it")
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return "", bad("has an empty, . or .. path segment")
		}
	}
	return name, nil
}
