package responses

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// message writes the items of one message: runs of text, media and refusals are a message item, calls,
// results and reasoning are items of their own.
func (e *encoder) message(m *llm.Message) {
	if m.Name != "" {
		e.Lose(m.At+"/name", "the upstream's messages have no names")
	}
	var run []llm.Part
	first := true
	flush := func() {
		if len(run) > 0 || first && len(m.Parts) == 0 {
			e.run(m, run, first)
			run, first = nil, false
		}
	}
	for i := 0; i < len(m.Parts); i++ {
		p := &m.Parts[i]
		switch {
		case p.Call != nil:
			flush()
			e.call(p)
		case p.Result != nil:
			flush()
			e.result(m, p)
		case p.Reasoning != nil:
			flush()
			i += e.reasoning(m.Parts[i:]) - 1
		case p.Foreign != nil && (m.Role == llm.RoleTool || m.Role == llm.RoleAssistant && !foreignContent(p.Foreign)):
			flush()
			if e.foreign {
				e.Lose(or(p.At, m.At), "the upstream does not know this block")
			} else {
				e.items = append(e.items, jsontext.Value(p.Foreign))
			}
		default:
			run = append(run, *p)
		}
	}
	flush()
}

// run writes a message item. Only the first of a message has its id and other members.
func (e *encoder) run(m *llm.Message, parts []llm.Part, first bool) {
	it := item{Type: typeMessage, Role: string(m.Role)}
	switch m.Role {
	case llm.RoleUser, llm.RoleAssistant, llm.RoleSystem, llm.RoleDeveloper:
	default:
		it.Role = string(llm.RoleUser)
	}
	if first {
		it.Extra = e.members(m.Extra, m.Hints, m.At)
		if !e.foreign && m.ID != "" {
			it.ID = m.ID
		}
	}
	if len(parts) == 1 && e.bare(&parts[0]) && it.ID == "" {
		it.Content = quote(nil, parts[0].Text)
	} else {
		it.Content = e.contents(parts, m.Role == llm.RoleAssistant)
	}
	e.put(&it)
}

// bare says that a part is text and nothing else, so that a string can stand for it.
func (e *encoder) bare(p *llm.Part) bool {
	return isText(p) && p.Extra == nil && p.Hints == nil && p.Citations == nil
}

// contents writes the parts of a message or of a tool's output.
func (e *encoder) contents(parts []llm.Part, assistant bool) jsontext.Value {
	out := make([]jsontext.Value, 0, len(parts))
	for i := range parts {
		p := &parts[i]
		if p.Foreign != nil {
			if e.foreign {
				e.Lose(or(p.At, "messages"), "the upstream does not know this block")
			} else {
				out = append(out, jsontext.Value(p.Foreign))
			}
			continue
		}
		c, ok := e.content(p, assistant)
		if !ok {
			continue
		}
		v, err := json.Marshal(c, json.Deterministic(true))
		if err != nil {
			e.failed = err
		}
		out = append(out, v)
	}
	v, err := json.Marshal(out)
	if err != nil {
		e.failed = err
	}
	return v
}

func (e *encoder) content(p *llm.Part, assistant bool) (c content, ok bool) {
	switch {
	case p.Refusal != nil:
		c = content{Type: "refusal", Refusal: p.Refusal}
	case p.Media != nil:
		var why string
		if c, why = mediaContent(p.Media, e.foreign); why == "" && assistant {
			why = "the upstream takes no media in the model's own turns"
		}
		if why != "" {
			e.Lose(or(p.At, "messages"), why)
			return c, false
		}
	case p.Call != nil || p.Result != nil || p.Reasoning != nil: // a tool's result holds none of these
		e.Lose(or(p.At, "messages"), "the upstream takes only text, images and files here")
		return c, false
	case assistant:
		c = content{Type: "output_text", Text: &p.Text, Annotations: []jsontext.Value{}}
		for i := range p.Citations {
			if a := writeCitation(&p.Citations[i]); a != nil {
				c.Annotations = append(c.Annotations, a)
			}
		}
	default:
		c = content{Type: "input_text", Text: &p.Text}
	}
	c.Extra = e.members(p.Extra, p.Hints, p.At)
	return c, true
}

func (e *encoder) call(p *llm.Part) {
	it := item{Type: typeCall, CallID: p.Call.ID, Name: p.Call.Name, Extra: e.members(p.Extra, p.Hints, p.At)}
	if !e.foreign {
		it.ID = p.Call.ItemID
	}
	args := string(p.Call.Args)
	if p.Call.Custom {
		it.Type, it.Input = typeCustom, &args
	} else {
		if args == "" {
			args = "{}"
		}
		it.Arguments = &args
	}
	e.put(&it)
}

// result writes a tool's output. That the tool failed is left to the output's own words: the API has no
// other place for it.
func (e *encoder) result(m *llm.Message, p *llm.Part) {
	r := p.Result
	it := item{Type: typeCallOutput, CallID: r.CallID, Extra: e.members(p.Extra, p.Hints, p.At)}
	if !e.foreign {
		it.ID, it.Name = m.ID, r.Name
	}
	if r.Custom {
		it.Type = typeCustomOutput
	}
	switch {
	case len(r.Parts) == 0:
		it.Output = jsontext.Value(`""`)
	case len(r.Parts) == 1 && e.bare(&r.Parts[0]):
		it.Output = quote(nil, r.Parts[0].Text)
	default:
		it.Output = e.contents(r.Parts, false)
	}
	e.put(&it)
}

// reasoning writes the reasoning item that parts begin with and says how many of them it took. Reasoning
// goes back only to whoever signed it; unsigned, it is a reference to what an upstream of this format
// keeps, unless the writer made it of another vendor's.
func (e *encoder) reasoning(parts []llm.Part) int {
	n := 1
	id := parts[0].Reasoning.ID
	for id != "" && n < len(parts) && parts[n].Reasoning != nil && parts[n].Reasoning.ID == id {
		n++
	}
	it := item{Type: typeReasoning, Summary: []content{}}
	ours := !e.foreign && id != "" && !strings.HasPrefix(id, ownReasoning)
	var texts []content
	for i := range parts[:n] {
		p := &parts[i]
		if p.Signature != nil {
			ours = p.Signature.By == vendor
			it.EncryptedContent = p.Signature.Value
		}
		if p.Extra != nil || p.Hints != nil {
			it.Extra = e.members(p.Extra, p.Hints, p.At)
		}
		switch {
		case p.Reasoning.Text == "" && n == 1:
		case p.Reasoning.Summary || e.foreign:
			it.Summary = append(it.Summary, content{Type: "summary_text", Text: &p.Reasoning.Text})
		default:
			texts = append(texts, content{Type: "reasoning_text", Text: &p.Reasoning.Text})
		}
	}
	if !ours || parts[0].Reasoning.Redacted != nil {
		return n
	}
	if !e.foreign {
		it.ID = id
	}
	if texts != nil {
		v, err := json.Marshal(texts)
		if err != nil {
			e.failed = err
		}
		it.Content = v
	}
	e.put(&it)
	return n
}

// readCitation reads an annotation. Those that are no web address are kept in their own form only.
func readCitation(raw jsontext.Value) llm.Citation {
	c := llm.Citation{Native: bytes.Clone(llm.Raw(raw))}
	var a struct {
		Type  string `json:"type"`
		URL   string `json:"url"`
		Title string `json:"title"`
		Start whole  `json:"start_index"`
		End   whole  `json:"end_index"`
	}
	if err := json.Unmarshal(raw, &a); err == nil && a.Type == "url_citation" {
		c.URL, c.Title, c.Start, c.End = a.URL, a.Title, int(a.Start), int(a.End)
	}
	return c
}

// writeCitation writes an annotation, nil when the API has none like it: a citation is a note for the
// reader, not something the model needs back.
func writeCitation(c *llm.Citation) jsontext.Value {
	switch string(topString(c.Native, "type")) {
	case "url_citation":
		if topString(c.Native, "url") != nil {
			return jsontext.Value(c.Native)
		}
	case "file_citation", "container_file_citation", "file_path":
		return jsontext.Value(c.Native)
	}
	if c.URL == "" {
		return nil
	}
	v, err := json.Marshal(struct {
		Type  string `json:"type"`
		URL   string `json:"url"`
		Title string `json:"title"`
		Start int    `json:"start_index"`
		End   int    `json:"end_index"`
	}{"url_citation", c.URL, c.Title, c.Start, c.End})
	if err != nil {
		return nil
	}
	return v
}
