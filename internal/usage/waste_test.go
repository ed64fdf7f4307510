package usage

import (
	"io"
	"testing"

	"sluice/internal/llm"
)

// What attempts have cost whose answers nobody got stands in the call's one row, apart from what its answer used. The call's own
// input is 10 tokens where nobody told it (40 bytes); a token read costs 2, one written 10.
func TestWasteOfRows(t *testing.T) {
	told := &llm.Usage{Input: llm.Tokens(100), Output: llm.Tokens(1)}
	answer := []*llm.Event{frame(nil), last(25, 7)}
	gone := llm.Errorf(llm.KindClientGone, "left")
	for _, c := range []struct {
		name      string
		tries     []llm.Try
		events    []*llm.Event // nil: there is no answer
		err       error
		late      *llm.Usage // what the last but one turns out to have told, once the answer is closed
		input     int64
		output    int64
		wasted    int64
		waste     llm.Nano
		estimated bool
	}{
		{name: "none", tries: []llm.Try{{Outcome: "transient"}, {Outcome: "ok"}}, events: answer, input: 25, output: 7},
		{name: "told", tries: []llm.Try{{Told: told}, {Outcome: "ok"}}, events: answer, input: 25, output: 7, wasted: 101, waste: 210},
		{name: "two", tries: []llm.Try{{Told: told}, {Told: told, Left: true}, {Outcome: "ok"}}, events: answer, input: 25, output: 7, wasted: 202, waste: 420},
		{name: "left, and nothing told", tries: []llm.Try{{Left: true}, {Outcome: "ok"}}, events: answer, input: 25, output: 7, wasted: 10, waste: 20, estimated: true},
		{name: "told late", tries: []llm.Try{{Left: true}, {Outcome: "ok"}}, events: answer, late: told, input: 25, output: 7, wasted: 101, waste: 210},
		{name: "all failed", tries: []llm.Try{{Told: told}, {Told: told}}, err: llm.Errorf(llm.KindUpstream, "broke"), wasted: 202, waste: 420},
		{name: "the client left before an answer", tries: []llm.Try{{Told: told}, {Told: told, Left: true}}, err: gone, input: 100, output: 0, wasted: 101, waste: 210, estimated: true},
		{name: "and was told nothing", tries: []llm.Try{{Left: true}}, err: gone, input: 10, estimated: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, nil)
			e := h.begin("req_1")
			tr := &llm.Trace{Attempts: len(c.tries), Tries: c.tries, Target: &llm.Target{Provider: "openai", Model: "gpt"}}
			e.Met(tr)
			if c.events != nil {
				_ = read(e, c.events, io.EOF)
			}
			e.Err = c.err
			if c.late != nil {
				c.tries[0].Told = c.late
			}
			e.Close()
			h.flush()
			r := h.store.all()["req_1"]
			if r.Usage.Input.N != c.input || r.Usage.Output.N != c.output || r.Wasted != c.wasted || r.Costs.Waste != c.waste || r.Estimated != c.estimated {
				t.Errorf("%+v\n%+v, estimated %v", c, r.Mark, r.Estimated)
			}
			total := llm.Nano(2*c.input+10*c.output) + c.waste
			if r.Costs.Total() != total || total > 0 && r.PriceVersion == "" || r.Tokens() != c.input+c.output {
				t.Errorf("%d in all by price %q, %d tokens; want %d", r.Costs.Total(), r.PriceVersion, r.Tokens(), total)
			}
			if got := h.counters.spent["budget"]; got != total {
				t.Errorf("the budget counts %d, the row %d", got, total)
			}
		})
	}
}

// What was wasted before an answer began is in its marks: a crash does not lose it.
func TestWasteIsMarked(t *testing.T) {
	h := newHouse(t, nil)
	e := h.begin("req_1")
	e.Met(&llm.Trace{Attempts: 2, Tries: []llm.Try{{Told: &llm.Usage{Input: llm.Tokens(100)}}, {}}, Target: &llm.Target{Provider: "openai", Model: "gpt"}})
	var m Mark
	s := e.Meter(&script{events: []*llm.Event{frame(nil), frame(nil)}, err: io.EOF}, Hooks{Mark: func(got *Mark) { m = *got }})
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	if m.Wasted != 100 || m.Costs.Waste != 200 {
		t.Errorf("the mark has %+v", m)
	}
	e.Close()
}
