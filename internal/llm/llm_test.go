package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSecretNeverPrints(t *testing.T) {
	const text = "hunter2hunter2"
	s := Secret(text)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S Secret }{s})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s)
	encoded, _ := json.Marshal(map[string]any{"s": s})
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), log.String(), string(encoded), fmt.Sprintf("%v", Attempt{Secret: s}.Secret)} {
		if strings.Contains(out, text) {
			t.Errorf("printed: %s", out)
		}
	}
}

func TestAsError(t *testing.T) {
	marked := &Error{Kind: KindRateLimited, Msg: "slow down"}
	if got := AsError(fmt.Errorf("call: %w", marked)); got != marked {
		t.Errorf("%v, want the marked error", got)
	}
	got := AsError(errors.New("dial 10.0.0.1: secret"))
	if got.Kind != KindInternal || strings.Contains(got.Msg, "secret") {
		t.Errorf("%+v: an unmarked error tells its text", got)
	}
	if e := Errorf(KindInvalid, "bad: %w", io.EOF); !errors.Is(e, io.EOF) {
		t.Error("the wrapped error is lost")
	}
}

func TestCount(t *testing.T) {
	var absent Count
	if got := Tokens(10).Minus(Tokens(3), absent); got != Tokens(7) {
		t.Errorf("10-3-absent = %v", got)
	}
	if got := Tokens(1).Minus(Tokens(3)); got != Tokens(0) {
		t.Errorf("1-3 = %v, want 0", got)
	}
	if got := absent.Minus(Tokens(3)); got.Known {
		t.Errorf("absent-3 = %v, want absent", got)
	}
	if got := absent.Plus(absent, Tokens(0)); got != Tokens(0) {
		t.Errorf("absent+0 = %v, want a known zero", got)
	}
	u := Usage{Input: Tokens(5), Output: Tokens(1)}
	u.Merge(&Usage{Output: Tokens(9), CacheRead: Tokens(0)})
	if diff := cmp.Diff(Usage{Input: Tokens(5), Output: Tokens(9), CacheRead: Tokens(0)}, u); diff != "" {
		t.Errorf("merge (-want +got):\n%s", diff)
	}
}

// pieces is a stream of everything that can come in pieces; whole is the same in one event.
var (
	pieces = []*Event{
		{Head: &Head{ID: "1", Model: "m"}},
		{Delta: []Delta{{Index: 0, Part: &Part{Reasoning: &Reasoning{Text: "let me "}}}}},
		{Delta: []Delta{{Index: 0, Part: &Part{Reasoning: &Reasoning{Text: "think"}}}}},
		{Delta: []Delta{{Index: 0, Part: &Part{Reasoning: &Reasoning{}, Signature: &Signature{"anthropic", "s"}}}}},
		{Delta: []Delta{{Index: 1, Part: &Part{Text: "Hel"}}, {Choice: 1, Index: 0, Part: &Part{Text: "other"}}}},
		{Delta: []Delta{{Index: 1, Part: &Part{Text: "lo"}}}},
		{Delta: []Delta{{Index: 2, Part: &Part{Call: &ToolCall{ID: "c", Name: "f", Args: []byte(`{"a`)}}}}},
		{Delta: []Delta{{Index: 2, Part: &Part{Call: &ToolCall{Args: []byte(`":1}`)}}}}},
		{Usage: &Usage{Input: Tokens(3)}},
		{Delta: []Delta{{Stop: StopTools, Native: "tool_use"}, {Choice: 1, Stop: StopEnd}}, Usage: &Usage{Output: Tokens(7)}},
	}
	whole = []*Event{{
		Head: &Head{ID: "1", Model: "m"},
		Delta: []Delta{
			{Index: 0, Part: &Part{Reasoning: &Reasoning{Text: "let me think"}, Signature: &Signature{"anthropic", "s"}}},
			{Index: 1, Part: &Part{Text: "Hello"}},
			{Index: 2, Part: &Part{Call: &ToolCall{ID: "c", Name: "f", Args: []byte(`{"a":1}`)}}},
			{Stop: StopTools, Native: "tool_use"},
			{Choice: 1, Index: 0, Part: &Part{Text: "other"}},
			{Choice: 1, Stop: StopEnd},
		},
		Usage: &Usage{Input: Tokens(3), Output: Tokens(7)},
	}}
)

func sum(events []*Event) Answer {
	var a Answer
	for _, ev := range events {
		a.Add(ev)
	}
	return a
}

func TestAnswerIsTheSumOfItsEvents(t *testing.T) {
	opts := cmp.Options{cmpopts.IgnoreUnexported(Choice{})}
	if diff := cmp.Diff(sum(whole), sum(pieces), opts); diff != "" {
		t.Errorf("a stream sums to something else than the same answer in one piece:\n%s", diff)
	}
	var clones []*Event
	for _, ev := range pieces {
		clones = append(clones, ev.Clone())
	}
	if diff := cmp.Diff(sum(pieces), sum(clones), opts); diff != "" {
		t.Errorf("clones sum to something else:\n%s", diff)
	}
}

func TestCloneOutlivesItsSource(t *testing.T) {
	raw, args := []byte("frame"), []byte("{}")
	c := (&Event{Raw: raw, Delta: []Delta{{Part: &Part{Call: &ToolCall{Args: args}}}}}).Clone()
	raw[0], args[0] = 'X', 'X'
	if string(c.Raw) != "frame" || string(c.Delta[0].Part.Call.Args) != "{}" {
		t.Errorf("the clone changed with its source: %s %s", c.Raw, c.Delta[0].Part.Call.Args)
	}
}

func TestJoinLogprobs(t *testing.T) {
	got := joinLogprobs(joinLogprobs(nil, Raw(`{"content":[1],"refusal":null}`)), Raw(`{"content":[2,3]}`))
	var m map[string][]int
	if err := json.Unmarshal(got, &m); err != nil || fmt.Sprint(m["content"]) != "[1 2 3]" {
		t.Errorf("%s %v", got, err)
	}
}

// A fake codec whose bytes are its payload's first message.
type fake struct{ format Format }

func (f fake) Format() Format { return f.format }
func (f fake) Decode(raw []byte) (Payload, error) {
	return &Chat{Messages: []Message{{Parts: []Part{{Text: string(raw)}}}}}, nil
}

func (f fake) Encode(p Payload, e *Encoding) ([]byte, error) {
	text := p.(*Chat).Messages[0].Parts[0].Text
	if strings.Contains(text, "lossy") {
		e.Lose("/x", "cannot be carried")
	}
	return []byte(string(f.format) + ":" + e.Model + ":" + text), nil
}

func (f fake) Retarget(raw []byte, _ *Marks, e *Encoding) [][]byte {
	return [][]byte{raw, []byte("@" + e.Model)}
}

func TestBody(t *testing.T) {
	join := func(pieces [][]byte) (s string) {
		for _, p := range pieces {
			s += string(p)
		}
		return s
	}
	a, b := fake{"a"}, fake{"b"}
	body := NewBody(a, []byte("hi"), Marks{})
	for _, c := range []struct {
		codec Codec
		want  string
	}{{a, "hi@m"}, {b, "b:m:hi"}} {
		got, err := body.Bytes(c.codec, &Encoding{Model: "m"})
		if err != nil || join(got) != c.want {
			t.Errorf("%s: %q %v, want %q", c.codec.Format(), join(got), err, c.want)
		}
	}
	p, _ := body.Edit()
	p.(*Chat).Messages[0].Parts[0].Text = "edited"
	if got, err := body.Bytes(a, &Encoding{Model: "m"}); err != nil || join(got) != "a:m:edited" {
		t.Errorf("after Edit: %q %v: the old bytes must be gone", join(got), err)
	}
	lossy := NewBody(a, []byte("lossy"), Marks{})
	if _, err := lossy.Bytes(b, &Encoding{}); AsError(err).Kind != KindUnsupported || len(AsError(err).Problems) != 1 {
		t.Errorf("strict: %v, want a refusal that names the member", err)
	}
	e := &Encoding{Lenient: true}
	if _, err := lossy.Bytes(b, e); err != nil || len(e.Lost) != 1 {
		t.Errorf("lenient: %v, lost %v", err, e.Lost)
	}
}

// A header that is given up goes back once, whoever gives it up again.
func TestDropHeader(t *testing.T) {
	var back []http.Header
	r := &Response{Header: http.Header{"A": {"b"}}, Spare: func(h http.Header) { back = append(back, h) }}
	r.DropHeader()
	r.DropHeader()
	if len(back) != 1 || r.Header != nil {
		t.Errorf("given back %d times, and left is %v", len(back), r.Header)
	}
	r = &Response{Header: http.Header{"A": {"b"}}}
	if r.DropHeader(); r.Header != nil {
		t.Errorf("left is %v", r.Header)
	}
}
