package openai

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
)

// Reasoning has no place in OpenAI's own chat format. What vendors agreed on is read and written instead:
// the text in reasoning_content (DeepSeek) or reasoning (OpenRouter, Groq), and what must come back with it
// (signatures, encrypted blocks) in OpenRouter's reasoning_details.
// https://openrouter.ai/docs/use-cases/reasoning-tokens
type reasoningDetail struct {
	Type      string  `json:"type"`
	Text      *string `json:"text,omitzero"`
	Summary   *string `json:"summary,omitzero"`
	Data      *string `json:"data,omitzero"`
	Signature *string `json:"signature,omitzero"`
	Format    *string `json:"format,omitzero"`
	ID        *string `json:"id,omitzero"`
	Index     *whole  `json:"index,omitzero"`
}

const (
	detailText      = "reasoning.text"
	detailSummary   = "reasoning.summary"
	detailEncrypted = "reasoning.encrypted"
)

// signers are OpenRouter's names for who signed, longest known form first; ours are the short ones.
var signers = []struct{ by, native string }{
	{"anthropic", "anthropic-claude-v1"},
	{"gemini", "google-gemini-v1"},
	{"openai", "openai-responses-v1"},
}

// signer is who made a detail, in our word.
func signer(format *string) string {
	f := deref(format)
	for _, s := range signers {
		if f == s.by || f == s.native {
			return s.by
		}
	}
	switch { // another version of the same
	case strings.HasPrefix(f, "anthropic-"):
		return "anthropic"
	case strings.HasPrefix(f, "google-"):
		return "gemini"
	case strings.HasPrefix(f, "openai-"):
		return "openai"
	}
	return f
}

// nativeSigner is signer's inverse, as OpenRouter wants it back.
func nativeSigner(by string) string {
	for _, s := range signers {
		if by == s.by {
			return s.native
		}
	}
	return by
}

// piece is what one detail means: a part with reasoning and, if given, its signature.
func (r *reasoningDetail) piece() (llm.Part, bool) {
	p := llm.Part{Reasoning: &llm.Reasoning{ID: deref(r.ID)}}
	by := signer(r.Format)
	switch {
	case r.Type == detailEncrypted && r.Data != nil:
		p.Reasoning.Redacted = []byte(*r.Data)
		if by != "" {
			p.Signature = &llm.Signature{By: by}
		}
	case r.Type == detailSummary && r.Summary != nil:
		p.Reasoning.Text, p.Reasoning.Summary = *r.Summary, true
	case r.Type == detailText && (r.Text != nil || r.Signature != nil):
		p.Reasoning.Text = deref(r.Text)
		if s := deref(r.Signature); s != "" {
			p.Signature = &llm.Signature{By: by, Value: s}
		}
	default:
		return p, false
	}
	return p, true
}

// reasoningParts gives the reasoning of an assistant's message. The details win over the plain text, which
// repeats them; clients that collected a stream's details hand back pieces, which are joined by their index.
func reasoningParts(m *message, at string) []llm.Part {
	plain := m.ReasoningContent
	if plain == "" {
		plain = unquote(m.Reasoning)
	}
	var parts []llm.Part
	var index *whole
	texts := false
	for i := range m.ReasoningDetails {
		r := &m.ReasoningDetails[i]
		p, ok := r.piece()
		if !ok {
			continue
		}
		p.At = at + "/reasoning_details"
		texts = texts || p.Reasoning.Text != ""
		if n := len(parts); n > 0 && joins(&parts[n-1], &p, index, r.Index) {
			parts[n-1].Append(&p)
		} else {
			parts = append(parts, p)
		}
		index = r.Index
	}
	if plain != "" && !texts {
		parts = slices.Insert(parts, 0, llm.Part{Reasoning: &llm.Reasoning{Text: plain}, At: at + "/reasoning_content"})
	}
	return parts
}

// joins says that q goes on where p, of the given index, stopped. Encrypted blocks are whole.
func joins(p, q *llm.Part, a, b *whole) bool {
	return a != nil && b != nil && *a == *b && p.Reasoning.Redacted == nil && q.Reasoning.Redacted == nil &&
		p.Reasoning.Summary == q.Reasoning.Summary && (p.Signature == nil || p.Signature.Value == "" || q.Reasoning.Text == "")
}

// detailOf writes one part of reasoning. name turns our word for the signer into the reader's.
func detailOf(p *llm.Part, index int, name func(string) string) reasoningDetail {
	r := reasoningDetail{Type: detailText, Index: ptr(whole(index))}
	by := ""
	if p.Signature != nil {
		by = p.Signature.By
		if p.Signature.Value != "" {
			r.Signature = &p.Signature.Value
		}
	}
	switch {
	case p.Reasoning.Redacted != nil:
		r.Type, r.Data = detailEncrypted, ptr(string(p.Reasoning.Redacted))
		if by == "" {
			by = "anthropic" // only Anthropic redacts without signing
		}
	case p.Reasoning.Summary && r.Signature == nil:
		r.Type, r.Summary = detailSummary, &p.Reasoning.Text
	default:
		r.Text = &p.Reasoning.Text
	}
	if by != "" {
		r.Format = ptr(name(by))
	}
	if p.Reasoning.ID != "" {
		r.ID = &p.Reasoning.ID
	}
	return r
}

func sameName(by string) string { return by }

// needsDetails says that a part holds more than its text.
func needsDetails(p *llm.Part) bool {
	return p.Reasoning.Redacted != nil || p.Reasoning.Summary || p.Signature != nil && p.Signature.Value != ""
}

func signatureOf(e *extraContent) *llm.Signature {
	if e == nil || e.Google == nil || e.Google.ThoughtSignature == "" {
		return nil
	}
	return &llm.Signature{By: "gemini", Value: e.Google.ThoughtSignature}
}

// restOf is extra_content without the signature, nil when nothing is left.
func restOf(e *extraContent) llm.Raw {
	if e == nil {
		return nil
	}
	rest := extraContent{Extra: keep(e.Extra)}
	if e.Google != nil && len(keep(e.Google.Extra)) > 0 {
		rest.Google = &googleExtra{Extra: e.Google.Extra}
	}
	if rest.Google == nil && rest.Extra == nil {
		return nil
	}
	return raw(rest)
}

// signed puts a Gemini signature into extra_content, beside rest when there is one.
func signed(s *llm.Signature, rest llm.Raw) *extraContent {
	var e extraContent
	if rest != nil && json.Unmarshal(rest, &e) != nil {
		e = extraContent{}
	}
	if s != nil && s.By == "gemini" && s.Value != "" {
		if e.Google == nil {
			e.Google = &googleExtra{}
		}
		e.Google.ThoughtSignature = s.Value
	}
	if e.Google == nil && e.Extra == nil {
		return nil
	}
	return &e
}
