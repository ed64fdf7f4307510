package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/auth"
	"sluice/internal/idempotency"
	"sluice/internal/llm"
	"sluice/internal/usage"
)

// twins is a house that makes named calls once; its caller is the one of X-Who.
func twins(reply func(context.Context, *llm.Attempt) (llm.Stream, error), most int) (*house, *idempotency.Keys) {
	h := newHouse(reply)
	keys := idempotency.New(idempotency.Options{Store: idempotency.NewMemory(1<<20, nil), Most: most})
	h.state.Once = keys
	h.state.Auth = identify(func(r *http.Request) (*auth.Who, error) {
		return &auth.Who{Name: r.Header.Get("X-Who"), Org: "default", Models: []string{"m"}}, nil
	})
	return h, keys
}

func named(name, who, text string) client {
	return client{header: http.Header{"Idempotency-Key": {name}, "X-Who": {who}}, body: &body{Reader: strings.NewReader(text)}}
}

func TestOnce(t *testing.T) {
	fails := false
	h, keys := twins(func(context.Context, *llm.Attempt) (llm.Stream, error) {
		if fails {
			return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "no"}
		}
		return &script{frames: []string{whole}, err: io.EOF}, nil
	}, 0)
	defer keys.Close()
	other := strings.Replace(ask, `"x"`, `"y"`, 1)
	for _, c := range []struct {
		name, key, who, body string
		fails                bool
		status, asked        int
		replayed             bool
	}{
		{"first", "a", "ann", ask, false, 200, 1, false},
		{"again", "a", "ann", ask, false, 200, 1, true},
		{"another's", "a", "bob", ask, false, 200, 2, false},
		{"another body", "a", "ann", other, false, 422, 2, false},
		{"a failure", "b", "ann", ask, true, 502, 3, false},
		{"after a failure", "b", "ann", ask, false, 200, 4, false},
		{"then again", "b", "ann", ask, true, 200, 4, true},
		{"a bad name", "ä", "ann", ask, false, 400, 4, false},
		{"an SDK's", "stainless-python-retry-1", "ann", ask, false, 200, 5, false},
		{"an SDK's again", "stainless-python-retry-1", "ann", ask, false, 200, 5, true},
		{"no name", "", "ann", ask, false, 200, 6, false},
	} {
		fails = c.fails
		rec := h.serve(t, named(c.key, c.who, c.body))
		if rec.Code != c.status || len(h.up.asked) != c.asked || (rec.Header().Get("Idempotent-Replayed") == "true") != c.replayed {
			t.Errorf("%s: status %d, %d calls, %v; body %s", c.name, rec.Code, len(h.up.asked), rec.Header(), rec.Body)
		}
		if c.status == 200 && rec.Body.String() != whole {
			t.Errorf("%s: answered %q", c.name, rec.Body)
		}
		if e := h.entries[len(h.entries)-1]; c.replayed && (rec.Header().Get("X-Sluice-Original-Request") == "" || e.Usage.Output.Known || e.Attempts != 0) {
			t.Errorf("%s: a replay is accounted as %+v", c.name, e)
		}
	}
}

func TestOnceStream(t *testing.T) {
	h, keys := twins(answers(frame, frame, done), len(frame+frame+done))
	defer keys.Close()
	for i := range 2 {
		rec := h.serve(t, named("a", "ann", askStream))
		if rec.Body.String() != frame+frame+done || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/event-stream") {
			t.Errorf("%d: answered %q as %v", i, rec.Body, rec.Header())
		}
	}
	if n := len(h.up.asked); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	h.up.reply = answers(frame, frame, frame, done) // more than is kept
	if rec := h.serve(t, named("b", "ann", askStream)); rec.Body.String() != frame+frame+frame+done {
		t.Errorf("answered %q", rec.Body)
	}
	if rec := h.serve(t, named("b", "ann", askStream)); rec.Code != 422 {
		t.Errorf("after a large answer: %d", rec.Code)
	}
}

// TestFiftyTwins send one request at the same time: one call is made, and who comes again has its answer.
func TestFiftyTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		h, keys := twins(func(context.Context, *llm.Attempt) (llm.Stream, error) {
			<-slow
			return &script{frames: []string{whole}, err: io.EOF}, nil
		}, 0)
		var all sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		h.state.Ledger = usage.New(usage.Options{Record: func(*usage.Entry) {}})
		for range 50 {
			all.Go(func() {
				rec := h.serve(t, named("a", "ann", ask))
				mu.Lock()
				codes[rec.Code]++
				mu.Unlock()
			})
		}
		synctest.Wait()
		close(slow)
		all.Wait()
		if codes[200] != 1 || codes[409] != 49 || len(h.up.asked) != 1 {
			t.Errorf("answers by status: %v, calls: %d", codes, len(h.up.asked))
		}
		if rec := h.serve(t, named("a", "ann", ask)); rec.Code != 200 || rec.Body.String() != whole {
			t.Errorf("afterwards: %d %s", rec.Code, rec.Body)
		}
		keys.Close()
	})
}

// leaving is a client that leaves at its first byte.
type leaving struct {
	http.ResponseWriter
	leave context.CancelFunc
}

func (l *leaving) Write([]byte) (int, error) { l.leave(); return 0, errors.New("gone") }

// TestTheCallGoesOn has a client leave: with a name, or where the configuration says so, the upstream's answer is
// read to its end; else it is not.
func TestTheCallGoesOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		key    string
		linger time.Duration
		read   bool
	}{{"plain", "", 0, false}, {"named", "a", 0, true}, {"drained", "", time.Minute, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, keys := twins(func(ctx context.Context, _ *llm.Attempt) (llm.Stream, error) {
					return &patient{ctx: ctx, script: script{frames: []string{frame, frame, frame, done}, err: io.EOF}}, nil
				}, 0)
				h.state.Linger = c.linger
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				call := named(c.key, "ann", askStream)
				call.ctx, call.w = ctx, &leaving{httptest.NewRecorder(), leave}
				h.serve(t, call)
				e := h.entries[0]
				if kind := llm.AsError(e.Err).Kind; kind != llm.KindClientGone {
					t.Errorf("accounted as %v", e.Err)
				}
				if got := e.Usage.Output.Known && e.Frames == 4; got != c.read {
					t.Errorf("read to its end: %v, %d frames", got, e.Frames)
				}
				if c.key != "" {
					if rec := h.serve(t, named(c.key, "ann", askStream)); rec.Body.String() != frame+frame+frame+done {
						t.Errorf("who came back got %d %q", rec.Code, rec.Body)
					}
				}
				keys.Close()
			})
		})
	}
}

// patient is a stream that takes a second for each frame, and ends with its context.
type patient struct {
	script
	ctx context.Context
}

func (p *patient) Next() (*llm.Event, error) {
	select {
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	case <-time.After(time.Second):
		return p.script.Next()
	}
}

// TestLingerEnds bounds how long a call outlives its client, and leaves the end of the program to itself.
func TestLingerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			cause error
			after time.Duration
		}{{context.Canceled, time.Minute}, {fmt.Errorf("over: %w", &llm.Error{Kind: llm.KindOverloaded}), 0}} {
			client, leave := context.WithCancelCause(t.Context())
			ctx, end := linger(client, time.Minute)
			start := time.Now()
			leave(c.cause)
			<-ctx.Done()
			if took := time.Since(start); took != c.after {
				t.Errorf("%v: ended after %v, want %v", c.cause, took, c.after)
			}
			end()
		}
	})
}
