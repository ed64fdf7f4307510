package app

import (
	"net/http"

	"github.com/go-json-experiment/json"
)

// created is the time that model lists name: clients want one, and nobody knows it.
const created = 1735689600 // 2025-01-01

type openaiModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

type anthropicModel struct {
	Type        string `json:"type"`
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
	CreatedAt   string `json:"created_at"`
}

type geminiModel struct {
	Name        string   `json:"name"`
	DisplayName string   `json:"displayName"`
	Methods     []string `json:"supportedGenerationMethods"`
}

// writeModels lists models as OpenAI does or, for a client that names Anthropic's API version, as Anthropic
// does: both have the path /v1/models.
func writeModels(r *http.Request, names []string, one bool) []byte {
	if r.Header.Get("Anthropic-Version") != "" {
		data := make([]anthropicModel, len(names))
		for i, name := range names {
			data[i] = anthropicModel{"model", name, name, "2025-01-01T00:00:00Z"}
		}
		if one {
			return marshal(data[0])
		}
		page := struct {
			Data    []anthropicModel `json:"data"`
			HasMore bool             `json:"has_more"`
			FirstID *string          `json:"first_id"`
			LastID  *string          `json:"last_id"`
		}{Data: data}
		if n := len(names); n > 0 {
			page.FirstID, page.LastID = &names[0], &names[n-1]
		}
		return marshal(page)
	}
	data := make([]openaiModel, len(names))
	for i, name := range names {
		data[i] = openaiModel{name, "model", created, "sluice"}
	}
	if one {
		return marshal(data[0])
	}
	return marshal(struct {
		Object string        `json:"object"`
		Data   []openaiModel `json:"data"`
	}{"list", data})
}

// writeGeminiModels lists models as Gemini does.
func writeGeminiModels(_ *http.Request, names []string, one bool) []byte {
	data := make([]geminiModel, len(names))
	for i, name := range names {
		data[i] = geminiModel{"models/" + name, name, []string{"generateContent", "streamGenerateContent", "countTokens", "embedContent"}}
	}
	if one {
		return marshal(data[0])
	}
	return marshal(struct {
		Models []geminiModel `json:"models"`
	}{data})
}

// marshal encodes what cannot fail to be encoded.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
