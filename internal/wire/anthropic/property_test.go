package anthropic

import (
	"encoding/json"
	"io"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sluice/internal/llm"
)

// drawAnswer makes an answer that Anthropic's format can carry.
func drawAnswer(t *rapid.T) *llm.Answer {
	c := llm.Choice{}
	for range rapid.IntRange(0, 6).Draw(t, "parts") {
		c.Parts = append(c.Parts, drawPart(t))
	}
	c.Native = rapid.SampledFrom([]string{"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded", "from_the_future"}).Draw(t, "stop")
	c.Stop = readStop(c.Native)
	if c.Stop == llm.StopSequence {
		c.StopText = rapid.StringN(1, 5, -1).Draw(t, "stop text")
	}
	if c.Stop == llm.StopRefusal {
		c.Extra = llm.Members{"stop_details": llm.Raw(`{"type":"refusal","category":"cyber"}`)}
	}
	return &llm.Answer{
		Format:  llm.AnthropicMessages,
		Head:    llm.Head{ID: "msg_" + rapid.StringMatching(`[a-z0-9]{4}`).Draw(t, "id"), Model: "claude"},
		Choices: []llm.Choice{c}, Usage: drawUsage(t),
	}
}

func drawUsage(t *rapid.T) *llm.Usage {
	n := func(name string) int64 { return rapid.Int64Range(0, 1000).Draw(t, name) }
	u := &llm.Usage{Output: llm.Tokens(n("output"))}
	fresh := n("fresh")
	if rapid.Bool().Draw(t, "cached") {
		u.CacheRead = llm.Tokens(n("cache read"))
	}
	if rapid.Bool().Draw(t, "written") {
		hour := n("1h")
		u.CacheWrite, u.CacheWrite1h = llm.Tokens(hour+n("5m")), llm.Tokens(hour)
	}
	if rapid.Bool().Draw(t, "thought") {
		u.Reasoning = llm.Tokens(min(n("thinking"), u.Output.N))
	}
	u.Input = llm.Tokens(fresh).Plus(u.CacheRead, u.CacheWrite)
	if rapid.Bool().Draw(t, "searched") {
		u.Extra = llm.Members{"server_tool_use": llm.Raw(`{"web_search_requests":2}`)}
		u.Runs = llm.Runs{"web_search": 2}
	}
	return u
}

func drawPart(t *rapid.T) llm.Part {
	text := func() string { return rapid.StringN(1, 20, -1).Draw(t, "text") }
	signed := func(vendors ...string) *llm.Signature {
		v := rapid.SampledFrom(vendors).Draw(t, "by")
		if v == "" {
			return nil
		}
		return &llm.Signature{By: v, Value: rapid.StringMatching(`[A-Za-z0-9+/.]{1,12}`).Draw(t, "signature")}
	}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		p := llm.Part{Text: text(), Signature: signed("", "gemini")}
		for range rapid.IntRange(0, 2).Draw(t, "citations") {
			native, _ := json.Marshal(map[string]any{"type": "char_location", "cited_text": text(), "document_title": "T"})
			c, _ := readCitation(native)
			p.Citations = append(p.Citations, c)
		}
		return p
	case 1:
		args, _ := json.Marshal(rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "args"))
		p := llm.Part{Call: &llm.ToolCall{ID: rapid.StringMatching(`toolu_[a-z0-9]{6}`).Draw(t, "id"), Name: "f", Args: args}, Signature: signed("", "gemini")}
		if rapid.Bool().Draw(t, "called") {
			p.Extra = llm.Members{"caller": llm.Raw(`{"type":"code_execution_20260120","tool_id":"x"}`)}
		}
		return p
	case 2:
		return llm.Part{Reasoning: &llm.Reasoning{Text: text()}, Signature: signed("", "anthropic", "openai", "gemini")}
	case 3: // thinking that is not shown
		return llm.Part{Reasoning: new(llm.Reasoning), Signature: signed("anthropic", "openai")}
	case 4:
		sig, data := readRedacted(rapid.SampledFrom([]string{"enc==", "sluice.openai.enc=="}).Draw(t, "data"))
		return llm.Part{Reasoning: &llm.Reasoning{Redacted: data}, Signature: sig}
	}
	raw, _ := json.MarshalIndent(map[string]any{"type": "server_tool_use", "id": "s", "name": "web_search", "input": map[string]any{"query": text()}}, "", " ")
	return llm.Part{Foreign: raw}
}

// split cuts a part into pieces as an upstream might send them.
func split(t *rapid.T, p llm.Part) []llm.Part {
	cut := func(n int) int { return rapid.IntRange(0, n).Draw(t, "cut") }
	switch {
	case p.Call != nil:
		head, tail := p, llm.Part{}
		i := cut(len(p.Call.Args))
		for i < len(p.Call.Args) && !utf8.RuneStart(p.Call.Args[i]) { // no upstream can cut a character
			i++
		}
		first, rest := *p.Call, llm.ToolCall{Args: p.Call.Args[i:]}
		first.Args = p.Call.Args[:i]
		head.Call, tail.Call = &first, &rest
		return []llm.Part{head, tail}
	case p.Reasoning != nil && p.Reasoning.Text != "":
		r := []rune(p.Reasoning.Text)
		i := cut(len(r))
		pieces := []llm.Part{{Reasoning: &llm.Reasoning{Text: string(r[:i])}}, {Reasoning: &llm.Reasoning{Text: string(r[i:])}}}
		if s := p.Signature; s != nil {
			j := cut(len(s.Value))
			pieces = append(pieces,
				llm.Part{Reasoning: new(llm.Reasoning), Signature: &llm.Signature{By: s.By, Value: s.Value[:j]}},
				llm.Part{Reasoning: new(llm.Reasoning), Signature: &llm.Signature{By: s.By, Value: s.Value[j:]}})
		}
		return pieces
	case isText(&p):
		r := []rune(p.Text)
		i := cut(len(r))
		return []llm.Part{{Text: string(r[:i]), Signature: p.Signature}, {Text: string(r[i:])}, {Citations: p.Citations}}
	}
	return []llm.Part{p}
}

// pieces are the deltas of an answer; those of tool calls in a row interleave.
func pieces(t *rapid.T, parts []llm.Part) []llm.Delta {
	var out []llm.Delta
	for i := 0; i < len(parts); {
		n := i + 1
		for parts[i].Call != nil && n < len(parts) && parts[n].Call != nil {
			n++
		}
		queues := make([][]llm.Part, n-i)
		for k := range queues {
			queues[k] = split(t, parts[i+k])
		}
		for begun := 0; ; {
			var ready []int
			for k, q := range queues {
				if len(q) > 0 && k <= begun {
					ready = append(ready, k)
				}
			}
			if len(ready) == 0 {
				break
			}
			k := rapid.SampledFrom(ready).Draw(t, "next")
			if k == begun {
				begun++
			}
			out = append(out, llm.Delta{Index: i + k, Part: &queues[k][0]})
			queues[k] = queues[k][1:]
		}
		i = n
	}
	return out
}

// chunks reads in pieces of drawn sizes.
type chunks struct {
	rest  []byte
	sizes []int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(c.rest))
	if len(c.sizes) > 0 {
		n = min(n, c.sizes[0])
		c.sizes = c.sizes[1:]
	}
	copy(p, c.rest[:n])
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunks) Close() error { return nil }

func TestWriteThenRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawAnswer(t)
		call := &llm.Call{ID: "1", Model: "m"}
		c := &want.Choices[0]

		body, err := Messages.Answer(call, want)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := Messages.ReadAnswer(body, false)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		whole := new(llm.Answer)
		whole.Add(ev)
		if diff := cmp.Diff(want, whole, sameMeaning); diff != "" {
			t.Fatalf("whole (-want +read):\n%s\n%s", diff, body)
		}

		w := Messages.Writer(call)
		var text []byte
		emit := func(ev *llm.Event) {
			if text, err = w.Event(text, ev); err != nil {
				t.Fatal(err)
			}
		}
		emit(&llm.Event{Format: llm.AnthropicMessages, Head: &want.Head})
		for _, d := range pieces(t, c.Parts) {
			emit(&llm.Event{Format: llm.AnthropicMessages, Delta: []llm.Delta{d}})
		}
		emit(&llm.Event{Format: llm.AnthropicMessages, Delta: []llm.Delta{{Stop: c.Stop, Native: c.Native, StopText: c.StopText, Extra: c.Extra}}, Usage: want.Usage})
		text = w.End(text)
		framed(t, text)

		got := new(llm.Answer)
		src := &chunks{rest: text, sizes: rapid.SliceOf(rapid.IntRange(1, 40)).Draw(t, "chunks")}
		for ev, err := range llm.All(Messages.ReadStream(src, false)) {
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			got.Add(ev)
		}
		got.Usage.Runs = want.Usage.Runs // of those that the vendor did not count, blocks were
		if diff := cmp.Diff(want, got, sameMeaning); diff != "" {
			t.Fatalf("streamed (-want +read):\n%s\n%s", diff, text)
		}
	})
}

// framed holds a stream to Anthropic's framing: blocks open in order of their index, each is closed once,
// and deltas meet open blocks only.
func framed(t *rapid.T, text []byte) {
	open := map[int]bool{}
	next, stage := 0, "message_start"
	for _, f := range frames(string(text)) {
		var d struct {
			Type  string
			Index int
		}
		if err := json.Unmarshal([]byte(f.data), &d); err != nil || d.Type != f.event {
			t.Fatalf("frame %q %q: %v", f.event, f.data, err)
		}
		switch d.Type {
		case "message_start", "message_stop":
			if d.Type != stage {
				t.Fatalf("%s, want %s", d.Type, stage)
			}
			stage = "blocks"
		case "content_block_start":
			if d.Index != next || stage != "blocks" {
				t.Fatalf("block %d opens, want %d (%s)", d.Index, next, stage)
			}
			open[d.Index] = true
			next++
		case "content_block_delta":
			if !open[d.Index] {
				t.Fatalf("delta for block %d, which is not open", d.Index)
			}
		case "content_block_stop":
			if !open[d.Index] {
				t.Fatalf("block %d closes, but is not open", d.Index)
			}
			delete(open, d.Index)
		case "message_delta":
			if len(open) > 0 {
				t.Fatalf("blocks %v are open at the end", open)
			}
			stage = "message_stop"
		default:
			t.Fatalf("unknown frame %s", d.Type)
		}
	}
}
