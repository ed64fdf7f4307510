package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/cache"
	"sluice/internal/catalog"
	"sluice/internal/llm"
	vendor "sluice/internal/provider/openai"
	"sluice/internal/usage"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

// A speech is a chat format, seen from both sides.
type speech interface {
	wire.Format
	wire.Upstream
}

var speeches = map[llm.Format]speech{
	llm.OpenAIChat: openai.Chat, llm.OpenAIResponses: responses.Responses, llm.AnthropicMessages: anthropic.Messages, llm.GeminiGenerate: gemini.Generate,
}

// dear is a price in which every kind of token costs something else.
var dear = catalog.Price{Version: "dear", Rates: catalog.Rates{
	Input: 2_000_000, CacheRead: 300_000, CacheWrite: 5_000_000, CacheWrite1h: 7_000_000, AudioInput: 11_000_000, ImageInput: 13_000_000,
	Output: 17_000_000, Reasoning: 19_000_000, AudioOutput: 23_000_000, ImageOutput: 29_000_000,
}, Fees: map[string]llm.Nano{"web_search": 31_000_000}}

// books are a usage.Store that only takes rows.
type books struct {
	usage.Store
	mu      sync.Mutex
	rows    map[string][]usage.Row
	shipped uint64
}

func (b *books) Join(context.Context, string) (usage.Standing, error) { return usage.Standing{}, nil }

func (b *books) Ship(_ context.Context, batch *usage.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch.Rows {
		r, err := batch.Row(i)
		if err != nil {
			return err
		}
		b.rows[r.RequestID] = append(b.rows[r.RequestID], r)
	}
	b.shipped = batch.Position
	return nil
}

func (b *books) Shipped(context.Context, string) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shipped, nil
}

func (b *books) Claim(context.Context, string, time.Duration) ([]usage.Open, error) { return nil, nil }
func (b *books) Prepare(context.Context, time.Time) error                           { return nil }
func (b *books) Retain(context.Context, time.Time, time.Time) error                 { return nil }

// A shop bills answers through the real meter and journal.
type shop struct {
	books   books
	journal *usage.Journal
	ledger  *usage.Ledger
	count   *vendor.Tokenizer
	calls   int
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{books: books{rows: map[string][]usage.Row{}}, count: vendor.NewTokenizer()}
	var err error
	s.journal, err = usage.OpenJournal(usage.JournalOptions{Dir: t.TempDir(), Store: &s.books, Count: s.counted})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.journal.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	s.ledger = usage.New(usage.Options{Journal: s.journal, Price: func(m *usage.Mark, _ time.Time) {
		m.Costs, m.PriceVersion = costs(&m.Usage), dear.Version
	}})
	return s
}

// counted counts what an upstream did not tell.
func (s *shop) counted(ctx context.Context, x *usage.Sample) (input, output int64, err error) {
	f := speeches[x.Answered]
	a := new(llm.Answer)
	if x.Stream {
		a, _, _ = wiretest.Gather(f.ReadStream(io.NopCloser(bytes.NewReader(x.Answer)), false)) // it may be cut
	} else if ev, err := f.ReadAnswer(x.Answer, false); err == nil {
		a.Add(ev)
	}
	for i := range a.Choices {
		n, err := s.count.Parts(ctx, a.Choices[i].Parts)
		if err != nil {
			return 0, 0, err
		}
		output += n
	}
	return int64(len(x.Request)), output, nil
}

func costs(u *llm.Usage) usage.Costs {
	c := dear.Cost(u)
	return usage.Costs{
		Input: c.Input, CacheRead: c.CacheRead, CacheWrite: c.CacheWrite, CacheWrite1h: c.CacheWrite1h, Output: c.Output, Reasoning: c.Reasoning,
		Audio: c.AudioInput.Plus(c.AudioOutput), Image: c.ImageInput.Plus(c.ImageOutput), Tools: c.Tools,
	}
}

// A purchase is a call to be billed.
type purchase struct {
	stream llm.Stream
	client speech
	ask    *llm.Call
	raw    bool
	writes int // the client leaves after so many; 0: it stays
	cache  *cache.Cache
	rules  *cache.Rules // with cache
	asks   string       // a name for the request at the cache
}

// sell serves a call and gives what its client got, and its request id.
func (s *shop) sell(t *testing.T, p purchase) (id string, got []byte) {
	t.Helper()
	s.calls++
	id = fmt.Sprintf("req_%d", s.calls)
	e := s.ledger.Open(id, p.client.Format(), "192.0.2.1")
	e.Caller(&auth.Who{Org: "o", Name: "k"})
	e.Call(p.ask)
	visit := p.cache.Lookup(t.Context(), p.rules, &cache.Ask{
		Who: &auth.Who{Org: "o", Name: "k"}, Call: p.ask, Body: []byte(`{"asks":"` + p.asks + `"}`), Mode: cache.Exact, Raw: p.raw,
	})
	if err := e.Begin(usage.Hold{}); err != nil {
		t.Fatal(err)
	}
	reply, trace := given(visit, e)
	if reply == nil {
		reply = &llm.Reply{Stream: p.stream, Target: llm.Target{Provider: "p", Model: id}} // nothing was learned of it
		trace = &llm.Trace{Attempts: 1, Target: &reply.Target}
	}
	e.Met(trace)
	visit.Keep(reply, trace)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &leaver{ResponseRecorder: httptest.NewRecorder(), left: p.writes, leave: cancel}
	reply.Stream = e.Meter(reply.Stream, usage.Hooks{})
	out, err := wire.WriteReply(ctx, w, p.client, p.ask, reply, p.raw, wire.WriteLimits{})
	_ = reply.Close()
	e.Wrote(out.Bytes, out.Frames, out.Began)
	e.Err, e.Status = err, http.StatusOK
	e.Close()
	visit.Close(ctx)
	return id, w.Body.Bytes()
}

// row is the one row of a call.
func (s *shop) row(t *testing.T, id string) *usage.Row {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.journal.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	rows := s.books.rows[id]
	if len(rows) != 1 {
		t.Fatalf("%s has %d rows", id, len(rows))
	}
	return &rows[0]
}

// A leaver is a client that leaves after so many writes.
type leaver struct {
	*httptest.ResponseRecorder
	left  int
	leave func()
}

func (l *leaver) Write(b []byte) (int, error) {
	if l.left > 0 {
		if l.left--; l.left == 0 {
			defer l.leave()
			n, _ := l.ResponseRecorder.Write(b)
			return n, io.ErrClosedPipe
		}
	}
	return l.ResponseRecorder.Write(b)
}

// once is a whole answer.
type once struct{ ev *llm.Event }

func (o *once) Next() (*llm.Event, error) {
	ev := o.ev
	if o.ev = nil; ev == nil {
		return nil, io.EOF
	}
	return ev, nil
}
func (*once) Close() error { return nil }

// silent is a stream that tells no usage.
type silent struct{ llm.Stream }

func (s silent) Next() (*llm.Event, error) {
	ev, err := s.Stream.Next()
	if ev != nil {
		ev.Usage = nil
	}
	return ev, err
}

// random is a source that gives random pieces.
type random struct {
	io.Reader
	r *rand.Rand
}

func (r random) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 1+r.r.IntN(200))]) }

// A product is one answer in its own format, in both ways of telling it.
type product struct {
	from          speech
	request       []byte
	stream, whole []byte
	usage         llm.Usage
	answers       int
}

// products are all answers that there are, each as it was recorded and told in the other way, too.
func products(t *testing.T, each func(t *testing.T, p *product)) {
	n := 0
	for _, r := range wiretest.All(t) {
		f := speeches[r.Format()]
		if f == nil || r.Refused() {
			continue
		}
		p, ok := newProduct(t, f, r)
		if !ok {
			continue
		}
		n++
		t.Run(r.String(), func(t *testing.T) { each(t, p) })
	}
	if n < 40 {
		t.Errorf("only %d answers", n)
	}
}

func newProduct(t *testing.T, f speech, r *wiretest.Recording) (*product, bool) {
	t.Helper()
	p := &product{from: f, request: r.Ask, answers: 1}
	recorded := r.Answer
	if small := new(bytes.Buffer); json.Compact(small, recorded) == nil { // a line break within a member has no place in a stream
		recorded = small.Bytes()
	}
	a := new(llm.Answer)
	if r.Stream {
		var err error
		if a, _, err = wiretest.Gather(f.ReadStream(io.NopCloser(bytes.NewReader(recorded)), false)); err != nil {
			return nil, false // a stream that fails
		}
	} else {
		ev, err := f.ReadAnswer(recorded, false)
		if err != nil {
			return nil, false
		}
		a.Add(ev)
	}
	p.answers = max(1, len(a.Choices))
	if a.Usage != nil {
		p.usage = *a.Usage
	}
	ask := p.ask(f, true)
	var err error
	if r.Stream {
		p.stream = recorded
		p.whole, err = f.Answer(ask, a)
	} else {
		p.whole = recorded
		w, ev := f.Writer(ask), (*llm.Event)(nil)
		if ev, err = f.ReadAnswer(recorded, false); err == nil {
			ev.Raw = nil
			if p.stream, err = w.Event(nil, ev); err == nil {
				p.stream = w.End(p.stream)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, true
}

// ask is the call that it answers, made by a client of one format.
func (p *product) ask(client speech, stream bool) *llm.Call {
	c := &llm.Call{
		ID: "req", Format: client.Format(), Op: llm.OpChat, Model: "m", Stream: stream, WantUsage: true, Choices: int64(p.answers), Query: url.Values{"alt": {"sse"}},
	}
	body := p.request
	if len(body) == 0 {
		body = []byte(`{"model":"m","messages":[{"role":"user","content":"what was asked is not known"}]}`)
	}
	c.Body = llm.NewBody(client, body, llm.Marks{})
	return c
}

func (p *product) read(raw bool) llm.Stream { return p.readFrom(bytes.NewReader(p.stream), raw) }

func (p *product) readFrom(r io.Reader, raw bool) llm.Stream {
	return p.from.ReadStream(io.NopCloser(r), raw)
}

func (p *product) answer(t *testing.T, raw bool) llm.Stream {
	t.Helper()
	ev, err := p.from.ReadAnswer(p.whole, raw)
	if err != nil {
		t.Fatal(err)
	}
	return &once{ev}
}

// The same answer costs the same however it is told: passed on, translated, whole or streamed, in whatever pieces. What
// a cache tells is billed by the same rules (TestBillsOfKept).
func TestBillsAgree(t *testing.T) {
	s := newShop(t)
	products(t, func(t *testing.T, p *product) {
		rnd := rand.New(rand.NewPCG(1, uint64(len(p.stream)))) // the same pieces each time
		ways := map[string]purchase{
			"stream, passed on":    {stream: p.read(true), client: p.from, raw: true},
			"stream, decoded":      {stream: p.read(false), client: p.from},
			"stream, in pieces":    {stream: p.readFrom(random{bytes.NewReader(p.stream), rnd}, true), client: p.from, raw: true},
			"stream, byte by byte": {stream: p.readFrom(iotest.OneByteReader(bytes.NewReader(p.stream)), false), client: p.from},
			"whole, passed on":     {stream: p.answer(t, true), client: p.from, raw: true, ask: p.ask(p.from, false)},
			"whole, decoded":       {stream: p.answer(t, false), client: p.from, ask: p.ask(p.from, false)},
		}
		for name, client := range speeches {
			if client.Format() != p.from.Format() {
				ways["stream, for "+string(name)] = purchase{stream: p.read(true), client: client, raw: true}
				ways["whole, for "+string(name)] = purchase{stream: p.answer(t, false), client: client, ask: p.ask(client, false)}
			}
		}
		ids := map[string]string{}
		for way, b := range ways {
			if b.ask == nil {
				b.ask = p.ask(b.client, true)
				if b.client.Format() != p.from.Format() { // frames are decoded for another format
					b.stream, b.raw = p.read(false), false
				}
			}
			ids[way], _ = s.sell(t, b)
		}
		for way, id := range ids {
			r := s.row(t, id)
			told := p.usage.Input.Known && p.usage.Output.Known
			if r.Partial || r.Estimated == told || r.Error != "" {
				t.Errorf("%s: partial %t, estimated %t, error %q; told %t", way, r.Partial, r.Estimated, r.Error, told)
			}
			if !told {
				continue
			}
			if want := costs(&p.usage); r.Costs != want {
				t.Errorf("%s (-want +got):\n%s", way, cmp.Diff(want, r.Costs))
			}
			if r.Usage.Input != p.usage.Input || r.Usage.Output != p.usage.Output {
				t.Errorf("%s: %+v, want %+v", way, r.Usage, p.usage)
			}
		}
	})
}

// received counts what a client got of a stream.
func (s *shop) received(t *testing.T, client speech, got []byte) (tokens int64) {
	t.Helper()
	a, _, _ := wiretest.Gather(client.ReadStream(io.NopCloser(bytes.NewReader(got)), false)) // it may be cut
	for i := range a.Choices {
		n, err := s.count.Parts(t.Context(), a.Choices[i].Parts)
		if err != nil {
			t.Fatal(err)
		}
		tokens += n
	}
	return tokens
}

// An answer whose upstream tells no usage is estimated, and never below what its client got.
func TestBillsWithoutUsage(t *testing.T) {
	s := newShop(t)
	products(t, func(t *testing.T, p *product) {
		for _, raw := range []bool{true, false} {
			id, got := s.sell(t, purchase{stream: silent{p.read(raw)}, client: p.from, raw: raw, ask: p.ask(p.from, true)})
			r := s.row(t, id)
			if n := s.received(t, p.from, got); !r.Estimated || r.Partial || r.Usage.Output.N < n || r.Usage.Input.N == 0 {
				t.Errorf("raw %t: %d tokens were received; told %d; the row has %+v, estimated %t, partial %t", raw, n, p.usage.Output.N, r.Usage.Output, r.Estimated, r.Partial)
			}
		}
	})
}

// A client that leaves is charged for what it got, at least, as a tokenizer counts it, and never for more than half as much
// again as the whole answer and 50 tokens: vendors' tokenizers differ that much.
func TestBillsOfLeavers(t *testing.T) {
	s := newShop(t)
	products(t, func(t *testing.T, p *product) {
		for _, raw := range []bool{true, false} {
			_, all := s.sell(t, purchase{stream: p.read(raw), client: p.from, raw: raw, ask: p.ask(p.from, true)})
			frames := bytes.Count(all, []byte("\n\n")) + bytes.Count(all, []byte("\r\n\r\n"))
			rnd := rand.New(rand.NewPCG(2, uint64(len(all)))) // the same places each time
			for range min(4, frames-1) {
				leaves := 1 + rnd.IntN(frames-1)
				id, got := s.sell(t, purchase{stream: p.read(raw), client: p.from, raw: raw, ask: p.ask(p.from, true), writes: leaves})
				r := s.row(t, id)
				if len(got) == len(all) || r.Error != llm.KindClientGone {
					continue
				}
				n := s.received(t, p.from, got)
				if r.Estimated && r.Usage.Output.N < n || !r.Partial {
					t.Errorf("raw %t, after %d of %d: %d tokens were received; told %d; the row has %+v, estimated %t, partial %t", raw, leaves, frames, n, p.usage.Output.N, r.Usage.Output, r.Estimated, r.Partial)
				}
				if most := p.usage.Output.N + p.usage.Output.N/2 + 50; p.usage.Output.Known && r.Usage.Output.N > most {
					t.Errorf("raw %t, after %d of %d: %d tokens are charged of %d", raw, leaves, frames, r.Usage.Output.N, p.usage.Output.N)
				}
			}
		}
	})
}

// reread reads a kept answer in its own format.
func reread(_ *llm.Target, f llm.Format, stream, raw bool, body []byte) (llm.Stream, error) {
	if stream {
		return speeches[f].ReadStream(io.NopCloser(bytes.NewReader(body)), raw), nil
	}
	ev, err := speeches[f].ReadAnswer(body, raw)
	if err != nil {
		return nil, err
	}
	return &once{ev}, nil
}

// An answer that the cache gives again is billed by the same rules: its row has the usage of the first, costs nothing, and has saved
// what the first cost, streamed or whole, passed on or translated, with usage told or counted; and its client gets the same bytes. A client
// who leaves is charged nothing either.
func TestBillsOfKept(t *testing.T) {
	s := newShop(t)
	kept, all := 0, 0
	products(t, func(t *testing.T, p *product) {
		c, err := cache.New(cache.Options{Store: cache.NewMemory(64<<20, nil), Secret: make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		rules := &cache.Rules{Level: cache.ByKey, TTL: time.Hour, MaxAnswer: 32 << 20, MaxTemperature: -1, ToolCalls: true, Read: reread}
		type trio struct {
			way, first, second, third string
			own                       bool
			told, again               []byte
		}
		var list []trio
		for _, client := range speeches {
			if client.Format() != p.from.Format() && (len(p.stream)+len(client.Format()))%3 != 0 && os.Getenv("SLUICE_E2E") != "full" {
				continue // a third of the translations each time
			}
			for _, way := range []string{"stream", "whole", "stream without usage"} {
				x := trio{way: way + " for " + string(client.Format()), own: client.Format() == p.from.Format()}
				buy := func(writes int) purchase {
					b := purchase{client: client, raw: x.own, ask: p.ask(client, way != "whole"), writes: writes, cache: c, rules: rules, asks: way}
					b.ask.Choices = 1
					switch way {
					case "stream":
						b.stream = p.read(x.own)
					case "whole":
						b.stream = p.answer(t, x.own)
					default:
						b.stream = silent{p.read(x.own)}
					}
					return b
				}
				x.first, x.told = s.sell(t, buy(0))
				c.Close()
				x.second, x.again = s.sell(t, buy(0))
				x.third, _ = s.sell(t, buy(2))
				list = append(list, x)
			}
		}
		for _, x := range list {
			all++
			a, b, left := *s.row(t, x.first), s.row(t, x.second), s.row(t, x.third)
			if b.Cache == "" { // what is not kept has been said in cached_test.go
				continue
			}
			kept++
			if strings.HasPrefix(x.way, "stream without usage") { // its bytes have it all the same: that the first was estimated says nothing of them
				a.Usage, a.Estimated, a.Costs = b.Usage, b.Estimated, usage.Costs{Input: b.Saved}
			}
			if !cmp.Equal(a.Usage, b.Usage) || b.Costs != (usage.Costs{}) || b.Saved != a.Costs.Total() || a.Estimated != b.Estimated || a.Partial != b.Partial || b.Attempts != 0 {
				t.Errorf("%s:\nfirst %+v\nagain %+v", x.way, a.Mark, b)
			}
			if left.Costs != (usage.Costs{}) || left.Cache == "" {
				t.Errorf("%s, left: %+v", x.way, left)
			}
			if !bytes.Equal(x.told, x.again) && x.own {
				t.Errorf("%s: the client was told\n%s\nand again\n%s", x.way, x.told, x.again)
			}
		}
	})
	if kept < all/2 {
		t.Errorf("of %d answers only %d were given again", all, kept)
	}
}
