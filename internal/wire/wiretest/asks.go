package wiretest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"sluice/internal/llm"
)

// An Ask is what a request says, whatever its format.
type Ask struct {
	System string
	Turns  []Turn // of the user and the assistant by turns; what stands in a row is one turn
	Tools  []string
	Choice string   // auto, none, required, or a tool's name
	Limits []string // max output, temperature and the like, "name=value", sorted
	Form   string   // of the answer: "", "json", or a schema
}

// A Turn is what one side said. Items are "text:…", "call:k:name:args", "result:k:…", "image:…"; k counts calls.
type Turn struct {
	User   bool
	Items  []string
	Proofs []string // signatures and encrypted reasoning
}

// AskOf reads a request with plain code.
func AskOf(f llm.Format, body []byte) Ask {
	a := &asker{calls: make(map[string]int)}
	t := parse(body)
	switch f {
	case llm.OpenAIChat:
		a.chat(t)
	case llm.OpenAIResponses:
		a.responses(t)
	case llm.AnthropicMessages:
		a.messages(t)
	case llm.GeminiGenerate:
		a.gemini(t)
	default:
		panic("wiretest: no ask of " + f)
	}
	slices.Sort(a.Limits)
	a.System = strings.TrimSpace(a.System)
	return a.Ask
}

type asker struct {
	Ask
	calls map[string]int // id of a call -> which one it is
	open  []string       // names of calls not yet answered, for formats without ids
}

func (a *asker) turn(user bool) *Turn {
	if n := len(a.Turns); n > 0 && a.Turns[n-1].User == user {
		return &a.Turns[n-1]
	}
	a.Turns = append(a.Turns, Turn{User: user})
	return &a.Turns[len(a.Turns)-1]
}

func (a *asker) say(user bool, item string) {
	t := a.turn(user)
	// Two texts in a row are as good as one: formats cut them as they like.
	if n := len(t.Items); n > 0 && strings.HasPrefix(item, "text:") && strings.HasPrefix(t.Items[n-1], "text:") {
		t.Items[n-1] += strings.TrimPrefix(item, "text:")
		return
	}
	t.Items = append(t.Items, item)
}

func (a *asker) text(user bool, s string) {
	if s != "" {
		a.say(user, "text:"+s)
	}
}

func (a *asker) proof(t tree) {
	if v := t.str(); v != "" {
		turn := a.turn(false)
		turn.Proofs = append(turn.Proofs, v)
	}
}

func (a *asker) call(id, name, args string) {
	k := len(a.calls)
	if id == "" {
		id = fmt.Sprintf("#%d", k)
	}
	a.calls[id] = k
	a.open = append(a.open, name)
	if args == "" {
		args = "{}"
	}
	a.say(false, fmt.Sprintf("call:%d:%s:%s", k, name, canonical(args)))
}

// result answers a call by its id, or, without one, the first open call of that name.
func (a *asker) result(id, name, text string) {
	k, ok := a.calls[id]
	if !ok {
		k = slices.Index(a.open, name)
	}
	if k >= 0 && k < len(a.open) {
		a.open[k] = ""
	}
	a.say(true, fmt.Sprintf("result:%d:%s", k, canonical(text)))
}

func (a *asker) limit(name string, t tree) {
	if _, ok := t.num(); ok {
		a.Limits = append(a.Limits, name+"="+t.text())
	}
}

func (a *asker) stop(t tree) {
	switch {
	case t.str() != "":
		a.Limits = append(a.Limits, "stop="+t.str())
	case len(t.list()) > 0:
		for _, s := range t.list() {
			a.Limits = append(a.Limits, "stop="+s.str())
		}
	}
}

func (a *asker) tool(name, description string, schema tree) {
	s := "{}"
	if schema.there() {
		s = schema.text()
	}
	a.Tools = append(a.Tools, name+"|"+description+"|"+s)
}

// blob names media by its content, so that it can be compared and printed.
func blob(kind, data string) string {
	sum := sha256.Sum256([]byte(data))
	return kind + ":" + hex.EncodeToString(sum[:6])
}

// media is an image or document by data URL or by address.
func media(kind, u string) string {
	if rest, ok := strings.CutPrefix(u, "data:"); ok {
		_, data, _ := strings.Cut(rest, ";base64,")
		return blob(kind, data)
	}
	return kind + ":" + u
}

func (a *asker) chat(t tree) {
	for _, m := range t.at("messages").list() {
		role, content := m.at("role").str(), m.at("content")
		switch role {
		case "system", "developer":
			a.System += content.str() + "\n"
			for _, p := range content.list() {
				a.System += p.at("text").str() + "\n"
			}
			continue
		case "tool":
			a.result(m.at("tool_call_id").str(), "", content.str()+joined(content))
			continue
		}
		user := role == "user"
		for _, d := range m.at("reasoning_details").list() {
			a.proof(d.either("signature", "data"))
		}
		a.text(user, content.str())
		for _, p := range content.list() {
			switch p.at("type").str() {
			case "text":
				a.text(user, p.at("text").str())
			case "refusal":
				a.text(user, p.at("refusal").str())
			case "image_url":
				a.say(user, media("image", p.at("image_url", "url").str()))
			case "file":
				a.say(user, media("document", p.at("file", "file_data").str()))
			case "input_audio":
				a.say(user, blob("audio", p.at("input_audio", "data").str()))
			default:
				a.say(user, "other:"+p.text())
			}
		}
		a.text(user, m.at("refusal").str())
		for _, c := range m.at("tool_calls").list() {
			a.call(c.at("id").str(), c.at("function", "name").str(), c.at("function", "arguments").str())
			a.proof(c.at("extra_content", "google", "thought_signature"))
		}
	}
	for _, tool := range t.at("tools").list() {
		if fn := tool.at("function"); fn.there() {
			a.tool(fn.at("name").str(), fn.at("description").str(), fn.at("parameters"))
		}
	}
	a.choose(t.at("tool_choice").str(), t.at("tool_choice", "function", "name").str())
	a.limit("max", t.either("max_completion_tokens", "max_tokens"))
	a.limit("temperature", t.at("temperature"))
	a.limit("top_p", t.at("top_p"))
	a.limit("seed", t.at("seed"))
	a.stop(t.at("stop"))
	a.form(t.at("response_format", "type").str(), t.at("response_format", "json_schema", "schema"))
}

// joined is the text of a list of parts.
func joined(t tree) (s string) {
	for _, p := range t.list() {
		s += p.at("text").str()
	}
	return s
}

func (a *asker) choose(mode, name string) {
	switch {
	case name != "":
		a.Choice = name
	case mode == "required" || mode == "any" || mode == "ANY":
		a.Choice = "required"
	case strings.EqualFold(mode, "none"):
		a.Choice = "none"
	}
}

func (a *asker) form(kind string, schema tree) {
	switch kind {
	case "json_schema":
		a.Form = schema.text()
	case "json_object":
		a.Form = "json"
	}
}

func (a *asker) responses(t tree) {
	a.System = t.at("instructions").str() + "\n"
	a.text(true, t.at("input").str())
	for _, item := range t.at("input").list() {
		switch item.at("type").str() {
		case "", "message":
			a.responsesMessage(item)
		case "reasoning":
			a.proof(item.at("encrypted_content"))
		case "function_call":
			a.call(item.at("call_id").str(), item.at("name").str(), item.at("arguments").str())
		case "function_call_output":
			a.result(item.at("call_id").str(), "", item.at("output").str()+joined(item.at("output")))
		default:
			a.say(false, "other:"+item.text())
		}
	}
	for _, tool := range t.at("tools").list() {
		if tool.at("type").str() == "function" {
			a.tool(tool.at("name").str(), tool.at("description").str(), tool.at("parameters"))
		}
	}
	a.choose(t.at("tool_choice").str(), t.at("tool_choice", "name").str())
	a.limit("max", t.at("max_output_tokens"))
	a.limit("temperature", t.at("temperature"))
	a.limit("top_p", t.at("top_p"))
	a.form(t.at("text", "format", "type").str(), t.at("text", "format", "schema"))
}

func (a *asker) responsesMessage(item tree) {
	role, content := item.at("role").str(), item.at("content")
	if role == "system" || role == "developer" {
		a.System += content.str() + joined(content) + "\n"
		return
	}
	user := role == "user"
	a.text(user, content.str())
	for _, p := range content.list() {
		switch p.at("type").str() {
		case "input_text", "output_text":
			a.text(user, p.at("text").str())
		case "refusal":
			a.text(user, p.at("refusal").str())
		case "input_image":
			a.say(user, media("image", p.at("image_url").str()))
		case "input_file":
			a.say(user, media("document", p.either("file_data", "file_url").str()))
		default:
			a.say(user, "other:"+p.text())
		}
	}
}

func (a *asker) messages(t tree) {
	a.System = t.at("system").str()
	for _, p := range t.at("system").list() {
		a.System += p.at("text").str() + "\n"
	}
	for _, m := range t.at("messages").list() {
		if m.at("role").str() == "system" {
			a.System += m.at("content").str() + joined(m.at("content")) + "\n"
			continue
		}
		user := m.at("role").str() == "user"
		a.text(user, m.at("content").str())
		for _, b := range m.at("content").list() {
			switch b.at("type").str() {
			case "text":
				a.text(user, b.at("text").str())
			case "image", "document":
				src := b.at("source")
				if u := src.at("url").str(); u != "" {
					a.say(user, b.at("type").str()+":"+u)
				} else {
					a.say(user, blob(b.at("type").str(), src.at("data").str()))
				}
			case "thinking":
				a.proof(b.at("signature"))
			case "redacted_thinking":
				a.proof(b.at("data"))
			case "tool_use":
				a.call(b.at("id").str(), b.at("name").str(), b.at("input").text())
			case "tool_result":
				a.result(b.at("tool_use_id").str(), "", b.at("content").str()+joined(b.at("content")))
			default:
				a.say(user, "other:"+b.text())
			}
		}
	}
	for _, tool := range t.at("tools").list() {
		if kind := tool.at("type").str(); kind == "" || kind == "custom" {
			a.tool(tool.at("name").str(), tool.at("description").str(), tool.at("input_schema"))
		}
	}
	a.choose(t.at("tool_choice", "type").str(), t.at("tool_choice", "name").str())
	a.limit("max", t.at("max_tokens"))
	a.limit("temperature", t.at("temperature"))
	a.limit("top_p", t.at("top_p"))
	a.limit("top_k", t.at("top_k"))
	a.stop(t.at("stop_sequences"))
	if f := t.at("output_config", "format"); f.there() {
		a.form(f.at("type").str(), f.at("schema"))
	} else {
		a.form(t.at("output_format", "type").str(), t.at("output_format", "schema"))
	}
}

func (a *asker) gemini(t tree) {
	for _, p := range t.either("systemInstruction", "system_instruction").at("parts").list() {
		a.System += p.at("text").str() + "\n"
	}
	contents := t.at("contents").list()
	if c := t.at("contents"); len(contents) == 0 && c.there() { // one alone needs no list
		contents = []tree{c}
	}
	for _, c := range contents {
		user := c.at("role").str() != "model"
		for _, p := range c.at("parts").list() {
			a.geminiPart(user, p)
		}
	}
	for _, tool := range t.at("tools").list() {
		for _, fn := range tool.either("functionDeclarations", "function_declarations").list() {
			schema := fn.either("parametersJsonSchema", "parameters")
			a.tool(fn.at("name").str(), fn.at("description").str(), tree{lowerTypes(schema.v)})
		}
	}
	conf := t.either("toolConfig", "tool_config").either("functionCallingConfig", "function_calling_config")
	name := ""
	if names := conf.either("allowedFunctionNames", "allowed_function_names").list(); len(names) == 1 && conf.at("mode").str() == "ANY" {
		name = names[0].str()
	}
	a.choose(conf.at("mode").str(), name)
	g := t.either("generationConfig", "generation_config")
	a.limit("max", g.either("maxOutputTokens", "max_output_tokens"))
	a.limit("temperature", g.at("temperature"))
	a.limit("top_p", g.either("topP", "top_p"))
	a.limit("top_k", g.either("topK", "top_k"))
	a.limit("seed", g.at("seed"))
	a.stop(g.either("stopSequences", "stop_sequences"))
	if schema := g.either("responseJsonSchema", "responseSchema", "response_json_schema", "response_schema"); schema.there() {
		a.Form = tree{lowerTypes(schema.v)}.text()
	} else if g.either("responseMimeType", "response_mime_type").str() == "application/json" {
		a.Form = "json"
	}
}

func (a *asker) geminiPart(user bool, p tree) {
	a.proof(p.either("thoughtSignature", "thought_signature"))
	inline, file := p.either("inlineData", "inline_data"), p.either("fileData", "file_data")
	call, response := p.either("functionCall", "function_call"), p.either("functionResponse", "function_response")
	switch {
	case p.at("thought").isTrue():
	case inline.there():
		a.say(user, blob(kindOf(inline.either("mimeType", "mime_type").str()), inline.at("data").str()))
	case file.there():
		a.say(user, kindOf(file.either("mimeType", "mime_type").str())+":"+file.either("fileUri", "file_uri").str())
	case call.there():
		args := ""
		if call.at("args").there() {
			args = call.at("args").text()
		}
		a.call(call.at("id").str(), call.at("name").str(), args)
	case response.there():
		r := response.at("response")
		text := r.text()
		if m, ok := r.v.(map[string]any); ok && len(m) == 1 {
			for _, key := range []string{"output", "result", "content", "error"} {
				if x := r.at(key); x.there() {
					if text = x.str(); text == "" {
						text = x.text()
					}
				}
			}
		}
		a.result(response.at("id").str(), response.at("name").str(), text)
	default:
		a.text(user, p.at("text").str())
	}
}

func kindOf(mime string) string {
	switch kind, _, _ := strings.Cut(mime, "/"); kind {
	case "image", "audio", "video":
		return kind
	case "":
		return "image"
	}
	return "document"
}

// lowerTypes writes Gemini's own schema types (STRING) as JSON Schema has them.
func lowerTypes(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if s, ok := x.(string); ok && k == "type" {
				x = strings.ToLower(s)
			}
			out[k] = lowerTypes(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = lowerTypes(v[i])
		}
		return out
	}
	return v
}
