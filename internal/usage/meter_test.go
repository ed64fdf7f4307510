package usage

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sluice/internal/llm"
)

func count(n int64) *llm.Usage { return &llm.Usage{Output: llm.Tokens(n)} }

// Whatever an upstream tells and however it ends, a row is exact or marked as not.
func TestUsageOfRows(t *testing.T) {
	cut := llm.Errorf(llm.KindUpstream, "cut")
	head := &llm.Event{Raw: []byte("start"), Usage: &llm.Usage{Input: llm.Tokens(25), Output: llm.Tokens(1)}}
	tests := []struct {
		name      string
		op        llm.Op
		once      bool // not streamed
		events    []*llm.Event
		err       error
		usage     llm.Usage
		estimated bool
		partial   bool
	}{
		{"told at the end", llm.OpChat, false, []*llm.Event{frame(nil), frame(nil), last(10, 2)}, io.EOF, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(2)}, false, false},
		{"told zero", llm.OpChat, false, []*llm.Event{frame(nil), last(0, 0)}, io.EOF, llm.Usage{Input: llm.Tokens(0), Output: llm.Tokens(0)}, false, false},
		{"a start and a running total", llm.OpChat, false, []*llm.Event{head, frame(nil), frame(nil), {Usage: count(9)}}, io.EOF, llm.Usage{Input: llm.Tokens(25), Output: llm.Tokens(9)}, false, false},
		{"cut after a start", llm.OpChat, false, []*llm.Event{head, frame(nil), frame(nil)}, cut, llm.Usage{Input: llm.Tokens(25), Output: llm.Tokens(3)}, true, true},
		{"cut, told with every piece", llm.OpChat, false, []*llm.Event{frame(&llm.Usage{Input: llm.Tokens(25), Output: llm.Tokens(40)}), frame(count(77))}, cut, llm.Usage{Input: llm.Tokens(25), Output: llm.Tokens(77)}, false, true},
		{"cut, nothing told", llm.OpChat, false, []*llm.Event{frame(nil), frame(nil), frame(nil)}, cut, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(3)}, true, true},
		{"cut before the first output", llm.OpChat, false, []*llm.Event{{Raw: []byte("role")}}, cut, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(0)}, true, true},
		{"whole, nothing told", llm.OpChat, false, []*llm.Event{frame(nil), frame(nil)}, io.EOF, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(2)}, true, false},
		{"whole, output after the last word", llm.OpChat, false, []*llm.Event{head, frame(nil)}, io.EOF, llm.Usage{Input: llm.Tokens(25), Output: llm.Tokens(2)}, true, false},
		{"input alone told", llm.OpChat, true, []*llm.Event{{Raw: make([]byte, 80), Output: true, Usage: &llm.Usage{Input: llm.Tokens(7)}}}, io.EOF, llm.Usage{Input: llm.Tokens(7), Output: llm.Tokens(20)}, true, false},
		{"not streamed", llm.OpChat, true, []*llm.Event{{Raw: make([]byte, 80), Output: true, Usage: &llm.Usage{Input: llm.Tokens(7), Output: llm.Tokens(8)}}}, io.EOF, llm.Usage{Input: llm.Tokens(7), Output: llm.Tokens(8)}, false, false},
		{"not streamed, and cut before", llm.OpChat, true, nil, cut, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(0)}, true, true},
		{"embeddings have no output", llm.OpEmbed, true, []*llm.Event{{Output: true, Usage: &llm.Usage{Input: llm.Tokens(7)}}}, io.EOF, llm.Usage{Input: llm.Tokens(7)}, false, false},
		{"embeddings of a vendor that tells nothing", llm.OpEmbed, true, []*llm.Event{{Output: true}}, io.EOF, llm.Usage{Input: llm.Tokens(10)}, true, false},
		{"to count is to read nothing", llm.OpCount, true, []*llm.Event{{Output: true, Usage: &llm.Usage{Input: llm.Tokens(7)}}}, io.EOF, llm.Usage{}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, nil)
			e := h.begin("req_1")
			e.Op, e.Stream = tt.op, !tt.once
			var ended []int64
			m := e.Meter(&script{events: tt.events, err: tt.err}, Hooks{End: func(n int64) { ended = append(ended, n) }})
			for _, err := range llm.All(m) {
				e.Err = err
			}
			tokens := e.Tokens()
			e.Close()
			h.flush()
			r := h.store.all()["req_1"]
			if diff := cmp.Diff(tt.usage, r.Usage); diff != "" || r.Estimated != tt.estimated || r.Partial != tt.partial {
				t.Errorf("estimated %v, partial %v, %s", r.Estimated, r.Partial, diff)
			}
			if r.Costs.Total() != llm.Nano(2*r.Usage.Input.N+10*r.Usage.Output.N) {
				t.Errorf("costs %v", r.Costs)
			}
			if tokens != r.Tokens() || !cmp.Equal(ended, []int64{tokens}) {
				t.Errorf("tokens %d, told %v at the end, in the row %d", tokens, ended, r.Tokens())
			}
		})
	}
}

// An answer that is to end is cut before the event at hand: the upstream is stopped, what was given on is told and
// accounted for, and no more.
func TestCut(t *testing.T) {
	for name, tt := range map[string]struct {
		events    func() []*llm.Event
		want      llm.Usage
		estimated bool
	}{
		"reckoned":              {func() []*llm.Event { return []*llm.Event{frame(nil), frame(nil), frame(nil), frame(nil)} }, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(2)}, true},
		"told with every piece": {func() []*llm.Event { return []*llm.Event{frame(count(1)), frame(count(2)), frame(count(9))} }, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(2)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			e := h.begin("req_1")
			over := llm.Errorf(llm.KindBudget, "used up")
			inner := &script{events: tt.events(), err: io.EOF}
			m := e.Meter(inner, Hooks{Output: func(n int64) error {
				if n > 2 {
					return over
				}
				return nil
			}})
			for range 2 {
				if ev, err := m.Next(); err != nil || !ev.Output {
					t.Fatal(ev, err)
				}
			}
			if ev, err := m.Next(); err != nil || ev.Output || ev.Raw != nil || !cmp.Equal(*ev.Usage, tt.want) || inner.closed == 0 {
				t.Errorf("got %+v, %v; closed %d times", ev, err, inner.closed)
			}
			for range 2 {
				if _, err := m.Next(); !errors.Is(err, over) {
					t.Errorf("got %v", err)
				}
			}
			e.Err = over
			e.Close()
			h.flush()
			if r := h.store.all()["req_1"]; !cmp.Equal(r.Usage, tt.want) || !r.Partial || r.Estimated != tt.estimated || r.Error != llm.KindBudget {
				t.Errorf("%+v", r)
			}
		})
	}
}

// At every moment the log's last mark is no less than what was given on; once the upstream told all, it is that.
func TestMarksReach(t *testing.T) {
	l := quiet(t, time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		e := l.Open("req_1", llm.OpenAIChat, "")
		e.Op, e.Stream = llm.OpChat, true
		if err := e.Begin(Hold{}); err != nil {
			t.Fatal(err)
		}
		var told int64
		var events []*llm.Event
		tells := rapid.SampledFrom([]string{"never", "end", "start", "always"}).Draw(t, "tells")
		frames := rapid.IntRange(1, 400).Draw(t, "frames")
		if tells == "start" {
			events = append(events, &llm.Event{Usage: count(1)})
		}
		for range frames {
			ev := frame(nil)
			if told++; tells == "always" {
				ev.Usage = count(told)
			}
			events = append(events, ev)
		}
		if tells == "end" {
			events = append(events, &llm.Event{Usage: count(told)})
		}
		var mark Mark
		marks := 0
		m := e.Meter(&script{events: events, err: io.EOF}, Hooks{Mark: func(m *Mark) { mark, marks = *m, marks+1 }})
		given := int64(0)
		for ev, err := range llm.All(m) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Output {
				given++
			}
			if mark.Usage.Output.N < given || !mark.Partial {
				t.Fatalf("%d given on, marked %+v", given, mark)
			}
		}
		if mark.Usage.Output.N < told || mark.Partial || tells == "end" && mark.Usage.Output.N != told {
			t.Fatalf("%d told, marked %+v at the end", told, mark)
		}
		if most := 8 + frames/mostReach; tells != "always" && marks > most {
			t.Fatalf("%d marks for %d frames", marks, frames)
		}
		e.Close()
	})
}

// What is learned of a model makes the next estimate: never less than the frames, and about right.
func TestRatio(t *testing.T) {
	h := newHouse(t, nil)
	long := func(u *llm.Usage) *llm.Event {
		return &llm.Event{Raw: make([]byte, 600), Output: true, Usage: u}
	}
	e := h.begin("first")
	e.Err = read(e, []*llm.Event{long(nil), long(nil), last(20, 240)}, io.EOF)
	e.Close()
	cut := llm.Errorf(llm.KindUpstream, "cut")
	e = h.begin("second")
	e.Err = read(e, []*llm.Event{long(nil)}, cut)
	e.Close()
	h.flush()
	rows := h.store.all()
	if r := rows["second"]; r.Usage.Input != llm.Tokens(20) || r.Usage.Output.N < 120 || r.Usage.Output.N > 135 {
		t.Errorf("estimated %+v", r.Usage)
	}
	if r := h.j.ratios.get("openai", "gpt"); !r.tells {
		t.Error("not learned that it tells")
	}
	for i := range 2 * mostRatios {
		e := &Entry{Op: llm.OpChat, Usage: *count(1), BytesIn: 1, Target: llm.Target{Provider: "p", Model: string(rune(i))}}
		e.Usage.Input = llm.Tokens(1)
		h.j.ratios.learn(e)
	}
	if n := len(h.j.ratios.known); n > mostRatios {
		t.Errorf("%d models are known", n)
	}
}

// Without experience, what frames say counts as tokens, as far as it can be told from what surrounds it.
func TestGuess(t *testing.T) {
	tests := []struct {
		r    ratio
		c    tally
		want int64
	}{
		{ratio{}, tally{frames: 1, dark: 1, hidden: 200, least: 200}, 1},
		{ratio{}, tally{frames: 3, dark: 3, hidden: 700, least: 200}, 34},
		{ratio{}, tally{frames: 1, dark: 1, hidden: 200, least: 200, around: 50, decode: true}, 50},
		{ratio{}, tally{frames: 3, dark: 1, hidden: 200, least: 200, around: 300, decode: true, text: 100}, 34},
		{ratio{}, tally{frames: 50, text: 9}, 50},
		{ratio{out: unit / 10}, tally{frames: 2, bytes: 100}, 11},
		{ratio{out: 1}, tally{frames: 50, bytes: 100}, 50},
	}
	for _, tt := range tests {
		if got := tt.r.guess(&tt.c); got != tt.want {
			t.Errorf("%+v.guess(%+v) = %d, want %d", tt.r, tt.c, got, tt.want)
		}
	}
}

// Drain reads to the end unless its time is over; then it closes the stream.
func TestDrain(t *testing.T) {
	s := &script{events: []*llm.Event{frame(nil), last(1, 1)}, err: io.EOF}
	if err := Drain(t.Context(), s); err != nil || len(s.events) != 0 || s.closed == 0 {
		t.Errorf("%v, %d events left, closed %d times", err, len(s.events), s.closed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stuck := &stuck{closed: make(chan struct{})}
	cancel()
	if err := Drain(ctx, stuck); err == nil {
		t.Error("a stream that was cut drained well")
	}
}

// stuck is a stream on which nothing comes.
type stuck struct{ closed chan struct{} }

func (s *stuck) Next() (*llm.Event, error) {
	<-s.closed
	return nil, llm.Errorf(llm.KindUpstream, "closed")
}

func (s *stuck) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}
