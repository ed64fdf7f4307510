package e2e

import (
	"encoding/json"
	"errors"
	"testing"

	"google.golang.org/genai"
)

func TestGenAIGo(t *testing.T) {
	g := gatewayForAll(t)
	c, err := genai.NewClient(t.Context(), &genai.ClientConfig{APIKey: key, Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: g.url}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(text string) []*genai.Content {
		return []*genai.Content{genai.NewContentFromText(text, genai.RoleUser)}
	}
	read := func(t *testing.T, model string) (text string, pieces int, err error) {
		for r, err := range c.Models.GenerateContentStream(t.Context(), model, ask("a story"), nil) {
			if err != nil {
				return text, pieces, err
			}
			text += r.Text()
			pieces++
		}
		return text, pieces, nil
	}
	for _, u := range upstreams {
		t.Run(u.name+"/plain", func(t *testing.T) {
			r, err := c.Models.GenerateContent(t.Context(), u.name+"-echo", ask("grüß dich"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Text() != "grüß dich" || r.Candidates[0].FinishReason != genai.FinishReasonStop || r.UsageMetadata.CandidatesTokenCount == 0 {
				t.Errorf("got %+v", r)
			}
		})
		t.Run(u.name+"/stream", func(t *testing.T) {
			text, n, err := read(t, u.name+"-story")
			if err != nil || n < 5 || len(text) < 100 {
				t.Errorf("%v, %d pieces: %q", err, n, text)
			}
		})
		t.Run(u.name+"/tools", func(t *testing.T) {
			conf := &genai.GenerateContentConfig{Tools: []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{{
				Name: "weather", Parameters: &genai.Schema{Type: genai.TypeObject, Properties: map[string]*genai.Schema{"city": {Type: genai.TypeString}}, Required: []string{"city"}},
			}}}}}
			history := ask("both cities, please")
			r, err := c.Models.GenerateContent(t.Context(), u.name+"-tools", history, conf)
			if err != nil {
				t.Fatal(err)
			}
			calls := r.FunctionCalls()
			if len(calls) != 2 || calls[0].Args["city"] == nil {
				t.Fatalf("calls: %+v", calls)
			}
			results := &genai.Content{Role: genai.RoleUser}
			for _, call := range calls {
				results.Parts = append(results.Parts, &genai.Part{FunctionResponse: &genai.FunctionResponse{ID: call.ID, Name: call.Name, Response: map[string]any{"output": "sunny"}}})
			}
			history = append(history, r.Candidates[0].Content, results)
			if r, err = c.Models.GenerateContent(t.Context(), u.name+"-tools", history, conf); err != nil || r.Text() == "" {
				t.Errorf("after the results: %v", err)
			}
		})
		t.Run(u.name+"/structured", func(t *testing.T) {
			conf := &genai.GenerateContentConfig{ResponseMIMEType: "application/json", ResponseSchema: &genai.Schema{Type: genai.TypeObject, Properties: map[string]*genai.Schema{"city": {Type: genai.TypeString}}, Required: []string{"city"}}}
			r, err := c.Models.GenerateContent(t.Context(), u.name+"-json", ask("a place"), conf)
			if err != nil {
				t.Fatal(err)
			}
			var place struct{ City *string }
			if err := json.Unmarshal([]byte(r.Text()), &place); err != nil || place.City == nil {
				t.Errorf("%v: %s", err, r.Text())
			}
		})
		for _, fault := range breaks {
			t.Run(u.name+"/"+fault, func(t *testing.T) {
				if text, _, err := read(t, u.name+"-"+fault); err == nil || text == "" {
					t.Errorf("after %q: %v", text, err)
				}
			})
		}
		for name, status := range refusals {
			t.Run(u.name+"/"+name, func(t *testing.T) {
				_, err := c.Models.GenerateContent(t.Context(), u.name+"-"+name, ask("x"), nil)
				var e genai.APIError
				if !errors.As(err, &e) || e.Code != status {
					t.Errorf("got %v, want status %d", err, status)
				}
			})
		}
	}
}
