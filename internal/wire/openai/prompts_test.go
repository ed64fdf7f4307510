package openai

import (
	"net/http"
	"testing"

	"sluice/internal/wire"
)

// TestPrompts: what a call may cost grows with its prompts.
func TestPrompts(t *testing.T) {
	for prompt, want := range map[string]int64{
		`"one"`: 3, `["one"]`: 3, `["one","two"]`: 6, `[1,2,3]`: 3, `[[1,2],[3]]`: 6, `[ [1] , [2] , [3] , "x" ]`: 12,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/completions", nil)
		if err != nil {
			t.Fatal(err)
		}
		call, err := wire.ReadCall(Completions, r, []byte(`{"model":"m","n":3,"prompt":`+prompt+`}`), "id")
		if err != nil {
			t.Errorf("%s: %v", prompt, err)
			continue
		}
		if call.Choices != want {
			t.Errorf("%s: %d answers, want %d", prompt, call.Choices, want)
		}
	}
}
