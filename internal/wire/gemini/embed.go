package gemini

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// embedRequest is an EmbedContentRequest.
type embedRequest struct {
	Model                string         `json:"model"`
	Content              jsontext.Value `json:"content"`
	TaskType             jsontext.Value `json:"taskType"`
	Title                string         `json:"title"`
	OutputDimensionality *number        `json:"outputDimensionality"`
	Extra                llm.Members    `json:",embed"`
}

func decodeEmbed(raw []byte) (llm.Payload, error) {
	var r embedRequest
	if err := readRequest(raw, &r); err != nil {
		return nil, err
	}
	p := &llm.Embed{Format: llm.GeminiEmbed, One: true, Dimensions: r.OutputDimensionality.int64(), Task: word(r.TaskType, nil), Title: r.Title}
	in, err := r.input("")
	p.Inputs, p.Extra = []llm.EmbedInput{in}, known(r.Extra)
	return p, err
}

// decodeBatch reads a BatchEmbedContentsRequest. The hub has one task, title and size for all inputs;
// inputs that differ in them keep theirs.
func decodeBatch(raw []byte) (llm.Payload, error) {
	var r struct {
		Requests []embedRequest `json:"requests"`
		Extra    llm.Members    `json:",embed"`
	}
	if err := readRequest(raw, &r); err != nil {
		return nil, err
	}
	p := &llm.Embed{Format: llm.GeminiBatchEmbed, Extra: known(r.Extra)}
	same := true
	for i := range r.Requests {
		same = same && r.Requests[i].alike(&r.Requests[0])
	}
	for i := range r.Requests {
		q := &r.Requests[i]
		in, err := q.input(item("/requests", i))
		if err != nil {
			return nil, err
		}
		in.Extra = merged(in.Extra, known(q.Extra))
		if same {
			p.Task, p.Title, p.Dimensions = word(q.TaskType, nil), q.Title, q.OutputDimensionality.int64()
		} else {
			in.Extra = merged(in.Extra, q.own())
		}
		p.Inputs = append(p.Inputs, in)
	}
	return p, nil
}

func (r *embedRequest) alike(o *embedRequest) bool {
	n, m := r.OutputDimensionality, o.OutputDimensionality
	return word(r.TaskType, nil) == word(o.TaskType, nil) && r.Title == o.Title && (n == nil) == (m == nil) && (n == nil || *n == *m)
}

// own are the settings of one request of a batch that the hub has only for all.
func (r *embedRequest) own() llm.Members {
	m := llm.Members{}
	if task := word(r.TaskType, nil); task != "" {
		m["taskType"] = quote(nil, task)
	}
	if r.Title != "" {
		m["title"] = quote(nil, r.Title)
	}
	if n := r.OutputDimensionality; n != nil {
		t := text{}
		t.int(int64(*n))
		m["outputDimensionality"] = llm.Raw(t)
	}
	return m
}

// input reads the content. One that is more than a single text is kept as it came: only Gemini makes one
// vector of several parts, or of an image.
func (r *embedRequest) input(at string) (llm.EmbedInput, error) {
	in := llm.EmbedInput{At: at + "/content"}
	var c content
	if err := readRequest(r.Content, &c); err != nil {
		return in, err
	}
	if len(c.Parts) == 1 && c.Parts[0].Text != nil && len(known(c.Parts[0].Extra)) == 0 && len(known(c.Extra)) == 0 {
		in.Text = *c.Parts[0].Text
		return in, nil
	}
	in.Extra = llm.Members{"content": llm.Raw(r.Content)}
	return in, nil
}

func encodeEmbed(p *llm.Embed, e *llm.Encoding) ([]byte, error) {
	if len(p.Inputs) != 1 {
		e.Lose("input", "embedContent takes one input; batchEmbedContents takes many")
	}
	t := text{'{'}
	if len(p.Inputs) > 0 {
		t.embed(p, &p.Inputs[0], e, false)
	}
	t.embedRest(p, e)
	t.close('}')
	return t, nil
}

func encodeBatch(p *llm.Embed, e *llm.Encoding) ([]byte, error) {
	t := text{'{'}
	t.name("requests")
	t.open('[')
	for i := range p.Inputs {
		t.open('{')
		t.embed(p, &p.Inputs[i], e, true)
		t.close('}')
	}
	t.close(']')
	t.embedRest(p, e)
	t.close('}')
	return t, nil
}

// embed writes the members of one request.
func (t *text) embed(p *llm.Embed, in *llm.EmbedInput, e *llm.Encoding, named bool) {
	own := ours(p.Format)
	if named {
		t.str("model", resource(e.Model))
	}
	extra := in.Extra
	if !own {
		for _, k := range sorted(extra) {
			e.Lose(pointer(in.At, k), "Gemini has no such member")
		}
		extra = nil
	}
	if in.Tokens != nil {
		e.Lose(in.At, "Gemini embeds text, not token ids")
	}
	if extra["content"] == nil {
		t.name("content")
		t.open('{')
		t.name("parts")
		t.open('[')
		t.open('{')
		t.name("text")
		t.string(in.Text)
		t.close('}')
		t.close(']')
		t.close('}')
	}
	t.str("taskType", p.Task)
	t.str("title", p.Title)
	t.optInt("outputDimensionality", p.Dimensions)
	t.members(extra)
}

func (t *text) embedRest(p *llm.Embed, e *llm.Encoding) {
	for _, k := range sorted(p.Extra) {
		switch {
		case ours(p.Format):
			t.member(k)
			t.raw(p.Extra[k])
		case !isNull(p.Extra[k]):
			e.Lose(pointer("", k), "Gemini has no such member")
		}
	}
}

// readVectors reads the answer of either endpoint.
func readVectors(ev *llm.Event, body []byte) error {
	type vector struct {
		Values []float32 `json:"values"`
	}
	var r struct {
		Embedding  *vector     `json:"embedding"`
		Embeddings []vector    `json:"embeddings"`
		Extra      llm.Members `json:",embed"`
	}
	if err := json.Unmarshal(body, &r, readingAnswer); err != nil {
		return broken(err)
	}
	if r.Embedding != nil {
		r.Embeddings = append([]vector{*r.Embedding}, r.Embeddings...)
	}
	if len(r.Embeddings) == 0 {
		return broken(nil)
	}
	for i, v := range r.Embeddings {
		ev.Vectors = append(ev.Vectors, llm.Vector{Index: i, Values: v.Values})
	}
	delete(r.Extra, "usageMetadata")
	ev.Extra = known(r.Extra)
	return nil
}

// embedAnswer writes vectors; embedContent has one.
func (f *Format) embedAnswer(a *llm.Answer) ([]byte, error) {
	t := text{'{'}
	if f == EmbedContent {
		if len(a.Vectors) != 1 {
			return nil, llm.Errorf(llm.KindUpstream, "the upstream sent %d vectors for one input", len(a.Vectors))
		}
		t.name("embedding")
		if err := t.vector(&a.Vectors[0]); err != nil {
			return nil, err
		}
	} else {
		t.name("embeddings")
		t.open('[')
		for i := range a.Vectors {
			if err := t.vector(&a.Vectors[i]); err != nil {
				return nil, err
			}
		}
		t.close(']')
	}
	if u := a.Usage; u != nil && u.Input.Known {
		t.usage(u, a.Format == f.name)
	}
	t.close('}')
	return t, nil
}

func (t *text) vector(v *llm.Vector) error {
	values := v.Values
	if values == nil && v.Base64 != "" {
		b, err := base64.StdEncoding.DecodeString(v.Base64)
		if err != nil || len(b)%4 != 0 {
			return broken(err)
		}
		for ; len(b) > 0; b = b[4:] {
			values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	}
	t.open('{')
	t.name("values")
	t.open('[')
	for _, f := range values {
		t.float(float64(f), 32)
	}
	t.close(']')
	t.close('}')
	return nil
}

// readCount reads a CountTokensResponse.
func readCount(ev *llm.Event, body []byte) error {
	var r struct {
		TotalTokens *number        `json:"totalTokens"`
		Cached      *number        `json:"cachedContentTokenCount"`
		Details     jsontext.Value `json:"promptTokensDetails"`
		Extra       llm.Members    `json:",embed"`
	}
	if err := json.Unmarshal(body, &r, readingAnswer); err != nil {
		return broken(err)
	}
	u := countUsage(r.TotalTokens, r.Cached)
	if !isNull(r.Details) {
		readModalities(&peeker{b: r.Details}, &u.AudioInput, &u.ImageInput)
		r.Extra = merged(r.Extra, llm.Members{"promptTokensDetails": llm.Raw(r.Details)})
	}
	ev.Usage, ev.Extra = u, known(r.Extra)
	return nil
}

func countUsage(total, cached *number) *llm.Usage {
	u := new(llm.Usage)
	if total != nil {
		u.Input = llm.Tokens(int64(*total))
	}
	if cached != nil {
		u.CacheRead = llm.Tokens(int64(*cached))
	}
	return u
}

// countAnswer writes a CountTokensResponse.
func countAnswer(a *llm.Answer, same bool) []byte {
	t := text{'{'}
	t.name("totalTokens")
	var u llm.Usage
	if a.Usage != nil {
		u = *a.Usage
	}
	t.int(u.Input.N)
	t.count("cachedContentTokenCount", u.CacheRead)
	if same {
		t.members(a.Extra)
	}
	t.close('}')
	return t
}
