package wiretest

import (
	"fmt"
	"slices"
	"strings"

	"sluice/internal/llm"
)

// Facts are what an answer says, whatever its format.
type Facts struct {
	Choices []Said
	Usage   Counts
	Failed  bool // the answer is, or ends as, an error
	Ended   bool // the format's own end was there
}

// Said is one choice of an answer.
type Said struct {
	Text      string // all of it, refusals apart
	Refusal   string
	Reasoning string
	Blocks    int // of reasoning, so that joining them may differ by blanks
	Calls     []Called
	Proofs    []string // signatures and encrypted reasoning, in order
	Stop      string   // end, length, tools, filter, refusal, pause, other; "" when none was told
}

// Called is one tool call.
type Called struct{ ID, Name, Args string }

// Counts are tokens by name: input, output, cache_read, cache_write, reasoning. What is absent was not told.
type Counts map[string]int64

// add keeps a count that is there.
func (c Counts) add(name string, ts ...tree) {
	for _, t := range ts {
		if n, ok := t.num(); ok {
			c[name] += n
		}
	}
}

// FactsOf reads an answer with plain code.
func FactsOf(f llm.Format, stream bool, body []byte) Facts {
	switch f {
	case llm.OpenAIChat:
		return chatFacts(stream, body)
	case llm.OpenAIResponses:
		return responsesFacts(stream, body)
	case llm.AnthropicMessages:
		return messagesFacts(stream, body)
	case llm.GeminiGenerate:
		return geminiFacts(stream, body)
	}
	panic("wiretest: no facts of " + f)
}

// choice gives the i-th choice, made if need be.
func (f *Facts) choice(i int64) *Said {
	for int64(len(f.Choices)) <= i {
		f.Choices = append(f.Choices, Said{})
	}
	return &f.Choices[i]
}

func (s *Said) proof(t tree) {
	if v := t.str(); v != "" {
		s.Proofs = append(s.Proofs, v)
	}
}

// tells are the counts that a format has words for.
var tells = map[llm.Format][]string{
	llm.OpenAIChat:        {"input", "output", "cache_read", "reasoning"},
	llm.OpenAIResponses:   {"input", "output", "cache_read", "reasoning"},
	llm.AnthropicMessages: {"input", "output", "cache_read", "cache_write"},
	llm.GeminiGenerate:    {"input", "output", "cache_read", "reasoning"},
}

// Differ lists what an answer in format f, got, says otherwise than want, which may come from another
// format; nothing when they agree. Proofs are compared by whoever knows where they go.
func Differ(f llm.Format, want, got Facts) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if want.Failed != got.Failed {
		say("failed: got %t, want %t", got.Failed, want.Failed)
	}
	choices := want.Choices
	if f == llm.AnthropicMessages || f == llm.OpenAIResponses { // they have one
		choices = choices[:min(1, len(choices))]
	}
	if len(got.Choices) != len(choices) && len(choices) > 0 {
		say("got %d choices, want %d", len(got.Choices), len(choices))
		return out
	}
	for i, w := range choices {
		g := got.Choices[i]
		if w.Text+w.Refusal != g.Text+g.Refusal {
			say("choice %d: text: got %q, want %q", i, g.Text+g.Refusal, w.Text+w.Refusal)
		}
		if w.Refusal != g.Refusal && f != llm.AnthropicMessages && f != llm.GeminiGenerate {
			say("choice %d: refusal: got %q, want %q", i, g.Refusal, w.Refusal)
		}
		if a, b := w.Reasoning, g.Reasoning; a != b && (w.Blocks < 2 || strings.Join(strings.Fields(a), "") != strings.Join(strings.Fields(b), "")) {
			say("choice %d: reasoning: got %q, want %q", i, b, a)
		}
		if !sameStop(w.Stop, g.Stop) {
			say("choice %d: stop: got %q, want %q", i, g.Stop, w.Stop)
		}
		out = append(out, differCalls(w.Calls, g.Calls)...)
	}
	return append(out, DifferUsage(f, want.Usage, got.Usage)...)
}

// sameStop allows a refusal to be told as a filter's stop or a plain end, where a format has no word for it.
func sameStop(want, got string) bool {
	switch want {
	case "refusal":
		return got == "refusal" || got == "filter" || got == "end"
	case "filter":
		return got == "filter" || got == "refusal"
	case "pause":
		return got == "pause" || got == "end" || got == "other"
	}
	return want == got
}

func differCalls(want, got []Called) (out []string) {
	if len(want) != len(got) {
		return []string{fmt.Sprintf("got %d tool calls, want %d: %v", len(got), len(want), got)}
	}
	var ids []string
	for i, w := range want {
		g := got[i]
		if w.Name != g.Name || arguments(w.Args) != arguments(g.Args) {
			out = append(out, fmt.Sprintf("call %d: got %s(%s), want %s(%s)", i, g.Name, g.Args, w.Name, w.Args))
		}
		if w.ID != "" && g.ID != "" && w.ID != g.ID {
			out = append(out, fmt.Sprintf("call %d: id: got %q, want %q", i, g.ID, w.ID))
		}
		if g.ID != "" && slices.Contains(ids, g.ID) {
			out = append(out, fmt.Sprintf("call %d: id %q stands twice", i, g.ID))
		}
		ids = append(ids, g.ID)
	}
	return out
}

// arguments have one form; some vendors write none as nothing at all.
func arguments(s string) string {
	if s == "" {
		return "{}"
	}
	return canonical(s)
}

// DifferUsage compares the counts that format f can tell. A count that nobody told may be 0, never more.
func DifferUsage(f llm.Format, want, got Counts) (out []string) {
	for _, name := range tells[f] {
		w, told := want[name]
		if g, ok := got[name]; g != w || told && !ok && w != 0 {
			out = append(out, fmt.Sprintf("usage: %s: got %d, want %d", name, g, w))
		}
	}
	return out
}
