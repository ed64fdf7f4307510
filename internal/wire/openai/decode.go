package openai

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
)

// Decode gives the meaning of a chat request.
func (*ChatFormat) Decode(body []byte) (llm.Payload, error) {
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not a chat request", Err: err}
	}
	d := decoder{chat: &llm.Chat{Format: llm.OpenAIChat}}
	d.request(&q)
	if err := invalid(d.problems); err != nil {
		return nil, err
	}
	return d.chat, nil
}

type decoder struct {
	chat     *llm.Chat
	problems []llm.Problem
	legacy   int // function calls of the old kind so far
}

func (d *decoder) problem(at, msg string) {
	d.problems = append(d.problems, llm.Problem{At: at, Msg: msg})
}

func (d *decoder) request(q *request) {
	c := d.chat
	c.Extra = keep(q.Extra)
	c.Messages = make([]llm.Message, 0, len(q.Messages))
	for i := range q.Messages {
		d.message(&q.Messages[i], fmt.Sprintf("/messages/%d", i))
	}
	for i := range q.Tools {
		c.Tools = append(c.Tools, d.tool(&q.Tools[i], fmt.Sprintf("/tools/%d", i)))
	}
	d.toolChoice(q.ToolChoice)
	c.Parallel = q.ParallelToolCalls
	c.MaxOutput = q.MaxCompletionTokens.int64()
	if c.MaxOutput == nil {
		c.MaxOutput = q.MaxTokens.int64()
	}
	c.Temperature, c.TopP, c.TopK, c.MinP = q.Temperature, q.TopP, q.TopK.int64(), q.MinP
	c.FrequencyPenalty, c.PresencePenalty, c.Seed = q.FrequencyPenalty, q.PresencePenalty, q.Seed.int64()
	c.Stop, c.N = q.Stop, q.N.int64()
	c.Logprobs, c.TopLogprobs = q.Logprobs, q.TopLogprobs.int64()
	c.LogitBias = object(q.LogitBias)
	c.Thinking = thinkingOf(q.ReasoningEffort, q.Reasoning)
	d.output(q.ResponseFormat)
	c.ServiceTier, c.CacheKey, c.Verbosity = deref(q.ServiceTier), deref(q.PromptCacheKey), deref(q.Verbosity)
	c.Store, c.Metadata = q.Store, object(q.Metadata)
	c.User = deref(q.User)
	d.hints()
}

// hints finds the members that a translation can do without. safety_identifier replaces user.
func (d *decoder) hints() {
	c := d.chat
	if id := unquote(c.Extra["safety_identifier"]); c.User == "" {
		c.User = id
	}
	names := []string{"safety_identifier", "prompt_cache_retention", "usage"} // the last is OpenRouter's {"include": true}
	if m := strings.Join(strings.Fields(string(c.Extra["modalities"])), ""); m == `["text"]` {
		names = append(names, "modalities") // the default, and all that most models have
	}
	for _, name := range names {
		if v, ok := c.Extra[name]; ok {
			delete(c.Extra, name)
			c.Hints = with(c.Hints, name, v)
		}
	}
}

// object gives a JSON object, nil when it is absent, null or empty.
func object(v llm.Raw) llm.Raw {
	if isNull(v) || isEmptyObject(v) {
		return nil
	}
	return v
}

func thinkingOf(effort *string, r *reasoning) *llm.Thinking {
	if effort == nil && r == nil {
		return nil
	}
	t := &llm.Thinking{}
	if r != nil {
		if r.Effort != nil {
			effort = r.Effort
		} else if effort == nil {
			effort = new(string)
		}
		t.Budget, t.Extra = r.MaxTokens.int64(), keep(r.Extra)
		if r.Exclude != nil {
			t.Show = ptr(!*r.Exclude)
		}
		if r.Enabled != nil {
			t.Off = !*r.Enabled
			t.Auto = *r.Enabled && *effort == "" && t.Budget == nil
		}
	}
	switch *effort {
	case "none":
		t.Off = true
	case "default": // Groq's word for "the model's own"
		t.Auto = true
	default:
		t.Effort = *effort
	}
	return t
}

func (d *decoder) output(f *responseFormat) {
	if f == nil {
		return
	}
	out := &llm.Output{Extra: keep(f.Extra)}
	switch {
	case f.Type == "text":
		out.Kind = llm.OutputText
	case f.Type == "json_object":
		out.Kind = llm.OutputJSON
	case f.Type == "json_schema" && f.JSONSchema != nil:
		s := f.JSONSchema
		out.Kind, out.Name, out.Description, out.Schema, out.Strict = llm.OutputSchema, s.Name, s.Description, object(s.Schema), s.Strict
		for name, v := range keep(s.Extra) {
			out.Extra = with(out.Extra, "json_schema/"+name, v)
		}
	default: // a vendor's own (a grammar, say): no other format has it
		d.chat.Extra = with(d.chat.Extra, "response_format", raw(f))
		return
	}
	d.chat.Output = out
}

// with sets a member of a map that may be nil.
func with(m llm.Members, name string, v llm.Raw) llm.Members {
	if m == nil {
		m = llm.Members{}
	}
	m[name] = v
	return m
}

func (d *decoder) tool(t *tool, at string) llm.Tool {
	if t.whole != nil || t.Function == nil {
		return llm.Tool{Foreign: t.whole, At: at}
	}
	f := t.Function
	out := llm.Tool{
		Name: f.Name, Description: f.Description, Schema: f.Parameters, Strict: f.Strict, At: at,
		Extra: keep(f.Extra),
	}
	if isNull(out.Schema) {
		out.Schema = nil
	}
	out.Cache = takeCache(t.Extra)
	for name, v := range keep(t.Extra) {
		out.Extra = with(out.Extra, "/"+name, v) // beside function, not in it
	}
	return out
}

// takeCache takes a cache breakpoint out of a part's or tool's own members.
func takeCache(m llm.Members) *llm.Cache {
	var c cacheControl
	if v := m["cache_control"]; isNull(v) || json.Unmarshal(v, &c) != nil || c.Type != "ephemeral" {
		return nil
	}
	delete(m, "cache_control")
	return &llm.Cache{TTL: c.TTL}
}

func (d *decoder) toolChoice(v llm.Raw) {
	if isNull(v) {
		return
	}
	choice := &llm.ToolChoice{}
	d.chat.Choice = choice
	switch word := unquote(v); word {
	case "auto", "none", "required":
		choice.Mode = llm.ChoiceMode(word)
		return
	case "any":
		choice.Mode = llm.ChoiceRequired
		return
	}
	var t toolChoice
	err := json.Unmarshal(v, &t)
	switch {
	case err == nil && t.Type == "function" && t.Function != nil:
		choice.Mode, choice.Name = llm.ChoiceTool, t.Function.Name
	case err == nil && t.Type == "allowed_tools" && t.AllowedTools != nil && onlyFunctions(t.AllowedTools.Tools):
		choice.Mode = llm.ChoiceMode(t.AllowedTools.Mode)
		for i := range t.AllowedTools.Tools {
			choice.Allowed = append(choice.Allowed, t.AllowedTools.Tools[i].Function.Name)
		}
	default:
		choice.Foreign = v
	}
}

func onlyFunctions(tools []toolChoice) bool {
	for i := range tools {
		if tools[i].Type != "function" || tools[i].Function == nil {
			return false
		}
	}
	return true
}

func (d *decoder) message(m *message, at string) {
	out := llm.Message{Role: llm.Role(m.Role), Name: m.Name, At: at, Extra: keep(m.Extra)}
	if rest := restOf(m.ExtraContent); rest != nil {
		out.Extra = with(out.Extra, "extra_content", rest)
	}
	switch m.Role {
	case "tool":
		out.Parts = []llm.Part{{Result: &llm.ToolResult{CallID: deref(m.ToolCallID), Name: m.Name, Parts: d.content(&m.Content, at)}, At: at}}
		out.Name = ""
	case "function": // legacy: it answers the call right before it
		out.Role, out.Name = llm.RoleTool, ""
		out.Parts = []llm.Part{{Result: &llm.ToolResult{CallID: d.legacyID(m.Name), Name: m.Name, Parts: d.content(&m.Content, at)}, At: at}}
	case "assistant":
		out.Parts = d.assistant(m, at)
	default:
		if m.Content.IsZero() {
			d.problem(at+"/content", "must be a string or an array, not null")
		}
		out.Parts = d.content(&m.Content, at)
	}
	d.chat.Messages = append(d.chat.Messages, out)
}

// legacyID stands for the id that a legacy function call and its result do not have.
func (d *decoder) legacyID(name string) string { return fmt.Sprintf("call_%s_%d", name, d.legacy) }

func (d *decoder) assistant(m *message, at string) []llm.Part {
	parts := reasoningParts(m, at)
	text := len(parts)
	parts = append(parts, d.content(&m.Content, at)...)
	if m.Refusal != nil && *m.Refusal != "" {
		parts = append(parts, llm.Part{Refusal: m.Refusal, At: at + "/refusal"})
	}
	if len(m.Annotations) > 0 {
		attachCitations(parts[text:], m.Annotations)
	}
	for i := range m.Images {
		parts = append(parts, d.part(&m.Images[i], fmt.Sprintf("%s/images/%d", at, i)))
	}
	if sig := signatureOf(m.ExtraContent); sig != nil && len(parts) > 0 {
		parts[len(parts)-1].Signature = sig
	}
	for i := range m.ToolCalls {
		parts = append(parts, toolCallPart(&m.ToolCalls[i], fmt.Sprintf("%s/tool_calls/%d", at, i)))
	}
	if f := m.FunctionCall; f != nil {
		d.legacy++
		parts = append(parts, llm.Part{At: at + "/function_call", Call: &llm.ToolCall{
			ID: d.legacyID(string(f.Name)), Name: string(f.Name), Args: callArgs(string(f.Arguments)),
		}})
	}
	return parts
}

// attachCitations puts a message's citations on its last text, which is all of it in this format.
func attachCitations(parts []llm.Part, from []annotation) {
	for i := len(parts) - 1; i >= 0; i-- {
		if isText(&parts[i]) {
			parts[i].Citations = citations(from)
			return
		}
	}
}

func citations(from []annotation) []llm.Citation {
	out := make([]llm.Citation, 0, len(from))
	for i := range from {
		c := llm.Citation{Native: from[i].whole}
		if u := from[i].URLCitation; u != nil {
			c.URL, c.Title, c.Quote, c.Start, c.End = u.URL, u.Title, u.Content, int(u.StartIndex), int(u.EndIndex)
		}
		out = append(out, c)
	}
	return out
}

func toolCallPart(t *toolCall, at string) llm.Part {
	call := &llm.ToolCall{ID: string(t.ID)}
	switch {
	case t.Custom != nil:
		call.Name, call.Args, call.Custom = string(t.Custom.Name), []byte(t.Custom.Input), true
	case t.Function != nil:
		call.Name, call.Args = string(t.Function.Name), callArgs(string(t.Function.Arguments))
	}
	p := llm.Part{Call: call, At: at, Signature: signatureOf(t.ExtraContent), Extra: keep(t.Extra)}
	if rest := restOf(t.ExtraContent); rest != nil {
		p.Extra = with(p.Extra, "extra_content", rest)
	}
	return p
}

// callArgs gives the arguments of a call; a call without any has {}.
func callArgs(s string) []byte {
	if strings.TrimSpace(s) == "" {
		return []byte("{}")
	}
	return []byte(s)
}

func isText(p *llm.Part) bool {
	return p.Media == nil && p.Call == nil && p.Result == nil && p.Reasoning == nil && p.Refusal == nil && p.Foreign == nil
}

// content gives the parts of a message's content. An empty string has none.
func (d *decoder) content(c *content, at string) []llm.Part {
	if c.text != nil {
		if *c.text == "" {
			return nil
		}
		return []llm.Part{{Text: *c.text, At: at + "/content"}}
	}
	out := make([]llm.Part, 0, len(c.parts))
	for i := range c.parts {
		out = append(out, d.part(&c.parts[i], fmt.Sprintf("%s/content/%d", at, i)))
	}
	return out
}

func (d *decoder) part(p *part, at string) llm.Part {
	out := llm.Part{At: at, Extra: keep(p.Extra)}
	if c := p.CacheControl; c != nil && c.Type == "ephemeral" {
		out.Cache = &llm.Cache{TTL: c.TTL}
	}
	switch {
	case (p.Type == "text" || p.Type == "output_text") && p.Text != nil:
		out.Text = *p.Text
	case p.Type == "refusal" && p.Refusal != nil:
		out.Refusal = p.Refusal
	case p.Type == "thinking" && p.Thinking != "":
		out.Reasoning = &llm.Reasoning{Text: string(p.Thinking)}
	case p.Type == "image_url" && p.ImageURL != nil:
		out.Media = d.image(p.ImageURL, at)
	case p.Type == "input_audio" && p.InputAudio != nil:
		out.Media = &llm.Media{Kind: llm.MediaAudio, Type: audioType(p.InputAudio.Format), Data: p.InputAudio.Data, Extra: keep(p.InputAudio.Extra)}
	case p.Type == "file" && p.File != nil:
		out.Media = d.file(p.File, at)
	default:
		return llm.Part{Foreign: p.whole, At: at}
	}
	return out
}

func (d *decoder) image(u *imageURL, at string) *llm.Media {
	m := &llm.Media{Kind: llm.MediaImage, Detail: u.Detail, Extra: keep(u.Extra)}
	if !isDataURL(u.URL) {
		m.URL = u.URL
		return m
	}
	var err error
	if m.Type, m.Data, err = dataURL(u.URL); err != nil {
		d.problem(at+"/image_url/url", err.Error())
	}
	return m
}

func (d *decoder) file(f *file, at string) *llm.Media {
	m := &llm.Media{Kind: llm.MediaDocument, Name: f.Filename, Extra: keep(f.Extra)}
	switch v := f.FileData; {
	case f.FileID != "":
		m.FileID = f.FileID
	case isDataURL(v):
		var err error
		if m.Type, m.Data, err = dataURL(v); err != nil {
			d.problem(at+"/file/file_data", err.Error())
		}
	case strings.HasPrefix(v, "https://") || strings.HasPrefix(v, "http://"):
		m.URL = v // OpenRouter's
	case v != "":
		m.Data = v // OpenAI takes bare base64 of a PDF, too
		if strings.HasSuffix(strings.ToLower(f.Filename), ".pdf") || strings.HasPrefix(v, "JVBERi") {
			m.Type = "application/pdf"
		}
	default:
		d.problem(at+"/file", "needs file_id or file_data")
	}
	return m
}

func isDataURL(s string) bool { return len(s) > 5 && strings.EqualFold(s[:5], "data:") }

// dataURL splits a data URL (RFC 2397) into its media type, without parameters, and its base64 content.
func dataURL(s string) (mediaType, data string, err error) {
	head, data, ok := strings.Cut(s[5:], ",")
	if !ok {
		return "", "", fmt.Errorf("is a data URL without a comma")
	}
	mediaType, params, _ := strings.Cut(head, ";")
	if mediaType == "" {
		mediaType = "text/plain"
	}
	if params == "base64" || strings.HasSuffix(params, ";base64") {
		return strings.ToLower(mediaType), data, nil
	}
	text, err := url.PathUnescape(data)
	if err != nil {
		return "", "", fmt.Errorf("is a data URL with a bad escape")
	}
	return strings.ToLower(mediaType), base64.StdEncoding.EncodeToString([]byte(text)), nil
}

// audioType is the media type of OpenAI's name for an audio format. https://platform.openai.com/docs/guides/audio
func audioType(format string) string {
	switch format {
	case "mp3":
		return "audio/mpeg"
	case "pcm16":
		return "audio/pcm"
	}
	return "audio/" + format
}

// audioFormat is audioType's inverse; "" for a type that has no name there.
func audioFormat(mediaType string) string {
	t, _, _ := strings.Cut(mediaType, ";")
	switch t = strings.TrimPrefix(strings.TrimSpace(t), "audio/"); t {
	case "mpeg", "mpga":
		return "mp3"
	case "x-wav", "wave", "vnd.wave":
		return "wav"
	case "pcm":
		return "pcm16"
	}
	return t
}
