// Package provider holds what every provider does alike: one exchange with an upstream, from the request
// to a classified refusal, a whole answer or a stream. What is particular to one vendor's protocol lives
// in a folder of its own: openai (with a row per compatible vendor), anthropic, gemini.
package provider

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

const (
	maxRefusal = 64 << 10 // bytes read of a refusal
	maxAnswer  = 32 << 20 // bytes of an answer that is not streamed, unless the attempt says otherwise
)

// Values of headers that every request has. They are shared, and never changed.
var (
	JSON        = []string{"application/json"}
	EventStream = []string{"text/event-stream"}
)

// Exchange sends one attempt and reads the reply in u's format. Refusals and broken answers are *llm.Error.
// When the attempt is raw and the client speaks u's format, events pass undecoded.
func Exchange(ctx context.Context, t llm.Transport, a *llm.Attempt, u wire.Upstream, req *llm.Request, enc *llm.Encoding) (*llm.Reply, error) {
	raw := a.Raw && u.Format() == a.Format
	req.ID = a.ID
	resp, err := t.Send(ctx, req)
	if err != nil {
		return nil, err
	}
	told := tells{string(req.Auth.Secret), req.Header}
	if resp.Status < 200 || resp.Status > 299 {
		defer resp.Body.Close()
		return nil, refusal(u, resp, told)
	}
	both := new(wholeReply)
	reply := &both.Reply
	reply.Target, reply.Header, reply.Dropped = a.Target, allowed(resp.Header), dropped(enc)
	reply.Quota = wire.ReadQuota(resp.Header, time.Now())
	if a.Stream && !plain(resp) {
		if s := u.ReadStream(resp.Body, raw); s != nil {
			resp.DropHeader()
			both.discreet = discreet{s, told}
			reply.Stream = &both.discreet
			return reply, nil
		}
	}
	defer resp.Body.Close()
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream compressed its answer, which was not asked for"}
	}
	buf, err := readAnswer(resp.Body, a.MaxAnswer)
	if err != nil {
		return nil, err
	}
	ev, err := u.ReadAnswer(buf.b, raw && !a.Stream)
	if err != nil {
		buf.release()
		return nil, told.hidden(err)
	}
	if a.Stream {
		ev.Raw = nil // a plain body is no frame of a stream
	}
	both.whole = whole{ev: ev, buf: buf}
	reply.Stream = &both.whole
	return reply, nil
}

// plain says that a stream was asked for and a JSON document came: an upstream that refuses inside a 200,
// or one that does not stream. Types are not to be trusted, so the body's first byte decides; no event
// stream begins with a brace.
func plain(resp *llm.Response) bool {
	if t, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); t == "text/event-stream" {
		return false
	}
	peek := &peeked{Reader: bufio.NewReaderSize(resp.Body, 512), Closer: resp.Body}
	resp.Body = peek
	for {
		b, err := peek.Peek(1)
		if err != nil || b[0] > ' ' {
			return err == nil && b[0] == '{'
		}
		_, _ = peek.Discard(1)
	}
}

type peeked struct {
	*bufio.Reader
	io.Closer
}

func dropped(enc *llm.Encoding) []string {
	if enc == nil || len(enc.Lost) == 0 {
		return nil
	}
	names := make([]string, len(enc.Lost))
	for i, p := range enc.Lost {
		names[i] = p.At
	}
	return names
}

// refusal reads and classifies an answer other than 2xx.
func refusal(u wire.Upstream, resp *llm.Response, told tells) error {
	if resp.Status >= 300 && resp.Status < 400 {
		return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream answered with a redirect, which is never followed"}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil && len(body) == 0 {
		return wire.Broken(err)
	}
	e := u.ReadError(resp.Status, resp.Header, told.hide(body)) // before it is cut short: a part of a secret is one, too
	if e.Err == nil {
		e.Err = refused{resp.Status}
	}
	return e
}

// refused keeps the upstream's status for the log.
type refused struct{ status int }

// Status is the upstream's status.
func (r refused) Status() int { return r.status }

func (r refused) Error() string { return "upstream answered " + http.StatusText(r.status) }

// passed are the answer's headers that may travel to the client: nothing that names the account, the
// deployment or the host behind us.
var passed = []string{"X-Sluice-Estimated"}

func allowed(h http.Header) http.Header {
	var out http.Header
	for _, name := range passed {
		if v := h[name]; len(v) > 0 {
			if out == nil {
				out = make(http.Header, 1)
			}
			out[name] = v
		}
	}
	return out
}

// A buffer holds an answer that is not streamed.
type buffer struct{ b []byte }

// Answers up to this size keep their buffer for the next one.
const pooled = 256 << 10

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 8<<10)} }}

func (b *buffer) release() {
	if cap(b.b) <= pooled {
		buffers.Put(b)
	}
}

func readAnswer(r io.Reader, most int64) (*buffer, error) {
	if most <= 0 {
		most = maxAnswer
	}
	b := buffers.Get().(*buffer)
	b.b = b.b[:0]
	for cap(b.b) < pooled || len(b.b) < cap(b.b) {
		if len(b.b) == cap(b.b) {
			b.b = append(b.b, 0)[:len(b.b)]
		}
		n, err := r.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		switch {
		case int64(len(b.b)) > most:
			b.release()
			return nil, errTooLarge
		case err == io.EOF:
			return b, nil
		case err != nil:
			b.release()
			return nil, wire.Broken(err)
		}
	}
	defer b.release()
	return readLarge(b.b, r, most)
}

var errTooLarge = &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer is too large"}

// piece is how much is read at a time of a large answer, in bytes.
const piece = 1 << 20

// readLarge reads on where a large answer has begun. It gathers pieces and joins them at the end: a buffer that grows
// leaves its smaller selves behind, which took four times the answer's own size.
func readLarge(begun []byte, r io.Reader, most int64) (*buffer, error) {
	pieces, total := [][]byte{begun}, int64(len(begun))
	for p := []byte(nil); ; {
		if len(p) == cap(p) {
			p = make([]byte, 0, piece)
			pieces = append(pieces, p)
		}
		n, err := r.Read(p[len(p):cap(p)])
		p = p[:len(p)+n]
		pieces[len(pieces)-1] = p
		switch total += int64(n); {
		case total > most:
			return nil, errTooLarge
		case err == io.EOF:
			whole := make([]byte, 0, total)
			for _, p := range pieces {
				whole = append(whole, p...)
			}
			return &buffer{whole}, nil
		case err != nil:
			return nil, wire.Broken(err)
		}
	}
}

// A wholeReply is a reply and its stream: one allocation.
type wholeReply struct {
	llm.Reply
	whole    whole
	discreet discreet
}

// A whole is the stream of an answer that came in one piece.
type whole struct {
	ev   *llm.Event
	buf  *buffer
	done bool
}

func (w *whole) Next() (*llm.Event, error) {
	if w.done || w.ev == nil {
		return nil, io.EOF
	}
	w.done = true
	return w.ev, nil
}

func (w *whole) Close() error {
	if w.buf != nil {
		w.buf.release()
		w.buf, w.ev = nil, nil
	}
	return nil
}

// maxList bounds a list of models, or a page of one, in bytes: OpenRouter's has half a megabyte.
const maxList = 8 << 20

// Get reads a small document of an upstream whole, such as its list of models.
func Get(ctx context.Context, t llm.Transport, u wire.Upstream, to *url.URL, h http.Header, auth llm.Auth) ([]byte, error) {
	resp, err := t.Send(ctx, &llm.Request{Method: http.MethodGet, URL: to, Header: h, Auth: auth})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.Status < 200 || resp.Status > 299 {
		return nil, refusal(u, resp, tells{string(auth.Secret), h})
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxList+1))
	switch {
	case err != nil:
		return nil, wire.Broken(err)
	case len(body) > maxList:
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's list of models is too large"}
	}
	return body, nil
}

// Page reads one page of an upstream's list: to with query, as T.
func Page[T any](ctx context.Context, t llm.Transport, u wire.Upstream, to *url.URL, query url.Values, h http.Header, auth llm.Auth) (*T, error) {
	at := *to
	at.RawQuery = query.Encode()
	body, err := Get(ctx, t, u, &at, h, auth)
	if err != nil {
		return nil, err
	}
	page := new(T)
	if err := json.Unmarshal(body, page); err != nil {
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's list of models cannot be read", Err: err}
	}
	return page, nil
}

// state are the members of a Responses request that lean on what the upstream remembers.
var state = []string{"previous_response_id", "conversation", "background", "store"}

// Stateless refuses a Responses request that only an upstream which speaks Responses can answer. A lenient
// target does not change that: without its past the conversation would be another one.
func Stateless(a *llm.Attempt) error {
	if a.Format != llm.OpenAIResponses {
		return nil
	}
	payload, err := a.Body.Payload()
	if err != nil {
		return err
	}
	chat, ok := payload.(*llm.Chat)
	if !ok {
		return nil
	}
	e := &llm.Error{Kind: llm.KindUnsupported, Msg: "the model's upstream does not keep responses"}
	for _, name := range state {
		if v := string(chat.Extra[name]); v != "" && v != "null" && v != "false" {
			e.Problems = append(e.Problems, llm.Problem{At: "/" + name, Msg: "needs an upstream that speaks the Responses API itself; send the whole conversation in input instead"})
		}
	}
	if e.Problems == nil {
		return nil
	}
	e.Param = strings.TrimPrefix(e.Problems[0].At, "/")
	return e
}
