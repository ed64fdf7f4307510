package gemini

import (
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// content is a turn.
type content struct {
	Role  string      `json:"role"`
	Parts []part      `json:"parts"`
	Extra llm.Members `json:",embed"`
}

// part is a Part. What is not named here is either about the data (videoMetadata) or data that only Gemini
// knows (executableCode).
type part struct {
	Text             *string           `json:"text"`
	Thought          bool              `json:"thought"`
	ThoughtSignature string            `json:"thoughtSignature"`
	InlineData       *inlineData       `json:"inlineData"`
	FileData         *fileData         `json:"fileData"`
	FunctionCall     *functionCall     `json:"functionCall"`
	FunctionResponse *functionResponse `json:"functionResponse"`
	Extra            llm.Members       `json:",embed"`
}

type inlineData struct {
	MIMEType    string      `json:"mimeType"`
	Data        string      `json:"data"`
	DisplayName string      `json:"displayName"`
	Extra       llm.Members `json:",embed"`
}

type fileData struct {
	MIMEType    string      `json:"mimeType"`
	FileURI     string      `json:"fileUri"`
	DisplayName string      `json:"displayName"`
	Extra       llm.Members `json:",embed"`
}

type functionCall struct {
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	Args         jsontext.Value `json:"args"`
	PartialArgs  []partialArg   `json:"partialArgs"`
	WillContinue bool           `json:"willContinue"`
}

type functionResponse struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Response jsontext.Value `json:"response"`
	Parts    []part         `json:"parts"`
	Extra    llm.Members    `json:",embed"`
}

// aboutData are members of a part that say something about its data, and are none themselves.
var aboutData = map[string]bool{
	"videoMetadata": true, "video_metadata": true, "mediaResolution": true, "media_resolution": true,
	"partMetadata": true, "part_metadata": true, "mediaProcessing": true, "media_processing": true,
	"speechMetadata": true, "speech_metadata": true,
}

// kinds counts the data members of a part, of which the API allows one.
func (p *part) kinds() (n int) {
	for _, there := range []bool{p.Text != nil, p.InlineData != nil, p.FileData != nil, p.FunctionCall != nil, p.FunctionResponse != nil} {
		if there {
			n++
		}
	}
	return n
}

// read gives a part's meaning. Calls and responses lack what only their neighbours tell: see turns.
func (p *part) read(at string) llm.Part {
	out := llm.Part{At: at, Extra: known(p.Extra), Signature: readSignature(p.ThoughtSignature)}
	switch {
	case p.FunctionCall != nil:
		c := p.FunctionCall
		out.Call = &llm.ToolCall{ID: c.ID, Name: c.Name, Args: arguments(c.Args)}
	case p.FunctionResponse != nil:
		p.FunctionResponse.read(&out, at)
	case p.InlineData != nil:
		d := p.InlineData
		out.Media = &llm.Media{Kind: mediaKind(d.MIMEType), Type: d.MIMEType, Data: standardBase64(d.Data), Name: d.DisplayName, Extra: known(d.Extra)}
	case p.FileData != nil:
		out.Media = p.FileData.media()
	case p.Text == nil && p.foreign():
		out.Foreign, out.Extra = foreignData(out.Extra, p.Thought), nil
	case p.Thought:
		out.Reasoning = &llm.Reasoning{Summary: true}
		if p.Text != nil {
			out.Reasoning.Text = *p.Text
		}
		out.Reasoning.Redacted, out.Signature = splitRedacted(out.Signature)
	case p.Text != nil:
		out.Text = *p.Text
	}
	return out
}

// foreign says that the part holds data of a kind that only Gemini knows.
func (p *part) foreign() bool {
	for k := range p.Extra {
		if !aboutData[k] {
			return true
		}
	}
	return false
}

func foreignData(m llm.Members, thought bool) llm.Raw {
	t := text{'{'}
	if thought {
		t.name("thought")
		t.bool(true)
	}
	t.members(m)
	t.close('}')
	return llm.Raw(t)
}

func arguments(raw jsontext.Value) []byte {
	if isNull(raw) {
		return []byte("{}")
	}
	return raw
}

func (d *fileData) media() *llm.Media {
	m := &llm.Media{Kind: mediaKind(d.MIMEType), Type: d.MIMEType, Name: d.DisplayName, Extra: known(d.Extra)}
	// Google's own stores mean nothing to anybody else; other addresses are public.
	if !strings.HasPrefix(d.FileURI, "http") || strings.HasPrefix(d.FileURI, "https://generativelanguage.googleapis.com/") {
		m.FileID = d.FileURI
	} else {
		m.URL = d.FileURI
	}
	return m
}

func mediaKind(mime string) llm.MediaKind {
	kind, _, _ := strings.Cut(mime, "/")
	switch k := llm.MediaKind(kind); k {
	case llm.MediaImage, llm.MediaAudio, llm.MediaVideo:
		return k
	}
	return llm.MediaDocument
}

// standardBase64 writes base64 in the alphabet and with the padding that every vendor takes; protobuf JSON
// takes the URL alphabet, too, and no padding.
func standardBase64(s string) string {
	if strings.ContainsAny(s, "-_") {
		s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	}
	if n := len(s) % 4; n > 1 {
		s += "=="[n-2:]
	}
	return s
}

// The members in which a response has the text of a result, by Google's convention.
const (
	outputMember = "output"
	errorMember  = "error"
)

// read gives a function's response. A response is an object; one that is only {"output": text} or
// {"error": text} is that text. A text that is an object itself stays wrapped, so that it goes back as it came.
func (r *functionResponse) read(out *llm.Part, at string) {
	res := &llm.ToolResult{CallID: r.ID, Name: r.Name}
	s, member := onlyText(r.Response)
	if member == "" || isObject([]byte(s)) {
		s, member = string(r.Response), ""
	}
	res.Failed = member == errorMember
	res.Parts = append(res.Parts, llm.Part{Text: s, At: at + "/functionResponse/response"})
	for i := range r.Parts {
		res.Parts = append(res.Parts, r.Parts[i].read(item(at+"/functionResponse/parts", i)))
	}
	out.Result = res
	for k, v := range known(r.Extra) {
		if out.Extra == nil {
			out.Extra = make(llm.Members)
		}
		out.Extra[resultPrefix+k] = v
	}
}

// resultPrefix marks kept members that stand inside functionResponse and not beside it.
const resultPrefix = "functionResponse/"

// splitResult tells a part's kept members that stand inside its functionResponse from those beside it.
func splitResult(m llm.Members) (inside, beside llm.Members) {
	for name, v := range m {
		if in, ok := strings.CutPrefix(name, resultPrefix); ok {
			inside = merged(inside, llm.Members{in: v})
		} else {
			beside = merged(beside, llm.Members{name: v})
		}
	}
	return inside, beside
}

// onlyText gives the text of an object that has nothing but {"output": text} or {"error": text}.
func onlyText(raw []byte) (s, member string) {
	var m map[string]jsontext.Value
	if json.Unmarshal(raw, &m, readingAnswer) != nil || len(m) != 1 {
		return "", ""
	}
	for k, v := range m {
		if (k == outputMember || k == errorMember) && v.Kind() == '"' {
			b, _ := jsontext.AppendUnquote(nil, v)
			return string(b), k
		}
	}
	return "", ""
}

// The marks of signatures that are not Gemini's, inside the base64. What follows the first one is the
// vendor's name, a dot, and the signature; or, for redacted reasoning, "redacted.", the name, a dot, the data.
const (
	foreignPrefix  = "sluice."
	redactedPrefix = "redacted."
)

// readSignature tells Gemini's own signatures from those that a Gemini client carries for another vendor.
func readSignature(v string) *llm.Signature {
	if v == "" {
		return nil
	}
	if b, err := base64.StdEncoding.DecodeString(standardBase64(v)); err == nil {
		if rest, ok := strings.CutPrefix(string(b), foreignPrefix); ok {
			if strings.HasPrefix(rest, redactedPrefix) {
				return &llm.Signature{By: redactedPrefix, Value: rest[len(redactedPrefix):]}
			}
			if vendor, value, ok := strings.Cut(rest, "."); ok {
				return &llm.Signature{By: vendor, Value: value}
			}
		}
	}
	return &llm.Signature{By: by, Value: v}
}

// splitRedacted takes redacted reasoning out of the signature that carried it.
func splitRedacted(s *llm.Signature) ([]byte, *llm.Signature) {
	if s == nil || s.By != redactedPrefix {
		return nil, s
	}
	vendor, data, _ := strings.Cut(s.Value, ".")
	if vendor == "" {
		return []byte(data), nil
	}
	return []byte(data), &llm.Signature{By: vendor}
}

// writeSignature is the thoughtSignature of a part for a Gemini client, "" when there is none.
func writeSignature(p *llm.Part) string {
	s := p.Signature
	switch {
	case p.Reasoning != nil && len(p.Reasoning.Redacted) > 0:
		vendor := ""
		if s != nil {
			vendor = s.By
		}
		return base64.StdEncoding.EncodeToString([]byte(foreignPrefix + redactedPrefix + vendor + "." + string(p.Reasoning.Redacted)))
	case s == nil || s.Value == "":
		return ""
	case s.By == by:
		return s.Value
	}
	return base64.StdEncoding.EncodeToString([]byte(foreignPrefix + s.By + "." + s.Value))
}
