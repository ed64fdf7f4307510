package catalog

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"math/big"
	"net/url"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

func TestCost(t *testing.T) {
	p := Price{
		Rates: Rates{Input: 1000, CacheRead: 100, CacheWrite: 1250, CacheWrite1h: 2000, AudioInput: 5000, Output: 4000, Reasoning: 3000, AudioOutput: 9000, ImageOutput: 8000},
		Steps: []Step{{Over: 2e6, Rates: Rates{Input: 2000, Output: 6000}}, {Over: 3e6, Rates: Rates{Input: 3000, Output: 7000}}},
		Service: map[string]int64{
			"flex": 50, "priority": 200,
		},
	}
	k := func(thousands int64) llm.Count { return llm.Tokens(thousands * 1000) }
	for _, test := range []struct {
		name string
		u    llm.Usage
		want Costs
	}{
		{"nothing told", llm.Usage{}, Costs{NoInput: true, NoOutput: true}},
		{"zero is told", llm.Usage{Input: k(0), Output: k(0)}, Costs{}},
		{"plain", llm.Usage{Input: k(1000), Output: k(1000)}, Costs{Input: 1000, Output: 4000}},
		{
			"parts are taken from their wholes",
			llm.Usage{Input: k(1000), CacheRead: k(100), CacheWrite: k(200), CacheWrite1h: k(50), AudioInput: k(10), ImageInput: k(20), Output: k(1000), Reasoning: k(300), AudioOutput: k(100), ImageOutput: k(50)},
			Costs{CacheRead: 10, CacheWrite: 188, CacheWrite1h: 100, AudioInput: 50, ImageInput: 20, Input: 670, Reasoning: 900, AudioOutput: 900, ImageOutput: 400, Output: 2200},
		},
		{"parts that overlap are paid once", llm.Usage{Input: k(1000), CacheRead: k(800), AudioInput: k(800), Output: k(0)}, Costs{CacheRead: 80, AudioInput: 1000}},
		{"a part without its whole", llm.Usage{CacheRead: k(100), Reasoning: k(100)}, Costs{CacheRead: 10, Reasoning: 300, NoInput: true, NoOutput: true}},
		{"written for an hour, and no more is told", llm.Usage{Input: k(100), CacheWrite1h: k(100), Output: k(0)}, Costs{CacheWrite1h: 200}},
		{"less than nothing", llm.Usage{Input: k(-5), CacheRead: k(-5), Output: k(10), Reasoning: k(-1)}, Costs{Output: 40}},
		{"at a threshold", llm.Usage{Input: k(2000), Output: k(1000)}, Costs{Input: 2000, Output: 4000}},
		{"above it, cached tokens counted", llm.Usage{Input: llm.Tokens(2000001), CacheRead: k(1000), Output: k(1000)}, Costs{Input: 2000, CacheRead: 2000, Output: 6000}},
		{"above two", llm.Usage{Input: k(4000), Output: k(1000)}, Costs{Input: 12000, Output: 7000}},
		{"a cheaper tier", llm.Usage{Input: k(1000), Output: k(1000), Tier: "flex"}, Costs{Input: 500, Output: 2000}},
		{"a dearer one, in capitals", llm.Usage{Input: k(1000), Output: k(1000), Tier: "PRIORITY"}, Costs{Input: 2000, Output: 8000}},
		{"the usual one", llm.Usage{Input: k(1000), Output: k(1000), Tier: "default"}, Costs{Input: 1000, Output: 4000}},
		{"an unknown one costs the dearest", llm.Usage{Input: k(1000), Output: k(1000), Tier: "warp"}, Costs{Input: 2000, Output: 8000, OddTier: true}},
		{"each kind rounds once, half up", llm.Usage{Input: llm.Tokens(1500), CacheRead: llm.Tokens(1000), Output: llm.Tokens(125)}, Costs{Input: 1, CacheRead: 0, Output: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := p.Cost(&test.u)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	p.Fees = map[string]llm.Nano{"search": 10_000_000}
	if fee, ok := p.Fee("search", 3); fee != 30_000_000 || !ok {
		t.Errorf("three searches cost %d", fee)
	}
	if fee, ok := p.Fee("dig", 3); fee != 0 || ok {
		t.Errorf("an unknown tool costs %d", fee)
	}
}

// rates draws rates; dear ones, too, which make sums overflow.
func rates(t *rapid.T) Rates {
	var r Rates
	for _, f := range rateNames {
		if f.part && rapid.Bool().Draw(t, "said") {
			continue
		}
		*f.of(&r) = llm.Rate(rapid.OneOf(rapid.Int64Range(0, 1e12), rapid.Int64Range(0, 10), rapid.Int64Range(0, math.MaxInt64)).Draw(t, f.name))
	}
	return r
}

func price(t *rapid.T) Price {
	p := Price{Rates: rates(t), Service: map[string]int64{"flex": rapid.Int64Range(1, 100).Draw(t, "flex"), "priority": rapid.Int64Range(100, 1000).Draw(t, "priority")}}
	over := int64(0)
	for range rapid.IntRange(0, 3).Draw(t, "steps") {
		over += rapid.Int64Range(1, 1e6).Draw(t, "over")
		p.Steps = append(p.Steps, Step{over, rates(t)}) // not always dearer
	}
	p.Fees = map[string]llm.Nano{"search": llm.Nano(rapid.Int64Range(0, 1e9).Draw(t, "fee"))}
	return p
}

// usage draws what an upstream may tell, wrong as it may be: parts larger than wholes, less than nothing.
func usage(t *rapid.T) llm.Usage {
	n := rapid.OneOf(rapid.Int64Range(0, 3e6), rapid.Int64Range(-10, 10), rapid.Int64Range(0, math.MaxInt64/8))
	count := func(name string) llm.Count {
		if !rapid.Bool().Draw(t, name+" told") {
			return llm.Count{}
		}
		return llm.Tokens(n.Draw(t, name))
	}
	return llm.Usage{
		Input: count("input"), CacheRead: count("read"), CacheWrite: count("write"), CacheWrite1h: count("write 1h"), AudioInput: count("audio in"), ImageInput: count("image in"),
		Output: count("output"), Reasoning: count("reasoning"), AudioOutput: count("audio out"), ImageOutput: count("image out"),
		Tier: rapid.SampledFrom([]string{"", "default", "flex", "priority", "odd"}).Draw(t, "tier"),
	}
}

func (c *Costs) parts() []llm.Nano {
	return []llm.Nano{c.Input, c.CacheRead, c.CacheWrite, c.CacheWrite1h, c.AudioInput, c.ImageInput, c.Output, c.Reasoning, c.AudioOutput, c.ImageOutput, c.Tools}
}

// No kind is ever negative, the sum is the sum (and no less than the largest amount when that is exceeded), and
// no more tokens are charged than were read and written.
func TestCostHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, u := price(t), usage(t)
		c := p.Cost(&u)
		sum := new(big.Int)
		for i, n := range c.parts() {
			if n < 0 {
				t.Fatalf("kind %d costs %d", i, n)
			}
			sum.Add(sum, big.NewInt(int64(n)))
		}
		if most := big.NewInt(math.MaxInt64); sum.Cmp(most) > 0 {
			sum = most
		}
		if got := c.Total(); big.NewInt(int64(got)).Cmp(sum) != 0 {
			t.Fatalf("total %d, want %s", got, sum)
		}
		if c != p.Cost(&u) {
			t.Fatal("the same usage costs something else the second time")
		}
	})
}

// Against arithmetic without bounds: every kind is tokens*rate*percent, rounded half up once where the rate needs
// no rounding itself.
func TestCostExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := llm.Rate(rapid.Int64Range(1, 1e13).Draw(t, "rate")) * 100
		percent := rapid.Int64Range(1, 1000).Draw(t, "percent")
		tokens := rapid.Int64Range(0, 1e9).Draw(t, "tokens")
		p := Price{Rates: Rates{Input: rate}, Service: map[string]int64{"x": percent}}
		u := llm.Usage{Input: llm.Tokens(tokens), Tier: "x"}
		want := new(big.Int).Mul(big.NewInt(int64(rate)), big.NewInt(percent))
		want.Mul(want.Quo(want, big.NewInt(100)), big.NewInt(tokens))
		want.Add(want, big.NewInt(500_000)).Quo(want, big.NewInt(1_000_000))
		if want.IsInt64() && int64(p.Cost(&u).Input) != want.Int64() {
			t.Fatalf("%d, want %s", p.Cost(&u).Input, want)
		}
	})
}

// A hold covers whatever the call comes to.
func TestWorstBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, u := price(t), usage(t)
		calls := rapid.Int64Range(0, 100).Draw(t, "calls")
		more := func(name string, n int64) int64 {
			return n + rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1e6)).Draw(t, name)
		}
		in := pot(u.Input, u.CacheRead, u.CacheWrite.Or(u.CacheWrite1h), u.AudioInput, u.ImageInput)
		out := pot(u.Output, u.Reasoning, u.AudioOutput, u.ImageOutput)
		answers := rapid.Int64Range(1, 5).Draw(t, "answers")
		b := Bounds{
			Input: more("input bound", int64(in)), Output: max(1, more("output bound", int64(out)/answers+1)), Answers: answers, Tier: u.Tier,
			Media:   u.AudioInput.N > 0 || u.ImageInput.N > 0,
			Cache1h: u.CacheWrite1h.N > 0,
			Calls:   map[string]int64{"search": more("calls bound", calls)},
		}
		if asked := rapid.SampledFrom([]string{"", "auto"}).Draw(t, "asked"); u.Tier == "default" || u.Tier == "" {
			b.Tier = rapid.SampledFrom([]string{asked, "flex", "priority", "odd"}).Draw(t, "tier asked for")
		}
		u.Runs = llm.Runs{"search": calls, "dig": 1}
		c := p.Cost(&u)
		w := p.Worst(b)
		if w.Total() < c.Total() {
			t.Fatalf("%+v costs %d (%+v), the hold %+v is %d", u, c.Total(), c, w, w.Total())
		}
		if w.Upto(int64(out)) < c.Total() {
			t.Fatalf("%+v costs %d, and %d at most for its output", u, c.Total(), w.Upto(int64(out)))
		}
		if w.Upto(0) != w.Fixed || w.Fixed < 0 || w.Rate < 0 {
			t.Fatalf("%+v", w)
		}
	})
}

func TestWorst(t *testing.T) {
	p := Price{
		Rates:   Rates{Input: 1e9, CacheRead: 1e8, CacheWrite: 125e7, CacheWrite1h: 2e9, AudioInput: 5e9, Output: 4e9},
		Steps:   []Step{{Over: 1000, Rates: Rates{Input: 2e9, Output: 6e9}}},
		Service: map[string]int64{"flex": 50, "priority": 200},
		Fees:    map[string]llm.Nano{"search": 1e7},
	}
	for _, test := range []struct {
		name string
		b    Bounds
		more func(*Price)
		want Worst
	}{
		{"caches are written to unasked", Bounds{Input: 1000, Output: 10}, nil, Worst{1250003, 4e9, 10}},
		{"asked to keep it for an hour", Bounds{Input: 1000, Output: 10, Cache1h: true}, nil, Worst{2000003, 4e9, 10}},
		{"sound", Bounds{Input: 1000, Output: 10, Media: true}, nil, Worst{5000003, 4e9, 10}},
		{"the threshold may be crossed", Bounds{Input: 1001, Output: 10}, nil, Worst{2002003, 6e9, 10}},
		{"flex may be served as standard", Bounds{Input: 1000, Output: 10, Tier: "flex"}, nil, Worst{1250003, 4e9, 10}},
		{"priority", Bounds{Input: 1000, Output: 10, Tier: "priority"}, nil, Worst{2500003, 8e9, 10}},
		{"auto may be any", Bounds{Input: 1000, Output: 10, Tier: "auto"}, nil, Worst{2500003, 8e9, 10}},
		{"several answers", Bounds{Input: 1000, Output: 10, Answers: 7}, nil, Worst{1250003, 4e9, 70}},
		{"tools", Bounds{Input: 1000, Output: 10, Calls: map[string]int64{"search": 3, "unheard of": 9}}, nil, Worst{31250003, 4e9, 10}},
		{"no limit asked for: the model's", Bounds{Answers: 2}, func(p *Price) { p.MaxOutput = 500 }, Worst{0, 4e9, 1000}},
		{"or what its context holds", Bounds{}, func(p *Price) { p.Window = 900 }, Worst{0, 4e9, 900}},
		{"or nobody knows", Bounds{Answers: 2}, nil, Worst{0, 4e9, math.MaxInt64}},
		{"free", Bounds{Input: 1000, Output: 10}, func(p *Price) { p.Rates, p.Steps = Rates{}, nil }, Worst{0, 0, 10}},
		{"huge", Bounds{Input: math.MaxInt64, Output: math.MaxInt64, Answers: 9}, nil, Worst{math.MaxInt64, 6e9, math.MaxInt64}},
	} {
		p := p
		if test.more != nil {
			test.more(&p)
		}
		if got := p.Worst(test.b); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	// Half a nano-dollar for a token: every kind rounds up.
	half := Price{Rates: Rates{Input: 500_000, Output: 500_000}}
	one := llm.Tokens(1)
	c := half.Cost(&llm.Usage{
		Input: llm.Tokens(6), CacheRead: one, CacheWrite: llm.Tokens(2), CacheWrite1h: one, AudioInput: one, ImageInput: one,
		Output: llm.Tokens(4), Reasoning: one, AudioOutput: one, ImageOutput: one,
	})
	if got := half.Worst(Bounds{Input: 6, Output: 4}).Total(); c.Total() != 10 || got != 10 {
		t.Errorf("ten kinds of one token cost %d, at most %d", c.Total(), got)
	}
	if got := (Worst{Fixed: 10, Rate: 1e9, Output: math.MaxInt64}).Total(); got != math.MaxInt64 {
		t.Errorf("an unbounded call costs at most %d", got)
	}
}

type arm interface {
	wire.Format
	wire.Upstream
}

var arms = map[llm.Format]arm{
	llm.OpenAIChat: openai.Chat, llm.OpenAIResponses: responses.Responses, llm.AnthropicMessages: anthropic.Messages, llm.GeminiGenerate: gemini.Generate,
}

// An answer costs the same however it comes: decoded, passed on raw, written again whole, written again as a
// stream. That is checked with a price of which every kind differs, and with the shipped ones.
func TestRecordings(t *testing.T) {
	all := Price{
		Rates:   Rates{Input: 11e9, CacheRead: 13e9, CacheWrite: 17e9, CacheWrite1h: 19e9, AudioInput: 23e9, ImageInput: 29e9, Output: 31e9, Reasoning: 37e9, AudioOutput: 41e9, ImageOutput: 43e9},
		Service: map[string]int64{"flex": 50, "priority": 200},
	}
	shipped := NewPrices(Options{Layers: [][]Price{Embedded()}})
	at := day(t, "2026-11-26")
	recordings := wiretest.Recordings(t)
	if len(recordings) == 0 {
		t.Log("NOT TESTED AGAINST REAL TRAFFIC: fixtures only")
	}
	priced := map[bool]int{}
	for _, r := range append(recordings, wiretest.Fixtures(t)...) {
		f := arms[r.Format()]
		if f == nil || r.Refused() {
			continue
		}
		usages := tellings(t, f, r)
		if len(usages) == 0 {
			continue
		}
		prices := []*Price{&all}
		if p, ok := shipped.Find(r.Provider, model(r), at); ok {
			prices = append(prices, p)
			priced[r.Stream]++
		}
		for _, p := range prices {
			want := p.Cost(usages["decoded"])
			for _, n := range want.parts() {
				if n < 0 {
					t.Errorf("%s costs %+v", r, want)
				}
			}
			if want.Total() == 0 && usages["decoded"].Output.N > 0 || want.OddTier {
				t.Errorf("%s: %+v costs %+v", r, usages["decoded"], want)
			}
			for how, u := range usages {
				got := p.Cost(u)
				got.NoInput, got.NoOutput = want.NoInput, want.NoOutput // some formats must write a zero
				if got != want {
					t.Errorf("%s: %s it costs %+v, decoded %+v", r, how, got, want)
				}
			}
			u := usages["decoded"]
			if w := p.Worst(Bounds{Input: u.Input.N, Output: u.Output.N, Cache1h: true, Media: true, Tier: u.Tier, Calls: u.Runs}); w.Total() < want.Total() {
				t.Errorf("%s costs %d, its hold is %d", r, want.Total(), w.Total())
			}
		}
	}
	if len(recordings) > 0 && (priced[true] < 8 || priced[false] < 12) {
		t.Errorf("only %d streams and %d answers have a shipped price", priced[true], priced[false])
	}
}

var modelWord = regexp.MustCompile(`"model(?:Version)?": ?"([^"]+)"`)

// model is the model that a recording says it was answered by.
func model(r *wiretest.Recording) string {
	if m := modelWord.FindSubmatch(r.Answer); m != nil {
		return string(m[1])
	}
	return ""
}

// tellings reads the usage of a recording in every way it can come; none when it tells none.
func tellings(t *testing.T, f arm, r *wiretest.Recording) map[string]*llm.Usage {
	t.Helper()
	read := func(body []byte, stream, raw bool) *llm.Answer {
		if stream {
			a, _, err := wiretest.Gather(f.ReadStream(io.NopCloser(bytes.NewReader(body)), raw))
			if err != nil {
				return nil
			}
			return a
		}
		ev, err := f.ReadAnswer(body, raw)
		if err != nil {
			return nil
		}
		a := new(llm.Answer)
		a.Add(ev)
		return a
	}
	body := r.Answer
	if small := new(bytes.Buffer); json.Compact(small, body) == nil { // a line break within a member has no place in a stream
		body = small.Bytes()
	}
	a := read(body, r.Stream, false)
	if a == nil || a.Usage == nil {
		return nil
	}
	call := &llm.Call{ID: "req_test", Format: r.Format(), Op: llm.OpChat, Model: "m", Stream: true, WantUsage: true, Choices: int64(max(1, len(a.Choices))), Query: url.Values{"alt": {"sse"}}}
	whole, err := f.Answer(call, a)
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	ev, err := f.ReadAnswer(whole, false)
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	w := f.Writer(call)
	stream, err := w.Event(nil, ev)
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	out := map[string]*llm.Usage{"decoded": a.Usage}
	for how, again := range map[string]*llm.Answer{
		"raw": read(body, r.Stream, true), "written whole": read(whole, false, false), "written as a stream": read(w.End(stream), true, false),
	} {
		if again == nil || again.Usage == nil {
			t.Errorf("%s: %s it tells no usage", r, how)
			continue
		}
		out[how] = again.Usage
	}
	return out
}
