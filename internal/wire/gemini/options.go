package gemini

import (
	"maps"
	"math"
	"strings"

	"sluice/internal/llm"
)

// tools writes functions and hosted tools in their order: functions in a row are one Tool.
func (x *encoder) tools() {
	list := x.chat.Tools
	if len(list) == 0 {
		return
	}
	t := &x.t
	t.name("tools")
	t.open('[')
	for i := 0; i < len(list); {
		if list[i].Foreign != nil {
			if x.own {
				t.raw(list[i].Foreign)
			} else {
				x.lose(list[i].At, "this tool runs at another provider")
			}
			i++
			continue
		}
		t.open('{')
		t.name("functionDeclarations")
		t.open('[')
		for ; i < len(list) && list[i].Foreign == nil; i++ {
			x.function(&list[i])
		}
		t.close(']')
		t.close('}')
	}
	t.close(']')
}

func (x *encoder) function(f *llm.Tool) {
	x.loseExtra(f.At, f.Extra)
	t := &x.t
	t.open('{')
	t.str("name", f.Name)
	t.str("description", f.Description)
	if !isNull(f.Schema) {
		x.schema(f.Schema, f.Extra, "parameters", "parametersJsonSchema")
	}
	if x.own {
		t.members(known(maps.Clone(f.Extra)))
	}
	t.close('}')
}

// schema writes a JSON Schema; in Gemini's own words where it came from a Gemini client and fits.
func (x *encoder) schema(s llm.Raw, extra llm.Members, open, plain string) {
	if x.own && extra[plainMember] == nil {
		if o, ok := toOpenAPI(s); ok {
			x.t.name(open)
			x.t.raw(o)
			return
		}
	}
	x.t.name(plain)
	x.t.raw(s)
}

// names writes a list of strings when there is one.
func (t *text) names(name string, list []string) {
	if len(list) == 0 {
		return
	}
	t.name(name)
	t.open('[')
	for _, s := range list {
		t.string(s)
	}
	t.close(']')
}

func (x *encoder) toolConfig() {
	choice := x.chat.Choice
	// Where no tool may be called, or one named tool must be, there is nothing to call beside it.
	calls := len(x.chat.Tools) > 0 && (choice == nil || choice.Mode != llm.ChoiceNone && choice.Mode != llm.ChoiceTool)
	if p := x.chat.Parallel; calls && p != nil && !*p {
		x.lose("parallel_tool_calls", "Gemini has no setting for one tool call at a time; leave it out and expect several, or name the one tool in tool_choice")
	}
	if choice != nil && choice.Foreign != nil && !x.own {
		x.lose("tool_choice", "only the format it came in knows this choice")
		choice = nil
	}
	calling, config := x.kept(inCalling), x.kept(inToolConfig)
	if choice == nil && len(calling) == 0 && len(config) == 0 {
		return
	}
	t := &x.t
	t.name("toolConfig")
	t.open('{')
	if choice != nil || len(calling) > 0 {
		t.name("functionCallingConfig")
		if choice != nil && choice.Foreign != nil {
			t.raw(choice.Foreign[:len(choice.Foreign)-1])
		} else {
			t.open('{')
			t.choice(choice, x.own)
		}
		t.members(calling)
		t.close('}')
	}
	t.members(config)
	t.close('}')
}

func (t *text) choice(c *llm.ToolChoice, own bool) {
	if c == nil {
		return
	}
	names := c.Allowed
	switch c.Mode {
	case llm.ChoiceNone:
		t.str("mode", "NONE")
	case llm.ChoiceRequired:
		t.str("mode", "ANY")
	case llm.ChoiceTool:
		t.str("mode", "ANY")
		names = []string{c.Name}
	default:
		// AUTO takes no names; VALIDATED is the mode that lets the model choose and does.
		if len(names) > 0 && !own {
			t.str("mode", modeValidated)
		} else {
			t.str("mode", "AUTO")
		}
	}
	t.names("allowedFunctionNames", names)
}

// kept gives the members of Chat.Extra that belong into an inner object.
func (x *encoder) kept(path string) llm.Members {
	if !x.own {
		return nil
	}
	var out llm.Members
	for k, v := range x.chat.Extra {
		name, ok := strings.CutPrefix(k, path)
		if !ok || strings.Contains(name, "/") {
			continue
		}
		if out == nil {
			out = make(llm.Members)
		}
		out[unescaped(name)] = v
	}
	return out
}

func (x *encoder) generationConfig() {
	c, t := x.chat, &x.t
	start := len(*t)
	t.name("generationConfig")
	t.open('{')
	empty := len(*t)
	t.optFloat("temperature", c.Temperature)
	t.optFloat("topP", c.TopP)
	t.optInt("topK", c.TopK)
	t.optInt("candidateCount", c.N)
	t.optInt("maxOutputTokens", c.MaxOutput)
	t.names("stopSequences", c.Stop)
	if s := c.Seed; s != nil && (*s > math.MaxInt32 || *s < math.MinInt32) {
		x.lose("seed", "Gemini's seeds have 32 bits")
	} else {
		t.optInt("seed", s)
	}
	t.optFloat("presencePenalty", c.PresencePenalty)
	t.optFloat("frequencyPenalty", c.FrequencyPenalty)
	if c.Logprobs != nil {
		t.name("responseLogprobs")
		t.bool(*c.Logprobs)
	}
	t.optInt("logprobs", c.TopLogprobs)
	x.output()
	x.thinking()
	t.members(x.kept(inGeneration))
	if len(*t) == empty {
		*t = (*t)[:start]
		return
	}
	t.close('}')
}

func (t *text) optFloat(name string, f *float64) {
	if f != nil {
		t.name(name)
		t.float(*f, 64)
	}
}

func (t *text) optInt(name string, n *int64) {
	if n != nil {
		t.name(name)
		t.int(*n)
	}
}

// output writes the form of the answer. The name of a schema has no place here and no meaning to a model;
// its description goes into the schema.
func (x *encoder) output() {
	o := x.chat.Output
	if o == nil {
		return
	}
	x.loseExtra("response_format", o.Extra)
	switch o.Kind {
	case llm.OutputText:
		if x.own {
			x.t.str("responseMimeType", mimeText)
		}
	case llm.OutputJSON:
		x.t.str("responseMimeType", mimeJSON)
	case llm.OutputSchema:
		x.t.str("responseMimeType", mimeJSON)
		if !isNull(o.Schema) {
			x.schema(described(o.Schema, o.Description), o.Extra, "responseSchema", "responseJsonSchema")
		}
	}
}

func described(s llm.Raw, description string) llm.Raw {
	fields, ok := readSchema(s)
	if description == "" || !ok || fields.get("description") != nil {
		return s
	}
	t := text{'{'}
	t.str("description", description)
	for _, k := range fields {
		t.keyword(k)
	}
	t.close('}')
	return llm.Raw(t)
}

// budgets are the thinking budgets for an effort that Google's own OpenAI-compatible endpoint uses for
// models before Gemini 3, which know no levels.
var budgets = map[string]int64{"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}

func (x *encoder) thinking() {
	w := x.chat.Thinking
	if w == nil {
		return
	}
	t := &x.t
	x.loseExtra("thinking", w.Extra)
	start := len(*t)
	t.name("thinkingConfig")
	t.open('{')
	empty := len(*t)
	old := generation(x.e.Model) > 0 && generation(x.e.Model) < 3
	switch effort := w.Effort; {
	case x.own:
		x.level(effort)
		x.budget(w)
	case w.Off || w.Auto && effort == "" || w.Budget != nil && (old || effort == ""):
		x.budget(w)
	case effort == "xhigh" || effort == "max":
		x.lose("reasoning_effort", "Gemini's highest level of thinking is high")
		effort = "high"
		fallthrough
	case effort != "":
		if old {
			t.name("thinkingBudget")
			t.int(budgets[effort])
		} else {
			x.level(effort)
		}
	}
	if show, said := x.show(w); said {
		t.name("includeThoughts")
		t.bool(show)
	}
	if x.own {
		t.members(w.Extra)
	}
	if len(*t) == empty {
		*t = (*t)[:start]
		return
	}
	t.close('}')
}

func (x *encoder) level(effort string) { x.t.str("thinkingLevel", strings.ToUpper(effort)) }

func (x *encoder) budget(w *llm.Thinking) {
	n := w.Budget
	switch {
	case w.Off:
		n = new(int64)
	case w.Auto:
		auto := int64(-1)
		n = &auto
	}
	x.t.optInt("thinkingBudget", n)
}

// show says whether thoughts are wanted back. Anthropic's clients get them whenever thinking is on, unless
// they ask for none; OpenAI's when they ask for a summary.
func (x *encoder) show(w *llm.Thinking) (show, said bool) {
	switch {
	case w.Show != nil:
		return *w.Show, true
	case w.Off || w.Summary == "omitted" || w.Summary == "none":
		return false, false
	}
	show = w.Summary != "" || x.chat.Format == llm.AnthropicMessages
	return show, show
}

// rest writes what stands at the top, and refuses what Gemini lacks.
func (x *encoder) rest() {
	c, t := x.chat, &x.t
	lack := func(there bool, name, why string) {
		if there {
			x.lose(name, why)
		}
	}
	lack(c.MinP != nil, "min_p", "Gemini has no min_p")
	lack(!isNull(c.LogitBias) && string(c.LogitBias) != "{}", "logit_bias", "Gemini has no logit bias")
	lack(c.Verbosity != "" && c.Verbosity != "medium", "verbosity", "Gemini has no verbosity")
	lack(c.Store != nil && *c.Store && !x.own, "store", "Gemini's store is not OpenAI's")
	switch tier := c.ServiceTier; tier {
	case "", "auto", "default":
	case "flex", "priority":
		t.str("serviceTier", tier)
	default:
		if x.own {
			t.str("serviceTier", tier)
		} else {
			x.lose("service_tier", "Gemini has no such service tier")
		}
	}
	if x.own {
		if c.Store != nil {
			t.name("store")
			t.bool(*c.Store)
		}
		for _, k := range sorted(c.Extra) {
			if !strings.Contains(k, "/") {
				t.member(unescaped(k))
				t.raw(c.Extra[k])
			}
		}
		return
	}
	for _, k := range sorted(c.Extra) {
		switch v := c.Extra[k]; {
		case isNull(v):
		case c.Format == llm.OpenAIResponses && string(v) != "false" &&
			(k == "previous_response_id" || k == "conversation" || k == "background"):
			// Without its past this would be another conversation: no target is that lenient.
			x.bad = append(x.bad, llm.Problem{At: "/" + k, Msg: "needs an upstream that keeps state; send the whole conversation instead"})
		default:
			x.lose("/"+k, "Gemini has no such member")
		}
	}
}
