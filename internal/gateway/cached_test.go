package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/cache"
	"sluice/internal/guard"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/usage"
	"sluice/internal/wire/openai"
)

// shelf is a house with a cache, whose upstream answers as the OpenAI format reads it.
type shelf struct {
	*house
	store *cache.Memory
	calls atomic.Int64
}

const (
	kept     = `{"id":"1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`
	keptFlow = `data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}` + "\n\n" +
		`data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" +
		`data: {"id":"1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}` + "\n\n" + "data: [DONE]\n\n"
)

func read(_ *llm.Target, _ llm.Format, stream, raw bool, body []byte) (llm.Stream, error) {
	if stream {
		return openai.Chat.ReadStream(io.NopCloser(strings.NewReader(string(body))), raw), nil
	}
	ev, err := openai.Chat.ReadAnswer(body, raw)
	if err != nil {
		return nil, err
	}
	return &once{ev}, nil
}

func newShelf(t testing.TB, whole, flow string) *shelf {
	t.Helper()
	s := &shelf{store: cache.NewMemory(1<<20, nil)}
	s.house = newHouse(func(_ context.Context, a *llm.Attempt) (llm.Stream, error) {
		s.calls.Add(1)
		body := whole
		if a.Stream {
			body = flow
		}
		return read(nil, "", a.Stream, a.Raw, []byte(body))
	})
	s.state.Auth = identify(func(r *http.Request) (*auth.Who, error) {
		return &auth.Who{Name: r.Header.Get("X-Api-Key"), Org: "o", Team: r.Header.Get("X-Team"), Models: []string{"m*"}}, nil
	})
	c, err := cache.New(cache.Options{Store: s.store, Secret: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	s.state.Cache, s.state.CacheRules = c, &cache.Rules{
		General: cache.Exact, Level: cache.ByKey, TTL: time.Minute, MaxAnswer: 1 << 20, MaxTemperature: 0.3, Wait: 20 * time.Second, Read: read,
	}
	t.Cleanup(c.Close)
	return s
}

func (s *shelf) ask(t *testing.T, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	h := http.Header{"X-Api-Key": {"k"}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return s.serve(t, client{header: h, body: newBody(body)})
}

func newBody(s string) *body { return &body{Reader: strings.NewReader(s)} }

func (s *shelf) want(t *testing.T, rec *httptest.ResponseRecorder, state string, calls int64, body string) {
	t.Helper()
	if got := rec.Header().Get("X-Sluice-Cache"); got != state || s.calls.Load() != calls || body != "" && rec.Body.String() != body {
		t.Errorf("%s after %d calls (%d): %s; want %s after %d", got, s.calls.Load(), rec.Code, rec.Body, state, calls)
	}
}

// The same answer comes again as it came, streamed or not, and each form has its own.
func TestCacheReplays(t *testing.T) {
	s := newShelf(t, kept, keptFlow)
	s.want(t, s.ask(t, ask), "miss", 1, kept)
	s.want(t, s.ask(t, ` {"messages":[{"content":"\u0078","role":"user"}],"model":"m"}`), "hit", 1, kept) // members in another order
	flow := strings.Replace(keptFlow, `data: {"id":"1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`+"\n\n", "", 1)
	s.want(t, s.ask(t, askStream), "miss", 2, flow) // the usage was not asked for
	s.want(t, s.ask(t, askStream), "hit", 2, flow)
	s.want(t, s.ask(t, strings.Replace(askStream, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)), "miss", 3, keptFlow)
	rec := s.ask(t, ask)
	if rec.Header().Get("Age") != "0" || rec.Header().Get("X-Sluice-Attempts") != "0" {
		t.Errorf("a hit says %v", rec.Header())
	}
}

// What a request says of the cache holds.
func TestCacheControl(t *testing.T) {
	s := newShelf(t, kept, keptFlow)
	s.want(t, s.ask(t, ask, "Cache-Control", "no-store"), "bypass", 1, kept)
	s.want(t, s.ask(t, ask), "miss", 2, kept) // nothing was kept
	s.want(t, s.ask(t, ask, "Cache-Control", "no-cache"), "bypass", 3, kept)
	s.want(t, s.ask(t, ask, "Cache-Control", "max-age=0"), "bypass", 4, kept)
	s.want(t, s.ask(t, ask, "Cache-Control", "max-age=100, private"), "hit", 4, kept)
	s.want(t, s.ask(t, ask, "X-Sluice-Cache-Namespace", "mine"), "miss", 5, kept)
	s.want(t, s.ask(t, ask, "X-Sluice-Cache-Namespace", "mine"), "hit", 5, kept)
	for name, v := range map[string]string{"Cache-Control": "max-age=soon", "X-Sluice-Cache-Namespace": strings.Repeat("x", 129)} {
		if rec := s.ask(t, ask, name, v); rec.Code != http.StatusBadRequest {
			t.Errorf("%s %s: %d", name, v, rec.Code)
		}
	}
}

// Requests and answers that are not for the cache.
func TestCacheRefuses(t *testing.T) {
	for why, body := range map[string]string{
		cache.WhyTemperature: `{"model":"m","temperature":0.7,"messages":[{"role":"user","content":"x"}]}`,
		cache.WhyChoices:     `{"model":"m","n":2,"messages":[{"role":"user","content":"x"}]}`,
		cache.WhyState:       `{"model":"m","store":true,"messages":[{"role":"user","content":"x"}]}`,
	} {
		s := newShelf(t, kept, keptFlow)
		rec := s.ask(t, body)
		s.want(t, rec, "bypass", 1, "")
		if got := rec.Header().Get("X-Sluice-Cache-Reason"); got != why {
			t.Errorf("%s: told %s", why, got)
		}
	}
	with := func(old, now string) string { return strings.Replace(kept, old, now, 1) }
	for why, whole := range map[string]string{
		cache.WhyPartial:   with(`"stop"`, `"length"`),
		cache.WhyFiltered:  with(`"stop"`, `"content_filter"`),
		cache.WhyToolCalls: with(`"content":"hi"`, `"content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]`),
		cache.WhyRefused:   with(`"content":"hi"`, `"content":null,"refusal":"no"`),
		cache.WhyEmpty:     with(`"hi"`, `""`),
	} {
		s := newShelf(t, whole, keptFlow)
		s.want(t, s.ask(t, ask), "miss", 1, whole)
		s.want(t, s.ask(t, ask), "miss", 2, whole)
		s.state.Cache.Close()
		if n, _ := s.store.Size(); n != 0 || s.state.Cache.Stats().Refused[why] == 0 {
			t.Errorf("%s: %d are kept; %v", why, n, s.state.Cache.Stats().Refused)
		}
	}
}

// An answer that breaks off, and one whose client leaves, is not kept.
func TestCacheKeepsNothingPartial(t *testing.T) {
	s := newShelf(t, kept, strings.TrimSuffix(keptFlow, "data: [DONE]\n\n")[:200])
	s.want(t, s.ask(t, askStream), "miss", 1, "")
	s.want(t, s.ask(t, askStream), "miss", 2, "")
	s = newShelf(t, kept, keptFlow)
	h := http.Header{"X-Api-Key": {"k"}}
	ctx, cancel := context.WithCancel(t.Context())
	s.serve(t, client{header: h, body: newBody(askStream), ctx: ctx, w: &leaver{httptest.NewRecorder(), 1, cancel}})
	cancel()
	s.state.Cache.Close()
	if n, _ := s.store.Size(); n != 0 {
		t.Errorf("%d are kept", n)
	}
}

// Keys share nothing, unless they are a team's or an organisation's that may.
func TestCacheScopes(t *testing.T) {
	for _, tt := range []struct {
		level               cache.Level
		otherKey, otherTeam string
	}{{cache.ByKey, "miss", "miss"}, {cache.ByTeam, "hit", "miss"}, {cache.ByOrg, "hit", "hit"}} {
		s := newShelf(t, kept, keptFlow)
		s.state.CacheRules.Level = tt.level
		s.ask(t, ask, "X-Team", "a")
		if got := s.ask(t, ask, "X-Team", "a", "X-Api-Key", "other").Header().Get("X-Sluice-Cache"); got != tt.otherKey {
			t.Errorf("%s: another key of the team has a %s", tt.level, got)
		}
		if got := s.ask(t, ask, "X-Team", "b", "X-Api-Key", "third").Header().Get("X-Sluice-Cache"); got != tt.otherTeam {
			t.Errorf("%s: a key of another team has a %s", tt.level, got)
		}
	}
}

// Of what was kept, nothing is charged: no money, no tokens of a budget, and what was held is free again.
func TestCacheCostsNothing(t *testing.T) {
	rule := &llm.Rule{Name: "r", Budgets: []llm.Budget{{Tokens: 1e9, Every: llm.Daily, Mode: llm.Hard}}, Tokens: []llm.Pace{{N: 1e9, Per: time.Hour}}}
	s := newShelf(t, kept, keptFlow)
	who := &auth.Who{Name: "k", Org: "o", Models: []string{"m*"}, Rules: []llm.Bound{{Subject: "key:k", Rule: rule}}}
	s.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return who, nil })
	s.state.Limiter = quota.New(quota.Options{Store: quota.NewMemory(nil), Spent: func(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
		levels := make([]quota.Level, len(qs))
		for i := range qs {
			levels[i].Counter = qs[i].Counter
		}
		return levels, nil
	}})
	books := &books{rows: map[string][]usage.Row{}}
	j, err := usage.OpenJournal(usage.JournalOptions{Dir: t.TempDir(), Store: books, Settle: func(ctx context.Context, l *usage.Settlements) error { return settle(ctx, s.state.Limiter, l) }})
	if err != nil {
		t.Fatal(err)
	}
	s.state.Ledger = usage.New(usage.Options{Journal: j, Price: func(m *usage.Mark, _ time.Time) { m.Costs, m.PriceVersion = costs(&m.Usage), "v" }})
	first, second := s.ask(t, ask), s.ask(t, ask)
	s.want(t, second, "hit", 1, kept)
	if second.Header().Get("X-Sluice-Cost") != "0" || first.Header().Get("X-Sluice-Cost") == "0" {
		t.Errorf("told costs of %s and %s", first.Header().Get("X-Sluice-Cost"), second.Header().Get("X-Sluice-Cost"))
	}
	if err := j.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := j.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, b := books.rows[first.Header().Get("X-Request-Id")][0], books.rows[second.Header().Get("X-Request-Id")][0]
	if b.Cache != "exact" || b.Costs != (usage.Costs{}) || b.Saved != a.Costs.Total() || a.Saved != 0 || b.Tokens() != 0 || !cmp.Equal(a.Usage, b.Usage) {
		t.Errorf("rows: %+v and %+v", a, b)
	}
	list, err := s.state.Limiter.Status(t.Context(), who)
	standing := quota.Tell(list)
	if err != nil || len(standing.Budgets) != 1 || standing.Budgets[0].Spent != "7" || standing.Budgets[0].Held != "0" {
		t.Errorf("standing: %+v, %v", standing, err)
	}
	if err := j.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// people is a detector of two names.
type people struct{ ann }

func (people) Detect(_ context.Context, texts []string, found func(int, guard.Finding)) error {
	for i, text := range texts {
		for _, name := range []string{"ann", "bob"} {
			if at := strings.Index(text, name); at >= 0 {
				found(i, guard.Finding{Type: "NAME", Start: at, End: at + len(name)})
			}
		}
	}
	return nil
}

// What guards take out of a request is no part of its key, and comes back to whom it belongs. What they leave in it is nobody
// else's: such an answer is not kept.
func TestCacheBehindGuards(t *testing.T) {
	for _, tt := range []struct {
		mode   guard.Mode
		states [3]string
		calls  int64
	}{
		{guard.Restore, [3]string{"miss", "hit", "miss"}, 2},
		{guard.Observe, [3]string{"bypass", "bypass", "miss"}, 3},
	} {
		t.Run(tt.mode.String(), func(t *testing.T) {
			s := newShelf(t, strings.Replace(kept, `"hi"`, `"dear <NAME_1>"`, 1), keptFlow)
			var err error
			if s.state.Guards, err = guard.New([]guard.Options{{Name: "g", Always: true, Mode: tt.mode, Detectors: []guard.Detector{people{}}}}, nil); err != nil {
				t.Fatal(err)
			}
			for i, name := range []string{"ann", "bob", "nobody"} {
				rec := s.ask(t, strings.Replace(ask, `"x"`, `"I am `+name+`"`, 1))
				if got := rec.Header().Get("X-Sluice-Cache"); got != tt.states[i] {
					t.Errorf("%s: %s, want %s", name, got, tt.states[i])
				}
				if got := rec.Body.String(); tt.mode == guard.Restore && i < 2 && !strings.Contains(got, "dear "+name) {
					t.Errorf("%s is answered %s", name, got)
				}
				if why := rec.Header().Get("X-Sluice-Cache-Reason"); (tt.states[i] == "bypass") != (why == cache.WhyPersonal) {
					t.Errorf("%s: the reason is %q", name, why)
				}
			}
			if got := s.calls.Load(); got != tt.calls {
				t.Errorf("%d calls, want %d", got, tt.calls)
			}
		})
	}
}
