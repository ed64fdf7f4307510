package mock

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// answer is what a model says, before a vendor's form is given to it.
type answer struct {
	id     string // 24 hex digits, the same for the same question
	model  string
	parts  []part
	stop   stop
	tokens counts
}

type stop uint8

const (
	stopEnd stop = iota
	stopLength
	stopTools
	stopFilter
	stopRefusal
)

type partKind uint8

const (
	textPart partKind = iota
	reasoningPart
	redactedPart
	refusalPart
	callPart
)

// part is one piece of an answer: text of some kind, or a tool call with its arguments as text.
type part struct {
	kind   partKind
	text   string
	chunks []string // text, cut as it is streamed
	id     string
	name   string
	sig    string
}

// signingKey makes signatures that only this package can verify; a secret is not needed for that.
var signingKey = []byte("mock upstream")

func mac(s string) []byte {
	h := hmac.New(sha256.New, signingKey)
	h.Write([]byte(s))
	return h.Sum(nil)
}

// signText signs a thinking text as Anthropic does: another text, or another signature, is refused when it comes back.
func signText(text string) string { return base64.StdEncoding.EncodeToString(mac("text" + text)) }

func signedText(text, sig string) bool { return hmac.Equal([]byte(sig), []byte(signText(text))) }

// seal makes an opaque value that verifies itself, as encrypted reasoning does.
func seal(id string) string {
	return base64.StdEncoding.EncodeToString(append(mac("seal"+id), id...))
}

func sealed(v string) bool {
	b, err := base64.StdEncoding.DecodeString(v)
	return err == nil && len(b) > sha256.Size && hmac.Equal(b[:sha256.Size], mac("seal"+string(b[sha256.Size:])))
}

// personas are the models, by name.
var personas = map[string]func(a *answer, k *ask, s *Script){
	"echo":   func(a *answer, k *ask, _ *Script) { a.say(k.prompt) },
	"story":  func(a *answer, _ *ask, s *Script) { a.say(story(s)) },
	"tools":  callTools,
	"reason": reason,
	"json":   func(a *answer, k *ask, s *Script) { a.say(instance(k.schema, s.seed)) },
	"refuse": decline,
	"usage":  spend,
}

// think makes the answer of model s.model to k.
func think(k *ask, s *Script) *answer {
	h := fnv.New64a()
	h.Write(fmt.Appendf(nil, "%d %d %s %s", s.seed, k.size, k.model, k.prompt))
	sum := h.Sum64()
	a := &answer{id: fmt.Sprintf("%016x%08x", sum, uint32(mix(sum, 1))), model: k.model}
	personas[s.model](a, k, s)
	if s.text != "" {
		a.say(s.text)
	}
	a.cut(k, s)
	a.count(k, s)
	switch s.stop {
	case "stop":
		a.stop = stopEnd
	case "length":
		a.stop = stopLength
	case "filter":
		a.stop = stopFilter
	}
	return a
}

// say adds a text part, or puts s in place of the text that is there.
func (a *answer) say(s string) {
	for i := range a.parts {
		if a.parts[i].kind == textPart {
			a.parts[i].text = s
			return
		}
	}
	a.parts = append(a.parts, part{kind: textPart, text: s})
}

func callTools(a *answer, k *ask, s *Script) {
	switch {
	case k.result != nil:
		a.say("The tool says: " + *k.result)
		return
	case len(k.tools) == 0 || k.choice == "none":
		a.say("There is no tool to call.")
		return
	}
	offered := k.tools
	for i, t := range k.tools {
		if t.name == k.choice {
			offered = k.tools[i : i+1]
		}
	}
	calls := 1
	if p := strings.ToLower(k.prompt); !k.single && (strings.Contains(p, "parallel") || strings.Contains(p, "both")) {
		calls = 2
	}
	for i := range calls {
		t := offered[i%len(offered)]
		a.parts = append(a.parts, part{
			kind: callPart, id: fmt.Sprintf("%s%02d", a.id, i), name: t.name, text: instance(t.schema, s.seed+uint64(i)),
		})
	}
	if k.api.vendor() == gemini {
		a.parts[0].sig = seal(a.id)
	}
	a.stop = stopTools
}

func reason(a *answer, k *ask, s *Script) {
	text := fmt.Sprintf("The user says %q. I will answer in the same words.", clip(k.prompt, 80))
	a.parts = append(a.parts, part{kind: reasoningPart, text: text, sig: seal(a.id)})
	if k.api.vendor() == anthropic {
		a.parts[0].sig = signText(text)
		if s.redacted {
			a.parts = append(a.parts, part{kind: redactedPart, text: seal(a.id + "r")})
		}
	}
	a.say("Thought about: " + k.prompt)
}

func decline(a *answer, k *ask, _ *Script) {
	a.stop = stopRefusal
	if k.api.vendor() == openai && k.api != openaiText {
		a.parts = append(a.parts, part{kind: refusalPart, text: "I'm sorry, I can't help with that."})
		a.stop = stopEnd
	}
}

// spend draws token counts of every size from the prompt; cached and write stay within input, reasoning within output.
func spend(a *answer, k *ask, s *Script) {
	a.say(k.prompt)
	h := fnv.New64a()
	h.Write([]byte(k.prompt))
	r := rand.New(rand.NewPCG(s.seed, h.Sum64())) //nolint:gosec // the same for the same seed is the point
	a.tokens.input = 1 + r.Int64N(1<<r.IntN(20))
	a.tokens.cached = r.Int64N(a.tokens.input + 1)
	if k.api == anthropicMessages {
		a.tokens.write = r.Int64N(a.tokens.input - a.tokens.cached + 1)
	}
	a.tokens.output = 1 + r.Int64N(1<<r.IntN(17))
	a.tokens.reasoning = r.Int64N(a.tokens.output + 1)
}

// cut divides every part into the chunks of a stream, and ends the answer at the client's limit of tokens; a token is a
// word with the blank before it.
func (a *answer) cut(k *ask, s *Script) {
	left := k.max
	for i := range a.parts {
		p := &a.parts[i]
		switch p.kind {
		case callPart:
			p.chunks = split(p.text, 4)
			continue
		case redactedPart:
			p.chunks = []string{p.text}
			continue
		}
		words := tokens(p.text)
		if k.max > 0 && int64(len(words)) > left {
			words, a.stop = words[:left], stopLength
			p.text = strings.Join(words, "")
		}
		left -= int64(len(words))
		p.chunks = words
		if p.kind == textPart && s.chunks > 0 {
			p.chunks = split(p.text, s.chunks)
		}
	}
}

// count fills in the token counts that neither the model nor the script gave.
func (a *answer) count(k *ask, s *Script) {
	c := &a.tokens
	if c.input == 0 {
		c.input = 1 + int64(k.size)/4
	}
	if c.output == 0 {
		for _, p := range a.parts {
			n := int64(len(tokens(p.text)))
			c.output += n
			if p.kind == reasoningPart {
				c.reasoning += n
			}
		}
	}
	for _, o := range []struct{ to, from *int64 }{
		{&c.input, &s.tokens.input},
		{&c.output, &s.tokens.output},
		{&c.cached, &s.tokens.cached},
		{&c.write, &s.tokens.write},
		{&c.reasoning, &s.tokens.reasoning},
	} {
		if *o.from != unset {
			*o.to = *o.from
		}
	}
	// The sums must hold whatever the script says of the parts: a total is never below them.
	c.input = max(c.input, c.cached+c.write)
	c.output = max(c.output, c.reasoning)
	if s.usage == "zero" {
		*c = counts{}
	}
}

// tokens cuts text before each blank that follows a word.
func tokens(text string) []string {
	var out []string
	start := 0
	for i := 1; i < len(text); i++ {
		if text[i] == ' ' && text[i-1] != ' ' {
			out = append(out, text[start:i])
			start = i
		}
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

// split cuts text into n chunks at word ends, or inside words where there are too few; a text of fewer runes has fewer.
func split(text string, n int) []string {
	words := tokens(text)
	if len(words) < n {
		words = strings.Split(text, "")
	}
	n = min(n, len(words))
	out := make([]string, 0, n)
	for i := range n {
		out = append(out, strings.Join(words[i*len(words)/n:(i+1)*len(words)/n], ""))
	}
	return out
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

const vocabulary = "the a river gate opens slowly under morning light and water runs past old stone while birds call from " +
	"far hills keeper counts each drop that turns wheel below mill grain falls like rain into waiting sacks " +
	"children watch boats carry letters between towns where markets wake bells ring over roofs wind moves through tall grass"

// story tells one of s.words words or s.size bytes, in sentences, the same for the same seed.
func story(s *Script) string {
	words := s.words
	if words == 0 && s.size == 0 {
		words = max(60, s.chunks)
	}
	bank := strings.Fields(vocabulary)
	r := rand.New(rand.NewPCG(s.seed, 0x5714CE)) //nolint:gosec // the same for the same seed is the point
	var b strings.Builder
	for i, end := 0, true; words > 0 && i < words || int64(b.Len()) < s.size; i++ {
		w := bank[r.IntN(len(bank))]
		if end {
			w = strings.ToUpper(w[:1]) + w[1:]
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w)
		if end = i%11 == 10; end {
			b.WriteByte('.')
		}
	}
	text := b.String()
	if s.size > 0 && int64(len(text)) > s.size {
		text = text[:s.size] // the vocabulary is ASCII
	}
	return text
}

// obj is a JSON object whose members keep their order, names and values alternating: the mock writes what a vendor
// writes, in the vendor's order, and a struct for each would only hide it.
type obj []any

// MarshalJSON writes the members in order.
func (o obj) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i := 0; i < len(o); i += 2 {
		if i > 0 {
			out = append(out, ',')
		}
		for j, v := range o[i : i+2] {
			if j == 1 {
				out = append(out, ':')
			}
			b, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			out = append(out, b...)
		}
	}
	return append(out, '}'), nil
}

// list is a JSON array; nil is [].
type list []any

// encode is for values built here, which always encode.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("mock: encode an own value: %v", err))
	}
	return b
}
