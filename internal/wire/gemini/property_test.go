package gemini

import (
	"encoding/base64"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sluice/internal/llm"
)

var words = rapid.StringOfN(rapid.RuneFrom([]rune("ab é😀\n\"\\}]{[<\u2028")), 1, 12, -1)

// anAnswer draws an answer that Gemini can say: neighbours of one kind are one part there, unless signed.
func anAnswer(t *rapid.T) *llm.Answer {
	a := &llm.Answer{Format: llm.GeminiGenerate, Head: llm.Head{ID: "resp-1", Model: "gemini-x"}}
	if rapid.Bool().Draw(t, "dated") {
		a.Head.Created = time.Date(2026, 5, 1, 10, 0, 0, 5000, time.UTC)
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "choices") {
		c := llm.Choice{Index: i}
		tools := false
		for j := range rapid.IntRange(0, 6).Draw(t, "parts") {
			p := aPart(t, strconv.Itoa(i)+"_"+strconv.Itoa(j))
			if n := len(c.Parts); n > 0 && joins(&c.Parts[n-1], &p) {
				continue
			}
			tools = tools || p.Call != nil
			c.Parts = append(c.Parts, p)
		}
		c.Native = rapid.SampledFrom([]string{"STOP", "MAX_TOKENS", "SAFETY", "MALFORMED_FUNCTION_CALL"}).Draw(t, "finish")
		c.Stop = stopOf(c.Native, tools)
		if rapid.Bool().Draw(t, "message") {
			c.Extra = llm.Members{"finishMessage": llm.Raw(`"why"`), "safetyRatings": llm.Raw(`[{"category":"X"}]`)}
		}
		a.Choices = append(a.Choices, c)
	}
	if rapid.Bool().Draw(t, "usage") {
		n := func(name string) llm.Count { return llm.Tokens(rapid.Int64Range(0, 1000).Draw(t, name)) }
		u := &llm.Usage{Input: n("in"), Output: n("out"), CacheRead: n("cached"), Tier: "standard"}
		u.Total = llm.Tokens(u.Input.N + u.Output.N)
		if rapid.Bool().Draw(t, "thought") {
			u.Reasoning = llm.Tokens(u.Output.N / 2)
		}
		a.Usage = u
	}
	return a
}

// joins says that Gemini's format makes one part of the two.
func joins(p, q *llm.Part) bool {
	if p.Signature != nil || len(p.Citations) > 0 {
		return false
	}
	return isText(p) && isText(q) && q.Signature == nil || p.Reasoning != nil && q.Reasoning != nil
}

func aPart(t *rapid.T, id string) llm.Part {
	p := llm.Part{}
	if rapid.Bool().Draw(t, "signed") {
		p.Signature = &llm.Signature{By: rapid.SampledFrom([]string{by, "anthropic", "openai"}).Draw(t, "by"), Value: base64.StdEncoding.EncodeToString([]byte(words.Draw(t, "value")))}
	}
	switch rapid.SampledFrom([]string{"text", "thought", "call", "media", "redacted", "foreign"}).Draw(t, "kind") {
	case "text":
		p.Text = words.Draw(t, "text")
	case "thought":
		p.Reasoning = &llm.Reasoning{Text: words.Draw(t, "thought"), Summary: true}
	case "call":
		args := text{'{'}
		for k := range rapid.IntRange(0, 3).Draw(t, "args") {
			args.member("k" + strconv.Itoa(k))
			args.string(words.Draw(t, "arg"))
		}
		args.close('}')
		p.Call = &llm.ToolCall{ID: "id" + id, Name: "tool", Args: args}
	case "media":
		p.Media = &llm.Media{Kind: llm.MediaImage, Type: "image/png", Data: "AAAA"}
	case "redacted":
		p.Reasoning = &llm.Reasoning{Redacted: []byte(words.Draw(t, "redacted")), Summary: true}
		p.Signature = &llm.Signature{By: "anthropic"}
	case "foreign":
		p.Foreign = llm.Raw(`{"executableCode":{"code":"1+1"}}`)
	}
	return p
}

// eventsOf cuts an answer into events the way upstreams stream: heads first, texts and arguments in pieces,
// signatures behind the thought they end, usage and stops last.
func eventsOf(t *rapid.T, a *llm.Answer) []*llm.Event {
	out := []*llm.Event{{Format: llm.GeminiGenerate, Head: &a.Head}}
	piece := func(choice, index int, p llm.Part) {
		out = append(out, &llm.Event{Format: llm.GeminiGenerate, Delta: []llm.Delta{{Choice: choice, Index: index, Part: &p}}})
	}
	for i := range a.Choices {
		c := &a.Choices[i]
		for j := range c.Parts {
			p := c.Parts[j]
			switch {
			case p.Call != nil:
				cut := rapid.IntRange(0, len(p.Call.Args)).Draw(t, "cut")
				q := p
				q.Call = &llm.ToolCall{ID: p.Call.ID, Name: p.Call.Name, Args: p.Call.Args[:cut]}
				piece(c.Index, j, q)
				piece(c.Index, j, llm.Part{Call: &llm.ToolCall{Args: p.Call.Args[cut:]}})
			case p.Reasoning != nil && p.Reasoning.Text != "":
				r := []rune(p.Reasoning.Text)
				cut := rapid.IntRange(0, len(r)).Draw(t, "cut")
				piece(c.Index, j, llm.Part{Reasoning: &llm.Reasoning{Text: string(r[:cut]), Summary: true}})
				piece(c.Index, j, llm.Part{Reasoning: &llm.Reasoning{Text: string(r[cut:]), Summary: true}})
				if p.Signature != nil {
					piece(c.Index, j, llm.Part{Reasoning: &llm.Reasoning{Summary: true}, Signature: p.Signature})
				}
			case p.Text != "" && p.Signature == nil:
				r := []rune(p.Text)
				cut := rapid.IntRange(0, len(r)).Draw(t, "cut")
				piece(c.Index, j, llm.Part{Text: string(r[:cut])})
				piece(c.Index, j, llm.Part{Text: string(r[cut:])})
			default:
				piece(c.Index, j, p)
			}
		}
		out = append(out, &llm.Event{Format: llm.GeminiGenerate, Delta: []llm.Delta{{Choice: c.Index, Stop: c.Stop, Native: c.Native, Extra: c.Extra}}})
	}
	return append(out, &llm.Event{Format: llm.GeminiGenerate, Usage: a.Usage})
}

// What an answer is written as, whole or in pieces, as events or as an array, reads as that answer again.
func TestAnswerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anAnswer(t)
		whole, err := Generate.Answer(arrayCall(), want)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := Generate.ReadAnswer(whole, false)
		if err != nil {
			t.Fatalf("%v\n%s", err, whole)
		}
		var got llm.Answer
		got.Add(ev)
		if diff := cmp.Diff(want, &got, sameAnswer); diff != "" {
			t.Fatalf("whole:\n%s\n%s", diff, whole)
		}
		raw, err := Generate.ReadAnswer(whole, true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(counts(want.Usage), counts(raw.Usage)); diff != "" {
			t.Fatalf("raw usage:\n%s", diff)
		}
		for _, call := range []*llm.Call{sseCall(), arrayCall()} {
			w := Generate.Writer(call)
			var out []byte
			for _, ev := range eventsOf(t, want) {
				if out, err = w.Event(out, ev); err != nil {
					t.Fatal(err)
				}
				if rapid.Bool().Draw(t, "ping") {
					out = w.Ping(out)
				}
			}
			out = w.End(out)
			for _, rawMode := range []bool{false, true} {
				got, _, err := gather(Generate.ReadStream(io.NopCloser(strings.NewReader(string(out))), rawMode))
				if err != nil {
					t.Fatalf("%s, raw %t: %v\n%s", w.ContentType(), rawMode, err, out)
				}
				if rawMode {
					if diff := cmp.Diff(counts(want.Usage), counts(got.Usage)); diff != "" {
						t.Fatalf("raw usage:\n%s\n%s", diff, out)
					}
					continue
				}
				if diff := cmp.Diff(want, got, sameAnswer); diff != "" {
					t.Fatalf("%s:\n%s\n%s", w.ContentType(), diff, out)
				}
			}
			if call.Query == nil && !jsontext.Value(out).IsValid() {
				t.Fatalf("the array is not valid JSON: %s", out)
			}
		}
	})
}

func counts(u *llm.Usage) *llm.Usage {
	if u == nil {
		return nil
	}
	c := *u
	c.Extra, c.Tier = nil, ""
	return &c
}

// Whatever was sent so far, a failure ends the stream as one.
func TestFailRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := eventsOf(t, anAnswer(t))
		events = events[:rapid.IntRange(0, len(events)).Draw(t, "sent")]
		for _, call := range []*llm.Call{sseCall(), arrayCall()} {
			w := Generate.Writer(call)
			var out []byte
			for _, ev := range events {
				out, _ = w.Event(out, ev)
			}
			out = w.Fail(out, &llm.Error{Kind: llm.KindOverloaded, Msg: "gone"}, "req_1", false)
			_, _, err := gather(Generate.ReadStream(io.NopCloser(strings.NewReader(string(out))), false))
			e := llm.AsError(err)
			if e.Kind != llm.KindOverloaded || e.Msg != "gone" {
				t.Fatalf("%v\n%s", err, out)
			}
			if call.Query == nil && !jsontext.Value(out).IsValid() {
				t.Fatalf("the array is not valid JSON: %s", out)
			}
		}
	})
}

// Ids that were made for an upstream without ids stay with us, and are the same at every reading.
func TestMadeIDs(t *testing.T) {
	text := sseOf(`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"f"}},{"functionCall":{"id":"own","name":"f"}}]},"finishReason":"STOP"}],"responseId":"r9"}`)
	read := func(text string) (ids []string) {
		a, _, err := gather(Generate.ReadStream(body(text), false))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Choices[0].Parts {
			ids = append(ids, p.Call.ID)
		}
		return ids
	}
	first, second := read(text), read(text)
	if diff := cmp.Diff(first, second); diff != "" || first[0] == first[1] || first[2] != "own" {
		t.Errorf("ids %v, then %v", first, second)
	}
	if other := read(strings.Replace(text, "r9", "r10", 1)); other[0] == first[0] {
		t.Errorf("two answers share the id %s", other[0])
	}
	noID := strings.Replace(text, `,"responseId":"r9"`, "", 1)
	if a, b := read(noID), read(noID); a[0] == b[0] {
		t.Errorf("two answers without ids share the call id %s", a[0])
	}
	for _, id := range first {
		if len(id) > 40 {
			t.Errorf("id %s is longer than the 40 bytes that OpenAI's clients take", id)
		}
	}
	a, _, _ := gather(Generate.ReadStream(body(text), false))
	out, err := Generate.Answer(sseCall(), a)
	if err != nil || strings.Contains(string(out), madeID) || strings.Count(string(out), `"id"`) != 1 {
		t.Errorf("%v: %s", err, out)
	}
}
