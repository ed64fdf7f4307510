package gemini

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// generateRequest is a GenerateContentRequest.
type generateRequest struct {
	Model             string            `json:"model"`
	Contents          []content         `json:"contents"`
	SystemInstruction *content          `json:"systemInstruction"`
	Tools             []tool            `json:"tools"`
	ToolConfig        *toolConfig       `json:"toolConfig"`
	GenerationConfig  *generationConfig `json:"generationConfig"`
	ServiceTier       jsontext.Value    `json:"serviceTier"`
	Store             *bool             `json:"store"`
	Extra             llm.Members       `json:",embed"`
}

type tool struct {
	FunctionDeclarations []functionDeclaration `json:"functionDeclarations"`
	Hosted               llm.Members           `json:",embed"`
}

type functionDeclaration struct {
	Name                 string         `json:"name"`
	Description          string         `json:"description"`
	Parameters           jsontext.Value `json:"parameters"`
	ParametersJSONSchema jsontext.Value `json:"parametersJsonSchema"`
	Extra                llm.Members    `json:",embed"`
}

type toolConfig struct {
	FunctionCallingConfig *functionCallingConfig `json:"functionCallingConfig"`
	Extra                 llm.Members            `json:",embed"`
}

type functionCallingConfig struct {
	Mode                 jsontext.Value `json:"mode"`
	AllowedFunctionNames []string       `json:"allowedFunctionNames"`
	Extra                llm.Members    `json:",embed"`
}

type generationConfig struct {
	Temperature        *float64        `json:"temperature"`
	TopP               *float64        `json:"topP"`
	TopK               *number         `json:"topK"`
	CandidateCount     *number         `json:"candidateCount"`
	MaxOutputTokens    *number         `json:"maxOutputTokens"`
	StopSequences      []string        `json:"stopSequences"`
	Seed               *number         `json:"seed"`
	PresencePenalty    *float64        `json:"presencePenalty"`
	FrequencyPenalty   *float64        `json:"frequencyPenalty"`
	ResponseMIMEType   string          `json:"responseMimeType"`
	ResponseSchema     jsontext.Value  `json:"responseSchema"`
	ResponseJSONSchema jsontext.Value  `json:"responseJsonSchema"`
	ResponseLogprobs   *bool           `json:"responseLogprobs"`
	Logprobs           *number         `json:"logprobs"`
	ThinkingConfig     *thinkingConfig `json:"thinkingConfig"`
	Extra              llm.Members     `json:",embed"`
}

type thinkingConfig struct {
	IncludeThoughts *bool          `json:"includeThoughts"`
	ThinkingBudget  *number        `json:"thinkingBudget"`
	ThinkingLevel   jsontext.Value `json:"thinkingLevel"`
	Extra           llm.Members    `json:",embed"`
}

// Members of inner objects that have no place in the hub are kept in Chat.Extra under the path to them, so
// that a refusal names them rightly and they find their way back.
const (
	inGeneration  = "generationConfig/"
	inToolConfig  = "toolConfig/"
	inCalling     = "toolConfig/functionCallingConfig/"
	mimeText      = "text/plain"
	mimeJSON      = "application/json"
	modeValidated = "VALIDATED"
)

func decodeGenerate(raw []byte) (llm.Payload, error) {
	var r generateRequest
	if err := readRequest(raw, &r); err != nil {
		return nil, err
	}
	return r.chat("", llm.GeminiGenerate)
}

// chat gives a request's meaning; at is the pointer to it.
func (r *generateRequest) chat(at string, f llm.Format) (*llm.Chat, error) {
	c := &llm.Chat{Format: f, Store: r.Store}
	keep(c, "", r.Extra)
	if tier := word(r.ServiceTier, nil); tier != "" {
		c.ServiceTier = strings.ToLower(tier)
	}
	t := turns{}
	if s := r.SystemInstruction; s != nil {
		m := t.message(s, at+"/systemInstruction")
		m.Role = llm.RoleSystem
		c.Messages = append(c.Messages, m)
	}
	for i := range r.Contents {
		c.Messages = append(c.Messages, t.message(&r.Contents[i], item(at+"/contents", i)))
	}
	for i := range r.Tools {
		t.tool(c, &r.Tools[i], item(at+"/tools", i))
	}
	if r.ToolConfig != nil {
		r.ToolConfig.read(c)
	}
	if r.GenerationConfig != nil {
		t.generation(c, r.GenerationConfig, at+"/generationConfig")
	}
	if len(t.problems) > 0 {
		return nil, invalid(t.problems)
	}
	return c, nil
}

// keep adds members to Chat.Extra under a path.
func keep(c *llm.Chat, path string, m llm.Members) {
	for k, v := range known(m) {
		if c.Extra == nil {
			c.Extra = make(llm.Members)
		}
		c.Extra[path+escaped(k)] = v
	}
}

// turns reads a conversation and joins the function responses with their calls.
type turns struct {
	calls    []openCall
	problems []llm.Problem
}

type openCall struct {
	id, name string
	named    bool // the client gave the id
	answered bool
}

func (t *turns) problem(at, msg string) {
	t.problems = append(t.problems, llm.Problem{At: at, Msg: msg})
}

func (t *turns) message(c *content, at string) llm.Message {
	m := llm.Message{Role: llm.RoleUser, Extra: known(c.Extra), At: at}
	if c.Role == "model" {
		m.Role = llm.RoleAssistant
	}
	for i := range c.Parts {
		p := &c.Parts[i]
		at := item(at+"/parts", i)
		if p.kinds() > 1 {
			t.problem(at, "holds more than one of text, inlineData, fileData, functionCall and functionResponse")
			continue
		}
		q := p.read(at)
		t.join(&q)
		if n := len(m.Parts); n == 0 || !continues(&m.Parts[n-1], &q) {
			m.Parts = append(m.Parts, q)
		} else {
			m.Parts[n-1].Append(&q)
		}
	}
	return m
}

// continues says that a part holds nothing but the signature of the thought before it. Streams end a
// thought so, and the vendor that signed it wants both in one piece.
func continues(p, q *llm.Part) bool {
	return p.Reasoning != nil && p.Signature == nil && len(p.Reasoning.Redacted) == 0 &&
		q.Reasoning != nil && q.Reasoning.Text == "" && len(q.Reasoning.Redacted) == 0 && q.Signature != nil
}

// join gives a call without an id one that stays the same whenever the conversation is sent again, and finds
// the call that a response answers: by its id, else the first one of that name that has no response yet.
func (t *turns) join(p *llm.Part) {
	switch {
	case p.Call != nil:
		c := openCall{id: p.Call.ID, name: p.Call.Name, named: p.Call.ID != ""}
		if !c.named {
			c.id = madeID + strconv.Itoa(len(t.calls))
			p.Call.ID = c.id
		}
		t.calls = append(t.calls, c)
	case p.Result != nil:
		c := t.answered(p.Result)
		if c == nil {
			t.problem(p.At+"/functionResponse", "answers no functionCall that came before it")
			return
		}
		c.answered = true
		p.Result.CallID = c.id
	}
}

func (t *turns) answered(r *llm.ToolResult) *openCall {
	for i := range t.calls {
		if c := &t.calls[i]; r.CallID != "" && c.id == r.CallID {
			return c
		}
	}
	for i := range t.calls {
		if c := &t.calls[i]; !c.answered && c.name == r.Name && (r.CallID == "" || !c.named) {
			return c
		}
	}
	return nil
}

// madeID is how the ids begin that this package makes for calls without one. They are never sent to Gemini,
// nor to a Gemini client: neither has seen them before.
const madeID = "call_slc_"

// nativeID is the id that a call has in this format.
func nativeID(id string) string {
	if strings.HasPrefix(id, madeID) {
		return ""
	}
	return id
}

// tool reads one Tool, which is a list of functions and any number of tools that run at Google.
func (t *turns) tool(c *llm.Chat, w *tool, at string) {
	for i := range w.FunctionDeclarations {
		d := &w.FunctionDeclarations[i]
		at := item(at+"/functionDeclarations", i)
		out := llm.Tool{Name: d.Name, Description: d.Description, Extra: known(d.Extra), At: at}
		switch {
		case !isNull(d.ParametersJSONSchema) && !isNull(d.Parameters):
			t.problem(at, "holds both parameters and parametersJsonSchema")
		case !isNull(d.ParametersJSONSchema):
			out.Schema = llm.Raw(d.ParametersJSONSchema)
			out.Extra = merged(out.Extra, plainSchema)
		case !isNull(d.Parameters):
			out.Schema = fromOpenAPI(d.Parameters)
		}
		c.Tools = append(c.Tools, out)
	}
	hosted := known(w.Hosted)
	for _, k := range sorted(hosted) {
		o := text{'{'}
		o.member(k)
		o.raw(hosted[k])
		o.close('}')
		c.Tools = append(c.Tools, llm.Tool{Foreign: llm.Raw(o), At: pointer(at, k)})
	}
}

func (w *toolConfig) read(c *llm.Chat) {
	keep(c, inToolConfig, w.Extra)
	f := w.FunctionCallingConfig
	if f == nil {
		return
	}
	keep(c, inCalling, f.Extra)
	names := f.AllowedFunctionNames
	switch mode := word(f.Mode, callModes); mode {
	case "NONE":
		c.Choice = &llm.ToolChoice{Mode: llm.ChoiceNone}
	case "AUTO":
		c.Choice = &llm.ToolChoice{Mode: llm.ChoiceAuto, Allowed: names}
	case "ANY":
		c.Choice = &llm.ToolChoice{Mode: llm.ChoiceRequired, Allowed: names}
		if len(names) == 1 {
			c.Choice = &llm.ToolChoice{Mode: llm.ChoiceTool, Name: names[0]}
		}
	case modeValidated:
		// Calls are held to their schemas here; no other vendor can be asked for that and nothing else.
		o := text(`{"mode":"VALIDATED"`)
		o.names("allowedFunctionNames", names)
		o.close('}')
		c.Choice = &llm.ToolChoice{Foreign: llm.Raw(o)}
	}
}

func (t *turns) generation(c *llm.Chat, g *generationConfig, at string) {
	c.Temperature, c.TopP, c.TopK = g.Temperature, g.TopP, g.TopK.int64()
	c.N, c.MaxOutput, c.Stop, c.Seed = g.CandidateCount.int64(), g.MaxOutputTokens.int64(), g.StopSequences, g.Seed.int64()
	c.PresencePenalty, c.FrequencyPenalty = g.PresencePenalty, g.FrequencyPenalty
	c.Logprobs, c.TopLogprobs = g.ResponseLogprobs, g.Logprobs.int64()
	keep(c, inGeneration, g.Extra)
	t.output(c, g, at)
	w := g.ThinkingConfig
	if w == nil {
		return
	}
	think := &llm.Thinking{Show: w.IncludeThoughts, Extra: known(w.Extra)}
	if level := word(w.ThinkingLevel, levels); level != "" && level != levels[0] {
		think.Effort = strings.ToLower(level)
	}
	switch n := w.ThinkingBudget.int64(); {
	case n == nil:
	case *n < 0:
		think.Auto = true
	case *n == 0:
		think.Off = true
	default:
		think.Budget = n
	}
	c.Thinking = think
}

// plainSchema notes that a schema came as JSON Schema and not as Gemini's own Schema. It is null, which is
// harmless in any format.
var plainSchema = llm.Members{plainMember: llm.Raw("null")}

const plainMember = "jsonSchema"

// output reads the form that the answer must have.
func (t *turns) output(c *llm.Chat, g *generationConfig, at string) {
	schema := llm.Raw(g.ResponseJSONSchema)
	switch {
	case !isNull(g.ResponseSchema) && !isNull(schema):
		t.problem(at, "holds both responseSchema and responseJsonSchema")
		return
	case !isNull(g.ResponseSchema):
		schema = fromOpenAPI(g.ResponseSchema)
	}
	switch mime := strings.ToLower(g.ResponseMIMEType); {
	case mime == mimeJSON && isNull(schema):
		c.Output = &llm.Output{Kind: llm.OutputJSON}
	case mime == mimeJSON:
		c.Output = &llm.Output{Kind: llm.OutputSchema, Schema: schema}
		if isNull(g.ResponseSchema) {
			c.Output.Extra = merged(nil, plainSchema)
		}
	case mime == mimeText && isNull(schema):
		c.Output = &llm.Output{Kind: llm.OutputText}
	default: // text/x.enum, and forms to come
		m := llm.Members{}
		if g.ResponseMIMEType != "" {
			m["responseMimeType"] = quote(nil, g.ResponseMIMEType)
		}
		if !isNull(g.ResponseSchema) {
			m["responseSchema"] = llm.Raw(g.ResponseSchema)
		}
		if !isNull(g.ResponseJSONSchema) {
			m["responseJsonSchema"] = llm.Raw(g.ResponseJSONSchema)
		}
		keep(c, inGeneration, m)
	}
}

// decodeCount reads a CountTokensRequest: contents, or a whole request in a member of its own.
func decodeCount(raw []byte) (llm.Payload, error) {
	var r struct {
		Contents jsontext.Value `json:"contents"`
		Inner    jsontext.Value `json:"generateContentRequest"`
	}
	if err := readRequest(raw, &r); err != nil {
		return nil, err
	}
	at := ""
	switch inner := !isNull(r.Inner); {
	case inner == !isNull(r.Contents):
		return nil, invalid([]llm.Problem{{At: "", Msg: "needs one of contents and generateContentRequest"}})
	case inner:
		raw, at = r.Inner, "/generateContentRequest"
	}
	var g generateRequest
	if err := readRequest(raw, &g); err != nil {
		return nil, err
	}
	delete(g.Extra, "generateContentRequest") // it is null, or it is what was read
	delete(g.Extra, "generate_content_request")
	return g.chat(at, llm.GeminiCount)
}
