package gemini

import (
	"encoding/base64"
	"math"
	"strings"

	"sluice/internal/llm"
)

// An encoder writes one chat as a request.
type encoder struct {
	t    text
	chat *llm.Chat
	e    *llm.Encoding
	own  bool              // the chat was read from this format
	tool map[string]string // name of the tool by call id: responses need it, and not every format tells it
	bad  []llm.Problem
}

func encodeGenerate(c *llm.Chat, e *llm.Encoding) ([]byte, error) {
	x := &encoder{chat: c, e: e, own: ours(c.Format)}
	x.t.open('{')
	x.request()
	x.t.close('}')
	return x.done()
}

// encodeCount writes contents alone where they are all there is: the other form needs more of the upstream.
func encodeCount(c *llm.Chat, e *llm.Encoding) ([]byte, error) {
	x := &encoder{chat: c, e: e, own: ours(c.Format)}
	x.t.open('{')
	x.t.name("generateContentRequest")
	x.t.open('{')
	x.t.str("model", resource(e.Model))
	x.request()
	x.t.close('}')
	x.t.close('}')
	return x.done()
}

func (x *encoder) done() ([]byte, error) {
	if len(x.bad) > 0 {
		return nil, &llm.Error{Kind: llm.KindUnsupported, Msg: "the model's upstream cannot carry this request", Problems: x.bad}
	}
	return x.t, nil
}

func (x *encoder) lose(at, why string) { x.e.Lose(at, why) }

func (x *encoder) request() {
	system, turns := x.split()
	if len(turns) == 0 && !x.own { // OpenAI takes instructions alone; here there must be a turn to answer
		system, turns = nil, system
	}
	x.systemInstruction(system)
	x.contents(turns)
	x.tools()
	x.toolConfig()
	x.generationConfig()
	x.rest()
}

// split takes the instructions out of the conversation. Gemini has one place for them, so those that stand
// between the turns move to the front, too.
func (x *encoder) split() (system, turns []*llm.Message) {
	for i := range x.chat.Messages {
		m := &x.chat.Messages[i]
		x.loseExtra(m.At, m.Extra)
		if m.Name != "" && !x.own {
			x.lose(m.At+"/name", "Gemini has no names of participants")
		}
		if m.Role == llm.RoleSystem || m.Role == llm.RoleDeveloper {
			system = append(system, m)
		} else {
			turns = append(turns, m)
		}
	}
	return system, turns
}

func (x *encoder) loseExtra(at string, m llm.Members) {
	if x.own {
		return
	}
	for _, k := range sorted(m) {
		if !isNull(m[k]) {
			x.lose(pointer(at, k), "Gemini has no such member")
		}
	}
}

func (x *encoder) systemInstruction(system []*llm.Message) {
	if len(system) == 0 {
		return
	}
	t := &x.t
	t.name("systemInstruction")
	t.open('{')
	t.name("parts")
	t.open('[')
	for _, m := range system {
		for i := range m.Parts {
			if p := &m.Parts[i]; isText(p) || x.own {
				x.part(p, false)
			} else {
				x.lose(p.At, "Gemini takes only text as an instruction")
			}
		}
	}
	t.close(']')
	if x.own {
		t.members(system[0].Extra)
	}
	t.close('}')
}

func isText(p *llm.Part) bool {
	return p.Media == nil && p.Call == nil && p.Result == nil && p.Reasoning == nil && p.Refusal == nil && p.Foreign == nil
}

// contents writes the turns. Gemini wants all calls of a turn in one content and all their responses in the
// next, so messages of one role in a row become one, unless they came from Gemini's own format.
func (x *encoder) contents(turns []*llm.Message) {
	t := &x.t
	t.name("contents")
	t.open('[')
	for len(turns) > 0 {
		n := 1
		for !x.own && n < len(turns) && contentRole(turns[n].Role) == contentRole(turns[0].Role) {
			n++
		}
		x.content(turns[:n])
		turns = turns[n:]
	}
	t.close(']')
}

func contentRole(r llm.Role) string {
	if r == llm.RoleAssistant {
		return "model"
	}
	return "user"
}

func (x *encoder) content(run []*llm.Message) {
	t := &x.t
	start := len(*t)
	t.open('{')
	t.str("role", contentRole(run[0].Role))
	t.name("parts")
	t.open('[')
	empty := len(*t)
	first := true // of the calls in this turn
	for _, m := range run {
		for i := range m.Parts {
			p := &m.Parts[i]
			x.part(p, p.Call != nil && first)
			first = first && p.Call == nil
		}
	}
	if len(*t) == empty && !x.own {
		*t = (*t)[:start] // nothing of it can be said here: an empty turn would be refused
		return
	}
	t.close(']')
	if x.own {
		t.members(run[0].Extra)
	}
	t.close('}')
}

// noSignature is what Google documents for calls that another model made: models from Gemini 3 on refuse
// the first call of a turn without a thought signature, and take this in place of one.
const noSignature = "skip_thought_signature_validator"

// part writes one part of a request; firstCall is set on the first call of a turn.
func (x *encoder) part(p *llm.Part, firstCall bool) {
	x.loseExtra(p.At, p.Extra)
	signature := ""
	if p.Signature != nil && p.Signature.By == by {
		signature = p.Signature.Value
	}
	if firstCall && signature == "" && !x.own && generation(x.e.Model) >= 3 {
		signature = noSignature
	}
	switch {
	case p.Call != nil:
		x.call(p.Call, p.At, signature, p.Extra)
	case p.Result != nil:
		x.result(p)
	case p.Reasoning != nil:
		// Thoughts go back to the vendor that signed them. Gemini does not sign its thoughts, only what follows.
		if signature != "" || x.own && p.Signature == nil && len(p.Reasoning.Redacted) == 0 {
			x.simple(p.Reasoning.Text, true, signature, p.Extra)
		}
	case p.Media != nil:
		x.media(p, signature)
	case p.Foreign != nil:
		if !x.own {
			x.lose(p.At, "only the format it came in knows this block")
			return
		}
		x.foreign(p.Foreign, signature)
	case p.Refusal != nil:
		x.simple(*p.Refusal, false, signature, p.Extra)
	case p.Text != "" || signature != "" || x.own:
		x.simple(p.Text, false, signature, p.Extra)
	}
}

// end writes what every part may have, and closes it.
func (x *encoder) end(signature string, extra llm.Members) {
	x.t.str("thoughtSignature", signature)
	if x.own {
		x.t.members(extra)
	}
	x.t.close('}')
}

func (x *encoder) simple(s string, thought bool, signature string, extra llm.Members) {
	x.t.open('{')
	x.t.name("text")
	x.t.string(s)
	if thought {
		x.t.name("thought")
		x.t.bool(true)
	}
	x.end(signature, extra)
}

func (x *encoder) foreign(raw llm.Raw, signature string) {
	x.t.raw(raw[:len(raw)-1]) // without its closing brace
	x.end(signature, nil)
}

func (x *encoder) call(c *llm.ToolCall, at, signature string, extra llm.Members) {
	if x.tool == nil {
		x.tool = make(map[string]string)
	}
	x.tool[c.ID] = c.Name
	if c.Custom {
		x.lose(at, "Gemini has no free-form tools")
		return
	}
	x.t.open('{')
	x.t.functionCall(c)
	x.end(signature, extra)
}

// rawArguments is the member that holds the arguments of a call when a model wrote something else than a
// JSON object. Gemini's arguments are always an object; the text as it was is worth more to the tool's
// author, and to the model that sees it again, than a failure of the whole answer.
const rawArguments = "_raw"

// functionCall writes the member; args that are no JSON object are wrapped as {"_raw": text}.
func (t *text) functionCall(c *llm.ToolCall) {
	t.name("functionCall")
	t.open('{')
	t.str("id", nativeID(c.ID))
	t.str("name", c.Name)
	t.name("args")
	switch args := trimmed(c.Args); {
	case len(args) == 0:
		t.raw([]byte("{}"))
	case !c.Custom && isObject(args):
		t.raw(args)
	default:
		t.open('{')
		t.name(rawArguments)
		t.string(string(c.Args))
		t.close('}')
	}
	t.close('}')
}

func trimmed(b []byte) []byte { return []byte(strings.TrimSpace(string(b))) }

func (x *encoder) result(p *llm.Part) {
	r := p.Result
	name := x.tool[r.CallID]
	if name == "" {
		name = r.Name
	}
	if name == "" {
		x.bad = append(x.bad, llm.Problem{At: p.At, Msg: "answers no tool call that came before it, and Gemini needs the tool's name"})
		return
	}
	var s strings.Builder
	texts := 0
	var media []*llm.Part
	for i := range r.Parts {
		switch q := &r.Parts[i]; {
		case q.Media != nil:
			x.loseExtra(q.At, q.Extra)
			media = append(media, q)
		case isText(q):
			x.loseExtra(q.At, q.Extra)
			if texts++; texts > 1 {
				s.WriteByte('\n')
			}
			s.WriteString(q.Text)
		default:
			x.lose(q.At, "Gemini takes text and media as a tool's result")
		}
	}
	t := &x.t
	t.open('{')
	t.name("functionResponse")
	t.open('{')
	t.str("id", nativeID(r.CallID))
	t.str("name", name)
	t.name("response")
	t.response(s.String(), r.Failed)
	if len(media) > 0 {
		t.name("parts")
		t.open('[')
		for _, q := range media {
			x.media(q, "")
		}
		t.close(']')
	}
	inside, beside := splitResult(p.Extra)
	if x.own {
		t.members(inside)
	}
	t.close('}')
	x.end("", beside)
}

// response writes a tool's result, which must be an object here.
func (t *text) response(s string, failed bool) {
	if !failed && isObject([]byte(s)) {
		t.raw(trimmed([]byte(s)))
		return
	}
	t.open('{')
	if failed {
		t.name(errorMember)
	} else {
		t.name(outputMember)
	}
	t.string(s)
	t.close('}')
}

// media writes an image, document, sound or film. The name of a file is left out unless it was Gemini's
// own: it means nothing to the model, and this API refuses it.
func (x *encoder) media(p *llm.Part, signature string) {
	m := p.Media
	x.loseExtra(p.At, m.Extra)
	if m.Detail != "" && m.Detail != "auto" {
		x.lose(p.At, "Gemini has no detail of a single image")
	}
	if m.FileID != "" && !x.own {
		x.lose(p.At, "a file kept at another provider means nothing to Gemini")
		return
	}
	kept := m.Extra
	if !x.own {
		kept = nil
	}
	x.t.open('{')
	x.t.media(m, kept, x.own)
	x.end(signature, p.Extra)
}

// media writes the member that holds the data.
func (t *text) media(m *llm.Media, extra llm.Members, named bool) {
	uri := m.URL
	if m.FileID != "" {
		uri = m.FileID
	}
	mime, data := m.Type, m.Data
	if m.Text != "" {
		mime, data = mimeText, base64.StdEncoding.EncodeToString([]byte(m.Text))
	}
	if uri != "" {
		t.name("fileData")
		t.open('{')
		if mime == "" {
			mime = mimeByName(uri)
		}
		t.str("mimeType", mime)
		t.str("fileUri", uri)
	} else {
		t.name("inlineData")
		t.open('{')
		t.str("mimeType", mime)
		t.name("data")
		t.string(data)
	}
	if named {
		t.str("displayName", m.Name)
	}
	t.members(extra)
	t.close('}')
}

// mimeByName guesses a type from an address, for clients whose format does not say one.
func mimeByName(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	i := strings.LastIndexByte(path, '.')
	switch strings.ToLower(path[i+1:]) {
	case "jpg", "jpeg":
		return "image/jpeg"
	case "png":
		return "image/png"
	case "webp":
		return "image/webp"
	case "gif":
		return "image/gif"
	case "pdf":
		return "application/pdf"
	case "mp4":
		return "video/mp4"
	case "mp3":
		return "audio/mp3"
	case "wav":
		return "audio/wav"
	}
	return ""
}

// generation is the major version in a model's name, 0 when it says none ("gemini-flash-latest").
func generation(model string) int {
	_, rest, ok := strings.Cut(strings.ToLower(model), "gemini-")
	if !ok {
		return 0
	}
	n := 0
	for _, c := range []byte(rest) {
		if c < '0' || c > '9' || n > math.MaxInt16 {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}
