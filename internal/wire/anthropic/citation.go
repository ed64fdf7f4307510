package anthropic

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// A citation is what Anthropic's kinds of citation have in common with those of other vendors.
type citation struct {
	Type          string `json:"type"`
	CitedText     string `json:"cited_text"`
	URL           string `json:"url,omitzero"`
	Title         string `json:"title"`
	DocumentTitle string `json:"document_title,omitzero"`
	Source        string `json:"source,omitzero"`
	Encrypted     string `json:"encrypted_index"`
}

func (r *reader) citations(raw jsontext.Value, at string) []llm.Citation {
	if raw.Kind() != '[' {
		return nil
	}
	var list []jsontext.Value
	if err := unmarshal(raw, &list); err != nil {
		r.problem(at+"/citations", "is not an array of citations")
		return nil
	}
	var out []llm.Citation
	for _, v := range list {
		if c, ok := readCitation(v); ok {
			out = append(out, c)
		}
	}
	return out
}

func readCitation(raw jsontext.Value) (llm.Citation, bool) {
	var c citation
	if raw.Kind() != '{' || unmarshal(raw, &c) != nil {
		return llm.Citation{}, false
	}
	out := llm.Citation{URL: c.URL, Title: c.Title, Quote: c.CitedText, Native: llm.Raw(raw)}
	if out.Title == "" {
		out.Title = c.DocumentTitle
	}
	if out.URL == "" && strings.HasPrefix(c.Source, "http") {
		out.URL = c.Source
	}
	return out, true
}

// writeCitation gives a citation in Anthropic's form: as it came, when it was read in this format, else the
// kind that names a page on the web; nil when it names none.
func writeCitation(c *llm.Citation, same bool) jsontext.Value {
	if same && c.Native != nil {
		return jsontext.Value(c.Native)
	}
	if c.URL == "" {
		return nil
	}
	out, err := marshal(&citation{Type: "web_search_result_location", CitedText: c.Quote, URL: c.URL, Title: c.Title})
	if err != nil {
		return nil
	}
	return out
}

// writeCitations is an array of them, nil when there are none.
func writeCitations(list []llm.Citation, same bool) jsontext.Value {
	var out []jsontext.Value
	for i := range list {
		if v := writeCitation(&list[i], same); v != nil {
			out = append(out, v)
		}
	}
	if out == nil {
		return nil
	}
	v, err := marshal(out)
	if err != nil {
		return nil
	}
	return v
}
