package route

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/openai"
)

// group makes deployments of "provider:slot" words, with "@tier" and "+tag" behind.
func group(name, strategy string, words ...string) catalog.Group {
	g := catalog.Group{Name: name, Strategy: strategy}
	for i, w := range words {
		d := catalog.Deployment{Weight: 1, Target: llm.Target{Slot: i, Model: name}}
		w, tags, _ := strings.Cut(w, "+")
		if tags != "" {
			d.Tags = strings.Split(tags, "+")
		}
		d.Provider, w, _ = strings.Cut(w, "@")
		_, _ = fmt.Sscan(w, &d.Tier)
		d.Name = d.Provider
		g.Deployments = append(g.Deployments, d)
	}
	return g
}

var everyone = &auth.Who{Name: "k", Models: []string{"*"}}

// names asks a plan for everything it has, fallbacks included, with what stands in the way.
func names(p *Plan, falls bool) (got []string) {
	for {
		t, bar, ok := p.Next()
		switch {
		case ok && bar == llm.Free:
			got = append(got, t.Provider)
		case ok:
			got = append(got, t.Provider+":"+bar.String())
		case !falls || !p.Fall(llm.FallGeneral):
			return got
		}
	}
}

func TestPlan(t *testing.T) {
	who := &auth.Who{Models: []string{"fast", "openai/*", "ghost"}}
	r := New(Options{Catalog: catalog.New(
		[]catalog.Group{group("fast", "", "groq")},
		[]catalog.Provider{{Name: "openai", Owns: []string{"gpt-*"}, Targets: []llm.Target{{Provider: "openai"}}}},
	)})
	for model, want := range map[string]llm.Kind{"fast": "", "openai/gpt-4o": "", "gpt-4o": llm.KindModelNotAllowed, "groq/llama": llm.KindModelNotAllowed, "ghost": llm.KindModelNotFound} {
		plan, err := r.Plan(who, &llm.Call{Model: model}, Ask{})
		if want == "" {
			if err != nil || len(names(plan, true)) != 1 {
				t.Errorf("%s: %v %v", model, plan, err)
			}
		} else if llm.AsError(err).Kind != want {
			t.Errorf("%s: %v, want %s", model, err, want)
		}
	}
}

func TestOrder(t *testing.T) {
	loads := map[int]llm.Load{}
	groups := []catalog.Group{
		group("m", "priority", "a", "b@1", "c", "d@2+eu", "e@1+eu+x"),
		group("next", "priority", "x", "y"),
		group("last", "priority", "z"),
	}
	groups[0].Lists[llm.FallGeneral] = []string{"next", "last", "next"}
	for i := range groups[1].Deployments {
		groups[1].Deployments[i].Slot = 10 + i
	}
	groups[2].Deployments[0].Slot = 20
	r := New(Options{Catalog: catalog.New(groups, nil), Load: func(t *llm.Target, _ time.Time, l *llm.Load) { *l = loads[t.Slot] }})
	for _, tt := range []struct {
		name  string
		loads map[int]llm.Load
		who   auth.Who
		ask   Ask
		want  []string
	}{
		{"tiers, then fallbacks, each once", nil, auth.Who{}, Ask{}, []string{"a", "c", "b", "e", "d", "x", "y", "z"}},
		{"no fallback", nil, auth.Who{}, Ask{NoFallback: true}, []string{"a", "c", "b", "e", "d"}},
		{"tags of the request", nil, auth.Who{}, Ask{Tags: []string{"eu"}, NoFallback: true}, []string{"e", "d"}},
		{"tags of the key, too", nil, auth.Who{Tags: []string{"x"}}, Ask{Tags: []string{"eu"}}, []string{"e"}},
		{"barred ones are left out", map[int]llm.Load{0: {Bar: llm.Open}, 1: {Bar: llm.Draining}, 3: {Bar: llm.Credential}, 4: {Bar: llm.Throttled}, 10: {Bar: llm.Disabled}}, auth.Who{}, Ask{}, []string{"c", "y", "z"}},
		{"full ones come after the free ones of all tiers", map[int]llm.Load{0: {Bar: llm.Full}, 3: {Bar: llm.Full}}, auth.Who{}, Ask{NoFallback: true}, []string{"c", "b", "e", "a:full", "d:full"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clear(loads)
			for slot, l := range tt.loads {
				loads[slot] = l
			}
			tt.who.Models = []string{"*"}
			p, err := r.Plan(&tt.who, &llm.Call{Model: "m"}, tt.ask)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, names(p, true)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			p.Release()
		})
	}
}

// Tags that no deployment has are told, to the request or to the key, unless a model that it falls back to has them.
func TestTagsThatNoneHas(t *testing.T) {
	us, eu := group("us", "", "a+us"), group("eu", "", "b+eu")
	us.Lists[llm.FallGeneral] = []string{"eu"}
	r := New(Options{Catalog: catalog.New([]catalog.Group{us, eu}, nil)})
	for _, tt := range []struct {
		who  auth.Who
		ask  Ask
		want []string
		kind llm.Kind
	}{
		{auth.Who{}, Ask{Tags: []string{"us"}}, []string{"a"}, ""},
		{auth.Who{}, Ask{Tags: []string{"eu"}}, []string{"b"}, ""},
		{auth.Who{}, Ask{Tags: []string{"eu"}, NoFallback: true}, nil, llm.KindInvalid},
		{auth.Who{}, Ask{Tags: []string{"moon"}}, nil, llm.KindInvalid},
		{auth.Who{Tags: []string{"eu"}}, Ask{}, []string{"b"}, ""},
		{auth.Who{Tags: []string{"moon"}}, Ask{}, nil, llm.KindModelNotAllowed},
	} {
		tt.who.Models = []string{"*"}
		var got []string
		p, err := r.Plan(&tt.who, &llm.Call{Model: "us"}, tt.ask)
		if err == nil {
			got = names(p, true)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil && llm.AsError(err).Kind != tt.kind || (err == nil) != (tt.kind == "") {
			t.Errorf("%v %v: %v, want %q\n%s", tt.who.Tags, tt.ask, err, tt.kind, diff)
		}
	}
}

// When nothing is left, the deployment tried longest ago is the one to try; drained ones never are.
func TestResort(t *testing.T) {
	at := time.Now().Add(time.Minute)
	loads := []llm.Load{
		{Bar: llm.Open, Tried: 30, Until: at.UnixNano()},
		{Bar: llm.Credential, Tried: 10, Until: at.Add(time.Hour).UnixNano()},
		{Bar: llm.Disabled, Tried: 1},
		{Bar: llm.Open, Tried: 20, Until: at.Add(-time.Second).UnixNano()},
	}
	r := New(Options{Catalog: catalog.New([]catalog.Group{group("m", "", "a", "b+eu", "c", "d+eu")}, nil), Load: func(t *llm.Target, _ time.Time, l *llm.Load) { *l = loads[t.Slot] }})
	p, _ := r.Plan(everyone, &llm.Call{Model: "m"}, Ask{})
	if got := names(p, true); got != nil {
		t.Errorf("%v, want none", got)
	}
	target, until, ok := p.Resort()
	if !ok || target.Provider != "b" || !until.Equal(at.Add(-time.Second)) {
		t.Errorf("%v %v %v, want b, and the first that may be called by itself", target.Provider, until, ok)
	}
	loads = []llm.Load{{Bar: llm.Disabled}, {Bar: llm.Draining}, {Bar: llm.Disabled}, {Bar: llm.Draining}}
	if _, until, ok := p.Resort(); ok || !until.IsZero() {
		t.Error("what an operator took out was offered")
	}
}

func TestAsk(t *testing.T) {
	some := &auth.Who{Asks: []string{auth.AskTags}}
	for _, tt := range []struct {
		header string
		who    *auth.Who
		want   Ask
		err    llm.Kind
	}{
		{"", some, Ask{}, ""},
		{"X-Sluice-Strategy: latency", everyone, Ask{Strategy: "latency"}, ""},
		{"X-Sluice-Strategy: latency", some, Ask{}, llm.KindModelNotAllowed},
		{"X-Sluice-Fallback: Off", everyone, Ask{NoFallback: true}, ""},
		{"X-Sluice-Fallback: on", everyone, Ask{}, llm.KindInvalid},
		{"X-Sluice-Fallback: off", some, Ask{}, llm.KindModelNotAllowed},
		{"X-Sluice-Tags: eu, gpu,,eu", some, Ask{Tags: []string{"eu", "gpu"}}, ""},
		{"X-Sluice-Tags: eu", &auth.Who{Asks: []string{}}, Ask{}, llm.KindModelNotAllowed},
		{"X-Sluice-Tags: 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", some, Ask{}, llm.KindInvalid},
	} {
		h := http.Header{}
		if name, v, ok := strings.Cut(tt.header, ": "); ok {
			h.Set(name, v)
		}
		got, err := ReadAsk(h, tt.who)
		if diff := cmp.Diff(tt.want, got); diff != "" || tt.err == "" != (err == nil) || err != nil && llm.AsError(err).Kind != tt.err {
			t.Errorf("%s: %v, want %q\n%s", tt.header, err, tt.err, diff)
		}
	}
	r := New(Options{Catalog: catalog.New([]catalog.Group{group("m", "priority", "a", "b")}, nil)})
	if _, err := r.Plan(everyone, &llm.Call{Model: "m"}, Ask{Strategy: "fastest"}); err == nil || !strings.Contains(err.Error(), "least-busy, p2c") {
		t.Errorf("%v, want the strategies that there are", err)
	}
	seen := map[string]int{}
	for range 100 {
		p, err := r.Plan(everyone, &llm.Call{Model: "m"}, Ask{Strategy: "round-robin"})
		if err != nil {
			t.Fatal(err)
		}
		target, _, _ := p.Next()
		seen[target.Provider]++
		p.Release()
	}
	if seen["a"] != 50 || seen["b"] != 50 {
		t.Errorf("%v: the request's strategy was not taken", seen)
	}
}

// chat makes a call of a strictly read body.
func chat(t testing.TB, model, body string) *llm.Call {
	t.Helper()
	r, _ := http.NewRequest(http.MethodPost, "/v1/chat/completions", http.NoBody)
	r.Header.Set("Content-Type", "application/json")
	call, err := wire.ReadCall(openai.Chat, r, []byte(body), "req_1")
	if err != nil {
		t.Fatal(err)
	}
	call.Model = model
	return call
}

func TestTooLongFallsAtOnce(t *testing.T) {
	g := group("m", "priority", "small")
	g.Window = 50
	g.Lists[llm.FallContext] = []string{"long"}
	r := New(Options{Catalog: catalog.New([]catalog.Group{g, group("long", "", "big")}, nil)})
	for words, want := range map[int]string{40: "small", 60: "big"} {
		p, err := r.Plan(everyone, chat(t, "m", `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("word ", words)+`"}]}`), Ask{})
		if err != nil {
			t.Fatal(err)
		}
		target, _, _ := p.Next()
		if target.Provider != want {
			t.Errorf("%d words go to %s, want %s", words, target.Provider, want)
		}
		name, why := p.Fallback()
		if (name == "long") != (want == "big") || name != "" && why != llm.FallContext {
			t.Errorf("%d words: fallback %q, %s", words, name, why)
		}
	}
	// A name in one long word is one token at least, and says nothing.
	p, _ := r.Plan(everyone, chat(t, "m", `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("x", 5000)+`"}]}`), Ask{})
	if target, _, _ := p.Next(); target.Provider != "small" {
		t.Error("what may fit was taken for too long")
	}
}

// What a prompt cache would keep goes to the deployment that has it, while that may be called.
func TestAffinity(t *testing.T) {
	loads := make([]llm.Load, 8)
	words := strings.Fields("a b c d e f g h")
	r := New(Options{Catalog: catalog.New([]catalog.Group{group("m", "sticky", words...)}, nil), Load: func(t *llm.Target, _ time.Time, l *llm.Load) { *l = loads[t.Slot] }})
	take := func(system, first, more string) string {
		call := chat(t, "m", fmt.Sprintf(`{"model":"m","messages":[{"role":"system","content":%q},{"role":"user","content":%q},{"role":"assistant","content":"x"},{"role":"user","content":%q}]}`, system, first, more))
		p, err := r.Plan(everyone, call, Ask{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Release()
		target, _, _ := p.Next()
		p.Took(target)
		return target.Provider
	}
	used := map[string]bool{}
	for i := range 40 {
		system := fmt.Sprint("system ", i)
		home := take(system, "hi", "1")
		used[home] = true
		for j := range 5 {
			if got := take(system, "hi", fmt.Sprint(j)); got != home {
				t.Fatalf("%s went to %s, then to %s", system, home, got)
			}
		}
	}
	if len(used) < 6 {
		t.Errorf("40 prefixes use %d of 8 deployments", len(used))
	}
	home := take("one", "hi", "1")
	loads[slices.Index(words, home)].Bar = llm.Open
	other := take("one", "hi", "2")
	if other == home {
		t.Error("an open breaker does not break affinity")
	}
	loads[slices.Index(words, home)].Bar = llm.Free
	if got := take("one", "hi", "3"); got != other {
		t.Errorf("%s, want %s: its prompt cache is the warm one now", got, other)
	}
}

func TestStickyTimes(t *testing.T) {
	table, g := newStickyTable(), group("m", "sticky", "a", "b")
	call := chat(t, "m", `{"model":"m","messages":[{"role":"user","content":"x"}]}`)
	now := time.Now()
	affinity, index := table.find(everyone, call, &g, now)
	if affinity == 0 || index != -1 {
		t.Fatalf("%d %d", affinity, index)
	}
	table.keep(affinity, 1, now)
	if _, got := table.find(everyone, call, &g, now.Add(stickFor-time.Second)); got != 1 {
		t.Errorf("shortly before the cache's end: %d, want 1", got)
	}
	if _, got := table.find(everyone, call, &g, now.Add(stickFor+time.Second)); got != -1 {
		t.Errorf("after the cache's end: %d, want -1", got)
	}
	if other, _ := table.find(&auth.Who{Name: "other"}, call, &g, now); other == affinity {
		t.Error("two keys share an affinity")
	}
	for i := range uint64(3 * maxStuck) {
		table.keep(mix(i), 0, now)
	}
	if n := len(table.young) + len(table.old); n > 2*maxStuck {
		t.Errorf("%d entries are kept, at most %d should be", n, 2*maxStuck)
	}
}

func TestModels(t *testing.T) {
	offered := map[string][]string{"openai": {"gpt-4o", "whisper"}, "groq": {"llama", "gpt-oss"}}
	r := New(Options{Catalog: catalog.New([]catalog.Group{group("fast", "", "groq"), group("eu/*", "", "groq")}, []catalog.Provider{
		{Name: "openai", Owns: []string{"gpt-*"}, Targets: []llm.Target{{Provider: "openai"}}}, {Name: "groq", Targets: []llm.Target{{Provider: "groq"}}},
	})})
	want := []string{"fast", "gpt-4o", "groq/gpt-oss", "groq/llama", "openai/whisper"}
	if diff := cmp.Diff(want, r.Models(everyone, offered)); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"groq/gpt-oss", "groq/llama"}, r.Models(&auth.Who{Models: []string{"groq/*"}}, offered)); diff != "" {
		t.Errorf("models of a key (-want +got):\n%s", diff)
	}
	if r.Known(&auth.Who{Models: []string{"fast"}}, "gpt-4o") || !r.Known(everyone, "gpt-4o") || !r.Known(everyone, "eu/x") {
		t.Error("known is not what may be used")
	}
}

// A pool of 300 must cost little more than one of one: its plan is made for every call.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1, 3, 300} {
		for _, strategy := range []string{"weighted", "least-busy", "latency"} {
			words := make([]string, n)
			for i := range words {
				words[i] = fmt.Sprint("p", i)
			}
			r := New(Options{Catalog: catalog.New([]catalog.Group{group("m", strategy, words...)}, nil), Load: func(t *llm.Target, _ time.Time, l *llm.Load) {
				l.InFlight, l.Latency = int32(t.Slot%5), time.Second
			}})
			call := &llm.Call{Model: "m"}
			b.Run(fmt.Sprintf("%s/%d", strategy, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p, err := r.Plan(everyone, call, Ask{})
					if err != nil {
						b.Fatal(err)
					}
					p.Next()
					p.Release()
				}
			})
		}
	}
}

// The quick way gives what the strategy itself gives.
func TestQuickIsTheStrategy(t *testing.T) {
	for name, choose := range Strategies {
		for n := 2; n < 40; n++ {
			g := catalog.Group{Name: "m"}
			for i := range n {
				g.Deployments = append(g.Deployments, catalog.Deployment{Weight: 1 + i*i%7, Target: llm.Target{Slot: i}})
			}
			found, _ := catalog.New([]catalog.Group{g}, nil).Resolve("m")
			cands := make([]Candidate, n)
			for i := range cands {
				cands[i] = Candidate{Index: i, Weight: g.Deployments[i].Weight, Load: llm.Load{InFlight: int32(i % 3)}}
			}
			for turn := range uint64(200) {
				p := &Pick{Turn: turn, Random: mix(turn), Stuck: int(turn%5) - 1, Replicas: 1}
				if i := quick(name, p, found); i >= 0 && i != choose(p, cands) {
					t.Fatalf("%s of %d, turn %d: %d, the strategy says %d", name, n, turn, i, choose(p, cands))
				}
			}
		}
	}
}

// p2c looks at the two that it draws, not at 300, and draws free ones alike whoever is not.
func TestTwoOfMany(t *testing.T) {
	var loads []llm.Load
	looks := 0
	plans := func(n int) *Router {
		g := catalog.Group{Name: "m", Strategy: "p2c"}
		for i := range n {
			g.Deployments = append(g.Deployments, catalog.Deployment{Weight: 1, Target: llm.Target{Slot: i}})
		}
		loads = make([]llm.Load, n)
		return New(Options{Catalog: catalog.New([]catalog.Group{g}, nil), Load: func(t *llm.Target, _ time.Time, l *llm.Load) { looks++; *l = loads[t.Slot] }})
	}
	first := func(r *Router) int {
		p, _ := r.Plan(everyone, &llm.Call{Model: "m"}, Ask{})
		defer p.Release()
		target, _, _ := p.Next()
		return target.Slot
	}
	r, most := plans(300), 0
	for turn := range uint64(200) {
		looks = 0
		if first(r); !explores(turn) {
			most = max(most, looks)
		}
	}
	if most > 3 {
		t.Errorf("%d looks for one choice", most)
	}
	r = plans(5)
	loads[2].Bar, loads[4].Failing = llm.Open, 1
	const turns = 20_000
	counts := make([]int, 5)
	for range turns {
		counts[first(r)]++
	}
	// 0, 1 and 3 are alike; 4 loses each pair, and gets exploring turns alone.
	for _, i := range []int{0, 1, 3} {
		if counts[i] < turns*30/100 || counts[i] > turns*36/100 {
			t.Errorf("%v: the free ones are not drawn alike", counts)
		}
	}
	if counts[2] != 0 || counts[4] > turns*3/100 {
		t.Errorf("%v: one is broken, one always fails", counts)
	}
}

func TestExplain(t *testing.T) {
	loads := map[int]llm.Load{1: {Bar: llm.Open}, 3: {InFlight: 4, Latency: 1500 * time.Microsecond}}
	g := group("m", "least-busy", "a", "b", "c+eu", "d")
	g.Deployments[0].Input, g.Deployments[0].Output = 1e9, 2e9
	g.Lists[llm.FallGeneral] = []string{"next"}
	next := group("next", "", "x")
	next.Deployments[0].Slot = 9
	r := New(Options{Catalog: catalog.New([]catalog.Group{g, next}, nil), Load: func(t *llm.Target, _ time.Time, l *llm.Load) { *l = loads[t.Slot] }})
	e, err := r.Explain(everyone, &llm.Call{Model: "m", MaxOutput: 100, Choices: 2}, Ask{})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range e.Choices {
		order = append(order, c.Model+"/"+c.Deployment)
	}
	if len(order) != 4 || order[2] != "m/d" || order[3] != "next/x" || e.Choices[2].InFlight != 4 || e.Choices[2].LatencyMs != 1.5 {
		t.Errorf("%v, want the free ones by how busy they are, then the fallback's: %+v", order, e.Choices)
	}
	for _, c := range e.Choices {
		if c.Deployment == "a" && c.NanoUSD != 400_000 {
			t.Errorf("a is expected to cost %d nano-dollars, want 2 answers of 100 tokens at 2 dollars a million", c.NanoUSD)
		}
	}
	if len(e.Refused) != 1 || e.Refused[0].Deployment != "b" || e.Refused[0].Why != "breaker_open" {
		t.Errorf("refused: %+v", e.Refused)
	}
	e, _ = r.Explain(everyone, &llm.Call{Model: "m"}, Ask{Tags: []string{"eu"}, NoFallback: true, Strategy: "p2c"})
	if len(e.Choices) != 1 || len(e.Refused) != 3 || e.Refused[0].Why != "it lacks the tags eu" || e.Strategy != "p2c" || e.Models != nil {
		t.Errorf("%+v", e)
	}
	if _, err := r.Explain(&auth.Who{}, &llm.Call{Model: "m"}, Ask{}); llm.AsError(err).Kind != llm.KindModelNotAllowed {
		t.Errorf("%v", err)
	}
}
