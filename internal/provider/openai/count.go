package openai

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"

	"sluice/internal/llm"
)

// No vendor of these formats counts tokens for us, so the answer is an estimate made here, and says so:
// the reply carries X-Sluice-Estimated. The tokenizer is OpenAI's o200k_base; other models' differ by some
// percent. What surrounds the text is OpenAI's own reckoning:
// https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
const (
	perMessage = 3   // the marks around a message
	perName    = 1   //
	perReply   = 3   // the marks that begin the answer
	perTool    = 8   // the marks around a tool's definition
	perCall    = 6   // the marks around a call or a result
	perImage   = 765 // a square image in high detail; 85 in low
	lowImage   = 85
)

// A counter counts tokens. Its tables are built at the first use: most gateways never count. They are taken from codec,
// not from the package above it, whose choice by name links four vocabularies that nobody asks for.
type counter struct {
	vocabulary func() *codec.Codec
}

func newCounter() *counter {
	return &counter{sync.OnceValue(codec.NewO200kBase)}
}

// count answers a call that asks how many tokens its conversation has.
func (p *Provider) count(ctx context.Context, a *llm.Attempt) (*llm.Reply, error) {
	payload, err := a.Body.Payload()
	if err != nil {
		return nil, err
	}
	chat, ok := payload.(*llm.Chat)
	if !ok {
		return nil, llm.Errorf(llm.KindUnsupported, "only the tokens of a conversation can be counted")
	}
	t := tally{ctx: ctx, vocabulary: p.tokens.vocabulary()}
	t.chat(chat)
	if t.err != nil {
		return nil, t.err
	}
	ev := &llm.Event{
		Head:   &llm.Head{Model: a.Target.Model},
		Usage:  &llm.Usage{Input: llm.Tokens(t.n), Total: llm.Tokens(t.n)},
		Output: true,
	}
	return &llm.Reply{Target: a.Target, Header: http.Header{"X-Sluice-Estimated": {"true"}}, Stream: &one{ev: ev}}, nil
}

// A Tokenizer counts the tokens of what was said, for accounts of answers whose upstream did not. Its figures are
// estimates, as those above.
type Tokenizer struct{ c *counter }

// NewTokenizer makes a tokenizer.
func NewTokenizer() *Tokenizer { return &Tokenizer{newCounter()} }

// Chat counts a request.
func (t *Tokenizer) Chat(ctx context.Context, c *llm.Chat) (int64, error) {
	sum := tally{ctx: ctx, vocabulary: t.c.vocabulary()}
	sum.chat(c)
	return sum.n, sum.err
}

// Parts counts an answer. What a tool at the provider has found stands in it, too, but no model wrote that.
func (t *Tokenizer) Parts(ctx context.Context, parts []llm.Part) (int64, error) {
	sum := tally{ctx: ctx, vocabulary: t.c.vocabulary()}
	for i := range parts {
		if p := &parts[i]; p.Result == nil && !bytes.Contains(p.Foreign, []byte(`_tool_result"`)) {
			sum.parts(parts[i : i+1])
		}
	}
	return sum.n, sum.err
}

// A tally adds up one conversation.
type tally struct {
	ctx        context.Context
	vocabulary *codec.Codec
	n          int64
	err        error
}

// piece bounds what is given to the tokenizer at once: its time grows faster than the length of a run
// without blanks, and a cancelled call must not keep counting.
const piece = 8 << 10

func (t *tally) text(s string) {
	for s != "" && t.err == nil {
		if err := t.ctx.Err(); err != nil {
			t.err = &llm.Error{Kind: llm.KindClientGone, Msg: "the call was cancelled", Err: err}
			return
		}
		cut := len(s)
		if cut > piece {
			cut = breakAt(s[:piece])
		}
		n, err := t.vocabulary.Count(s[:cut])
		if err != nil {
			t.err = err
			return
		}
		t.n += int64(n)
		s = s[cut:]
	}
}

// breakAt cuts before the last blank of s, or where a character begins if there is none.
func breakAt(s string) int {
	if i := strings.LastIndexByte(s, ' '); i > 0 {
		return i
	}
	for i := len(s) - 1; i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return i
		}
	}
	return len(s)
}

func (t *tally) chat(c *llm.Chat) {
	for i := range c.Messages {
		m := &c.Messages[i]
		t.n += perMessage
		if m.Name != "" {
			t.n += perName
			t.text(m.Name)
		}
		t.parts(m.Parts)
	}
	for i := range c.Tools {
		tool := &c.Tools[i]
		t.n += perTool
		t.text(tool.Name)
		t.text(tool.Description)
		t.text(string(tool.Schema))
		t.text(string(tool.Foreign))
	}
	if c.Output != nil {
		t.text(string(c.Output.Schema))
	}
	t.n += perReply
}

func (t *tally) parts(parts []llm.Part) {
	for i := range parts {
		p := &parts[i]
		t.text(p.Text)
		t.text(string(p.Foreign))
		switch {
		case p.Call != nil:
			t.n += perCall
			t.text(p.Call.Name)
			t.text(string(p.Call.Args))
		case p.Result != nil:
			t.n += perCall
			t.parts(p.Result.Parts)
		case p.Reasoning != nil:
			t.text(p.Reasoning.Text)
		case p.Refusal != nil:
			t.text(*p.Refusal)
		case p.Media != nil:
			t.media(p.Media)
		}
	}
}

func (t *tally) media(m *llm.Media) {
	t.text(m.Text)
	t.text(m.Name)
	switch {
	case m.Kind == llm.MediaImage && m.Detail == "low":
		t.n += lowImage
	case m.Text == "":
		t.n += perImage // a page, a minute: nothing better is known without opening it
	}
}

// one is the stream of a single event.
type one struct {
	mu sync.Mutex
	ev *llm.Event
}

// Next gives the event, then the end.
func (o *one) Next() (*llm.Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ev := o.ev
	if ev == nil {
		return nil, io.EOF
	}
	o.ev = nil
	return ev, nil
}

// Close has nothing to free.
func (*one) Close() error { return nil }
