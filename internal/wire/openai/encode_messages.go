package openai

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"

	"sluice/internal/llm"
)

// messages writes the conversation. Where the chat came from another format, an assistant's messages in a
// row become one: here all calls of a turn stand in one message, and their results follow it.
func (x *encoder) messages() {
	msgs := x.chat.Messages
	for i := 0; i < len(msgs); i++ {
		m := msgs[i]
		if m.Role == llm.RoleAssistant && !x.same {
			for i+1 < len(msgs) && msgs[i+1].Role == llm.RoleAssistant {
				i++
				m.Parts = append(m.Parts[:len(m.Parts):len(m.Parts)], msgs[i].Parts...)
			}
		}
		x.message(&m)
	}
	if x.out.Messages == nil {
		x.out.Messages = []message{}
	}
}

func (x *encoder) message(m *llm.Message) {
	if !x.same {
		x.loseExtra(m.At, m.Extra)
	}
	if m.Role == llm.RoleAssistant {
		x.out.Messages = append(x.out.Messages, x.assistant(m))
		return
	}
	var rest []llm.Part
	results := 0
	for i := range m.Parts {
		if m.Parts[i].Result != nil { // results come first: they must follow their calls at once
			x.out.Messages = append(x.out.Messages, x.result(m, &m.Parts[i]))
			results++
		} else {
			rest = append(rest, m.Parts[i])
		}
	}
	if results > 0 && len(rest) == 0 {
		return
	}
	out := message{Role: string(m.Role), Name: x.name(m), Content: x.content(rest)}
	switch m.Role {
	case llm.RoleTool: // without a result there is nothing to say
		return
	case llm.RoleDeveloper:
		if x.d.NoDeveloper {
			out.Role = "system"
		}
	}
	if x.same {
		out.Extra = without(m.Extra, "extra_content")
	}
	x.out.Messages = append(x.out.Messages, out)
}

func (x *encoder) name(m *llm.Message) string {
	if m.Name != "" && x.d.lacks("messages.name") {
		x.e.Lose(m.At+"/name", whyVendor)
		return ""
	}
	return m.Name
}

func without(m llm.Members, name string) llm.Members {
	if _, ok := m[name]; !ok {
		return m
	}
	out := make(llm.Members, len(m))
	for k, v := range m {
		if k != name {
			out[k] = v
		}
	}
	return out
}

// callID makes ids fit: OpenAI takes at most 40 characters, Mistral exactly nine letters or digits. A call
// and its result get the same id, whatever message they stand in.
func (x *encoder) callID(id string) string {
	const most, short = 40, 9
	switch {
	case x.d.ShortIDs && !isShortID(id):
		sum := sha256.Sum256([]byte(id))
		text := new(big.Int).SetBytes(sum[:]).Text(62)
		return (strings.Repeat("0", short) + text)[len(text):][:short]
	case len(id) > most && !x.same:
		sum := sha256.Sum256([]byte(id))
		return "call_" + hex.EncodeToString(sum[:16])
	}
	return id
}

func isShortID(id string) bool {
	if len(id) != 9 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// result writes one tool result. The format cannot mark one as failed, so its text says it.
func (x *encoder) result(m *llm.Message, p *llm.Part) message {
	r := p.Result
	out := message{Role: "tool", ToolCallID: ptr(x.callID(r.CallID))}
	parts := make([]llm.Part, 0, len(r.Parts))
	for i := range r.Parts {
		if q := r.Parts[i]; x.same || isText(&q) || q.Media != nil && q.Media.Text != "" {
			parts = append(parts, q)
		} else {
			x.e.Lose(orAt(q.At, p.At), "is not text; tool results hold only text in this format")
		}
	}
	if r.Failed {
		parts = markFailed(parts)
	}
	out.Content = x.content(parts)
	if x.same {
		out.Name, out.Extra = r.Name, without(m.Extra, "extra_content")
	}
	return out
}

func orAt(at, other string) string {
	if at != "" {
		return at
	}
	return other
}

// markFailed makes the text of a failed result say so, unless it does.
func markFailed(parts []llm.Part) []llm.Part {
	for i := range parts {
		if t := strings.TrimSpace(parts[i].Text); t != "" {
			if len(t) < 5 || !strings.EqualFold(t[:5], "error") {
				parts[i].Text = "Error: " + parts[i].Text
			}
			return parts
		}
	}
	return append(parts, llm.Part{Text: "Error: the tool failed"})
}

func (x *encoder) assistant(m *llm.Message) message {
	out := message{Role: "assistant", Name: x.name(m)}
	var body []llm.Part
	var thoughts []llm.Part
	for i := range m.Parts {
		p := &m.Parts[i]
		switch {
		case p.Reasoning != nil:
			thoughts = append(thoughts, *p)
		case p.Call != nil:
			out.ToolCalls = append(out.ToolCalls, x.call(p))
		case p.Refusal != nil:
			s := deref(out.Refusal) + *p.Refusal
			out.Refusal = &s
		case p.Media != nil && p.Media.Kind == llm.MediaImage && strings.HasPrefix(p.At, m.At+"/images"):
			if x.same {
				out.Images = append(out.Images, x.image(p))
			}
		default:
			body = append(body, *p)
		}
	}
	x.reasoning(&out, thoughts)
	x.assistantText(&out, m, body)
	return out
}

func (x *encoder) assistantText(out *message, m *llm.Message, body []llm.Part) {
	var rest llm.Raw
	if x.same {
		out.Extra = without(m.Extra, "extra_content")
		rest = m.Extra["extra_content"]
	}
	var sig *llm.Signature
	for i := range body {
		if x.same {
			for _, c := range body[i].Citations {
				out.Annotations = append(out.Annotations, annotationOf(&c, true))
			}
		}
		if body[i].Signature != nil {
			sig = body[i].Signature
		}
	}
	if x.same || x.d.GeminiSignatures {
		out.ExtraContent = signed(sig, rest)
	}
	if len(body) > 0 || len(out.ToolCalls) == 0 && out.Refusal == nil {
		out.Content = x.content(body)
	}
}

// annotationOf writes a citation, in its own words when it came in this format.
func annotationOf(c *llm.Citation, native bool) annotation {
	if native && c.Native != nil {
		return annotation{whole: c.Native}
	}
	return annotation{Type: "url_citation", URLCitation: &urlCitation{
		StartIndex: whole(c.Start), EndIndex: whole(c.End), URL: c.URL, Title: c.Title, Content: c.Quote,
	}}
}

func (x *encoder) reasoning(out *message, thoughts []llm.Part) {
	details := false
	for i := range thoughts {
		p := &thoughts[i]
		switch {
		case x.same, x.d.Reasoning == ReasoningDetails:
			out.ReasoningContent += p.Reasoning.Text
			details = details || needsDetails(p) || len(thoughts) > 1
		case x.d.Reasoning == ReasoningContent && !needsDetails(p):
			out.ReasoningContent += p.Reasoning.Text
		}
	}
	if !details {
		return
	}
	name := sameName
	if x.d.Reasoning == ReasoningDetails {
		name = nativeSigner
		out.Reasoning, out.ReasoningContent = raw(out.ReasoningContent), ""
	}
	for i := range thoughts {
		out.ReasoningDetails = append(out.ReasoningDetails, detailOf(&thoughts[i], i, name))
	}
}

func (x *encoder) call(p *llm.Part) toolCall {
	c := p.Call
	out := toolCall{ID: loose(x.callID(c.ID)), Type: "function"}
	if c.Custom {
		out.Type, out.Custom = "custom", &custom{Name: loose(c.Name), Input: string(c.Args)}
	} else {
		out.Function = &function{Name: loose(c.Name), Arguments: arguments(callArgs(string(c.Args)))}
	}
	switch {
	case x.same:
		out.Extra = without(p.Extra, "extra_content")
		out.ExtraContent = signed(p.Signature, p.Extra["extra_content"])
	case x.d.GeminiSignatures:
		out.ExtraContent = signed(p.Signature, nil)
	}
	return out
}

// content writes parts: one plain text as a string, which every vendor takes, anything else as an array.
func (x *encoder) content(parts []llm.Part) content {
	if text, ok := x.flat(parts); ok {
		return content{text: &text}
	}
	out := make([]part, 0, len(parts))
	for i := range parts {
		if p, ok := x.part(&parts[i]); ok {
			out = append(out, p)
		}
	}
	return content{parts: out}
}

// flat joins the texts of a content that needs no array.
func (x *encoder) flat(parts []llm.Part) (string, bool) {
	if len(parts) > 1 && !x.d.FlatText {
		return "", false
	}
	texts := make([]string, len(parts))
	for i := range parts {
		p := &parts[i]
		plain := x.d.FlatText || p.Extra == nil && (p.Cache == nil || !x.same && !x.d.takes("cache_control"))
		if !isText(p) || !plain {
			return "", false
		}
		texts[i] = p.Text
		if !x.same {
			x.loseExtra(p.At, p.Extra)
		}
	}
	return strings.Join(texts, "\n"), true
}

func (x *encoder) part(p *llm.Part) (part, bool) {
	out := part{}
	if p.Cache != nil && (x.same || x.d.takes("cache_control")) {
		out.CacheControl = &cacheControl{"ephemeral", p.Cache.TTL}
	}
	if x.same {
		out.Extra = p.Extra
	} else {
		x.loseExtra(p.At, p.Extra)
	}
	switch {
	case p.Foreign != nil && x.same:
		return part{whole: p.Foreign}, true
	case p.Foreign != nil:
		x.e.Lose(p.At, "is known only to the client's own format")
		return out, false
	case p.Media != nil:
		return x.media(out, p)
	case p.Refusal != nil:
		out.Type, out.Refusal = "refusal", p.Refusal
	case p.Reasoning != nil || p.Call != nil || p.Result != nil:
		x.e.Lose(p.At, "has no place in a message of this role")
		return out, false
	default:
		out.Type, out.Text = "text", &p.Text
	}
	return out, true
}

func (x *encoder) media(out part, p *llm.Part) (part, bool) {
	m := p.Media
	extra := m.Extra
	if !x.same {
		x.loseExtra(p.At, m.Extra)
		extra = nil
	}
	lose := func(why string) (part, bool) { x.e.Lose(p.At, why); return out, false }
	switch {
	case m.FileID != "" && !x.same:
		return lose("is a file stored at the provider of the client's own format")
	case m.Kind == llm.MediaImage && m.FileID == "" && m.Text == "":
		img := x.image(p)
		out.Type, out.ImageURL = img.Type, img.ImageURL
	case m.Kind == llm.MediaAudio && m.Data != "":
		out.Type, out.InputAudio = "input_audio", &inputAudio{Data: m.Data, Format: audioFormat(m.Type), Extra: extra}
	case m.Text != "":
		out.Type, out.Text = "text", ptr(documentText(m))
	case m.Kind != llm.MediaDocument:
		return lose("is " + string(m.Kind) + " in a form that this format does not carry")
	case m.FileID != "":
		out.Type, out.File = "file", &file{FileID: m.FileID, Filename: m.Name, Extra: extra}
	case m.URL != "" && !x.same && !x.d.takes("file_url"):
		return lose("is a document by URL; this format carries its content only")
	case x.d.lacks("file"):
		return lose("is a document, which the model's upstream does not support")
	case strings.HasPrefix(m.Type, "text/") && !x.same:
		text, err := base64.StdEncoding.DecodeString(m.Data)
		if err != nil {
			return lose("is not valid base64")
		}
		out.Type, out.Text = "text", ptr(documentText(&llm.Media{Text: string(text), Name: m.Name}))
	default:
		out.Type, out.File = "file", &file{FileData: fileData(m), Filename: m.Name, Extra: extra}
		if m.Name == "" && !x.same {
			out.File.Filename = "document.pdf" // OpenAI wants a name
		}
	}
	return out, true
}

func fileData(m *llm.Media) string {
	switch {
	case m.URL != "":
		return m.URL
	case m.Type == "":
		return m.Data
	}
	return "data:" + m.Type + ";base64," + m.Data
}

// documentText is a plain-text document as text, under its title.
func documentText(m *llm.Media) string {
	if m.Name == "" {
		return m.Text
	}
	return m.Name + "\n\n" + m.Text
}

func (x *encoder) image(p *llm.Part) part {
	m := p.Media
	u := &imageURL{URL: m.URL, Detail: m.Detail}
	if x.same {
		u.Extra = m.Extra
	}
	if m.Data != "" {
		t := m.Type
		if t == "" {
			t = "image/png"
		}
		u.URL = "data:" + t + ";base64," + m.Data
	}
	return part{Type: "image_url", ImageURL: u}
}
