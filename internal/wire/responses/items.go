package responses

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// An item is one element of a request's input or of an answer's output, of a kind that every model has: a
// message, a call of a function or of a free-form tool, its output, reasoning. Items of hosted tools are
// never read: they stay what they are, as llm.Part.Foreign.
type item struct {
	ID               string         `json:"id,omitzero"`
	Type             string         `json:"type,omitzero"`
	Status           string         `json:"status,omitzero"`
	Role             string         `json:"role,omitzero"`
	Content          jsontext.Value `json:"content,omitzero"` // a string or parts
	Phase            string         `json:"phase,omitzero"`
	CallID           string         `json:"call_id,omitzero"`
	Name             string         `json:"name,omitzero"`
	Arguments        *string        `json:"arguments,omitzero"`
	Input            *string        `json:"input,omitzero"`
	Output           jsontext.Value `json:"output,omitzero"`  // a string or parts
	Summary          []content      `json:"summary,omitzero"` // required of reasoning, if only as []
	EncryptedContent string         `json:"encrypted_content,omitzero"`
	Extra            llm.Members    `json:",embed"`
}

// A content is a part of a message, of a tool's output or of reasoning.
type content struct {
	Type        string           `json:"type"`
	Text        *string          `json:"text,omitzero"`
	Refusal     *string          `json:"refusal,omitzero"`
	ImageURL    string           `json:"image_url,omitzero"`
	FileID      string           `json:"file_id,omitzero"`
	FileData    string           `json:"file_data,omitzero"`
	FileURL     string           `json:"file_url,omitzero"`
	Filename    string           `json:"filename,omitzero"`
	Detail      string           `json:"detail,omitzero"`
	InputAudio  *inputAudio      `json:"input_audio,omitzero"`
	Annotations []jsontext.Value `json:"annotations,omitzero"`
	Logprobs    []jsontext.Value `json:"logprobs,omitzero"`
	Breakpoint  jsontext.Value   `json:"prompt_cache_breakpoint,omitzero"`
	Extra       llm.Members      `json:",embed"`
}

type inputAudio struct {
	Data   string `json:"data"`
	Format string `json:"format"`
}

// The types of items that are read.
const (
	typeMessage      = "message"
	typeReasoning    = "reasoning"
	typeCall         = "function_call"
	typeCallOutput   = "function_call_output"
	typeCustom       = "custom_tool_call"
	typeCustomOutput = "custom_tool_call_output"
)

// Reasoning of another vendor travels through this format as a reasoning item whose encrypted_content
// says, behind sealed, whose it is and where it belongs:
//
//	sluice.BY.VALUE             the signature of this item's own text
//	sluice.next.BY.VALUE        the signature of the part that follows (Gemini signs tool calls)
//	sluice.prev.BY.VALUE        the signature of the part before, where it came late in a stream
//	sluice.redacted.BY.VALUE    encrypted reasoning without text
const (
	sealed       = "sluice."
	sealNext     = "next."
	sealPrev     = "prev."
	sealRedacted = "redacted."

	vendor = "openai" // who signs plain encrypted_content

	// ownReasoning begins the id of a reasoning item that the writer made: no upstream knows it.
	ownReasoning = "rs_sluice_"
)

// reasoningParts gives the parts of a reasoning item: one for each text, or an empty one. The signature
// stands with the last.
func (it *item) reasoningParts() ([]llm.Part, error) {
	var parts []llm.Part
	for i := range it.Summary {
		parts = append(parts, llm.Part{Reasoning: &llm.Reasoning{Text: deref(it.Summary[i].Text), Summary: true, ID: it.ID, Block: i}})
	}
	_, texts, err := readContent(it.Content)
	if err != nil {
		return nil, err
	}
	for i := range texts {
		parts = append(parts, llm.Part{Reasoning: &llm.Reasoning{Text: deref(texts[i].Text), ID: it.ID, Block: i}})
	}
	if len(parts) == 0 {
		parts = []llm.Part{{Reasoning: &llm.Reasoning{ID: it.ID}}}
	}
	return parts, nil
}

// A seal is what encrypted_content says.
type seal struct {
	place string // "", sealNext, sealPrev, sealRedacted
	by    string
	value string
}

func readSeal(s string) seal {
	rest, ours := strings.CutPrefix(s, sealed)
	if !ours {
		return seal{by: vendor, value: s}
	}
	var out seal
	for _, place := range []string{sealNext, sealPrev, sealRedacted} {
		if after, ok := strings.CutPrefix(rest, place); ok {
			out.place, rest = place, after
			break
		}
	}
	by, value, ok := strings.Cut(rest, ".")
	if !ok {
		return seal{by: vendor, value: s}
	}
	out.by, out.value = by, value
	return out
}

func (s seal) String() string {
	if s.by == vendor && s.place == "" {
		return s.value
	}
	return sealed + s.place + s.by + "." + s.value
}

func (s seal) signature() *llm.Signature {
	if s.by == "" {
		return nil
	}
	return &llm.Signature{By: s.by, Value: s.value}
}

// readContent reads a string or parts; text is set for a string. Absent content is neither.
func readContent(raw jsontext.Value) (text *string, parts []content, err error) {
	switch raw.Kind() {
	case '"':
		text = new(string)
		err = json.Unmarshal(raw, text)
	case '[':
		err = json.Unmarshal(raw, &parts)
	}
	return text, parts, err
}

// deref is the string or nothing.
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// hosted says that an output item of this type belongs to a tool that runs at the provider, or is of a
// kind we do not know.
func hosted(kind string) bool {
	switch kind {
	case typeMessage, typeReasoning, typeCall, typeCallOutput, typeCustom, typeCustomOutput:
		return false
	}
	return true
}

// topString gives the raw string value, without its quotes, of a member of an object's own, nil when there
// is none. It allocates nothing, trusts the JSON to be valid and stops at the first such member.
func topString(b []byte, name string) []byte {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := stringEnd(b, i)
			if end < 0 {
				return nil
			}
			if depth == 1 && string(b[i+1:end]) == name {
				j := skipSpace(b, end+1)
				if j < len(b) && b[j] == ':' {
					if j = skipSpace(b, j+1); j < len(b) && b[j] == '"' {
						if stop := stringEnd(b, j); stop > 0 {
							return b[j+1 : stop]
						}
					}
					return nil
				}
			}
			i = end
		}
	}
	return nil
}

// stringEnd is the offset of the quote that closes the string opened at i, -1 when there is none.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}
