package openai

import (
	"bytes"
	"encoding/base64"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// An answer is a whole chat answer or one chunk of a stream; a text completion is one, too.
type answer struct {
	ID                loose       `json:"id"`
	Object            loose       `json:"object"`
	Created           whole       `json:"created"`
	Model             loose       `json:"model"`
	Choices           []choice    `json:"choices"`
	Usage             *usage      `json:"usage"`
	ServiceTier       loose       `json:"service_tier"`
	SystemFingerprint llm.Raw     `json:"system_fingerprint"`
	XGroq             *xGroq      `json:"x_groq"`
	Error             llm.Raw     `json:"error"`
	Obfuscation       llm.Raw     `json:"obfuscation"` // padding against guessing by length; it means nothing
	Extra             llm.Members `json:",embed"`
}

// xGroq is where Groq tells usage in streams, beside the place of everybody else.
type xGroq struct {
	Usage *usage      `json:"usage,omitzero"`
	Extra llm.Members `json:",embed"`
}

type choice struct {
	Index        whole       `json:"index"`
	Message      *reply      `json:"message"`
	Delta        *reply      `json:"delta"`
	Text         *loose      `json:"text"` // of a completion
	FinishReason loose       `json:"finish_reason"`
	Logprobs     llm.Raw     `json:"logprobs"`
	Error        llm.Raw     `json:"error"` // OpenRouter
	Extra        llm.Members `json:",embed"`
}

// A reply is a message of an answer, or a piece of it.
type reply struct {
	Role             loose             `json:"role"`
	Content          content           `json:"content"`
	Refusal          loose             `json:"refusal"`
	ToolCalls        []toolCall        `json:"tool_calls"`
	FunctionCall     *function         `json:"function_call"`
	ReasoningContent loose             `json:"reasoning_content"`
	Reasoning        loose             `json:"reasoning"`
	ReasoningDetails []reasoningDetail `json:"reasoning_details"`
	Annotations      []annotation      `json:"annotations"`
	Audio            *audio            `json:"audio"`
	Images           []part            `json:"images"`
	ExtraContent     *extraContent     `json:"extra_content"`
	Extra            llm.Members       `json:",embed"`
}

// audio is a spoken answer. In a stream each piece is base64 of its own.
type audio struct {
	ID         loose  `json:"id,omitzero"`
	Data       string `json:"data,omitzero"`
	Transcript string `json:"transcript,omitzero"`
	ExpiresAt  *whole `json:"expires_at,omitzero"`
}

// ReadAnswer reads a whole answer.
func (c *ChatFormat) ReadAnswer(body []byte, raw bool) (*llm.Event, error) {
	return readAnswer(body, raw, llm.OpenAIChat, c.d.HiddenThoughts)
}

func readAnswer(body []byte, raw bool, f llm.Format, hidden bool) (*llm.Event, error) {
	ev := &llm.Event{Raw: body, Format: f, Output: true}
	a := assembler{hidden: hidden}
	if raw {
		if err := a.probe(ev, body); err != nil {
			return nil, err
		}
		return ev, nil
	}
	var c answer
	if err := json.Unmarshal(body, &c, readOptions); err != nil {
		return nil, unreadable(body, err)
	}
	if err := answerError(&c); err != nil {
		return nil, err
	}
	if len(c.Choices) == 0 {
		return nil, errNoChoices()
	}
	a.event(ev, &c)
	b := builder{a: &a, ev: ev}
	for _, s := range a.choices { // calls of an answer that gives no reason to stop
		b.s = s
		b.fillCalls()
	}
	return ev, nil
}

// A probed answer is decoded only for accounting.
type probed struct {
	ServiceTier loose  `json:"service_tier"`
	Usage       *usage `json:"usage"`
	XGroq       *xGroq `json:"x_groq"`
	Choices     []struct {
		Index        whole   `json:"index"`
		FinishReason loose   `json:"finish_reason"`
		Error        llm.Raw `json:"error"`
	} `json:"choices"`
	Error llm.Raw `json:"error"`
}

// answer is what was decoded, in the form that the rest works on.
func (p *probed) answer() *answer {
	c := &answer{ServiceTier: p.ServiceTier, Usage: p.Usage, XGroq: p.XGroq, Error: p.Error, Choices: make([]choice, len(p.Choices))}
	for i := range p.Choices {
		ch := &p.Choices[i]
		c.Choices[i] = choice{Index: ch.Index, FinishReason: ch.FinishReason, Error: ch.Error}
	}
	return c
}

// probe reads of a whole answer what accounting needs. Choices are decoded only when they hold a sign of trouble.
func (a *assembler) probe(ev *llm.Event, body []byte) error {
	var found [len(probeNames)][]byte
	if err := wire.Members(body, probeNames[:], found[:]); err != nil {
		return unreadable(body, err)
	}
	choices, usage, tier, groq, failure := found[0], found[1], found[2], found[3], found[4]
	if !isNull(failure) || groq != nil || troubled(choices) {
		return a.probeAll(ev, body)
	}
	if tier != nil {
		var t loose
		_ = t.UnmarshalJSON(tier) // it cannot fail
		a.tier = string(t)
	}
	u, err := glance(usage, a.tier, a.hidden)
	if err != nil {
		return unreadable(body, err)
	}
	ev.Usage = u
	return nil
}

var probeNames = [...]string{"choices", "usage", "service_tier", "x_groq", "error"}

// troubled says that the choices of an answer must be looked at: none, or one with an error.
func troubled(choices []byte) bool {
	return len(choices) < 4 || choices[0] != '[' || bytes.Contains(choices, []byte(`"error"`)) || bytes.Contains(choices, []byte("insufficient_system_resource"))
}

func (a *assembler) probeAll(ev *llm.Event, body []byte) error {
	var p probed
	if err := json.Unmarshal(body, &p, readOptions); err != nil {
		return unreadable(body, err)
	}
	c := p.answer()
	if err := answerError(c); err != nil {
		return err
	}
	if len(c.Choices) == 0 {
		return errNoChoices()
	}
	a.tier = string(c.ServiceTier)
	a.usage(ev, c)
	return nil
}

func errNoChoices() error {
	return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer holds no choices"}
}

// unreadable is about an answer that is no JSON, or not of this format.
func unreadable(body []byte, err error) error {
	msg := "the upstream's answer is not in the format asked for"
	if !jsontext.Value(body).IsValid() {
		msg = "the upstream's answer is garbled"
	}
	return &llm.Error{Kind: llm.KindUpstream, Msg: msg, Err: err}
}

// joinAudio joins base64 pieces into one.
func joinAudio(a, b string) string {
	x, err1 := base64.StdEncoding.DecodeString(a)
	y, err2 := base64.StdEncoding.DecodeString(b)
	if err1 != nil || err2 != nil {
		return a + b
	}
	return base64.StdEncoding.EncodeToString(append(x, y...))
}
