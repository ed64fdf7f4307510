package app

import "testing"

// 5.0 and 5e0 are whole numbers to OpenAI's API, and so to ours, whether bytes pass or are translated.
func TestWholeNumbersInAnySpelling(t *testing.T) {
	r := newRig(t, "")
	for _, n := range []string{"5", "5.0", "5e0", "0.5e1"} {
		for path, body := range map[string]string{
			"/v1/chat/completions":                  `{"model":"a/echo","max_tokens":` + n + `,"messages":[{"role":"user","content":"x"}]}`,
			"/v1/responses":                         `{"model":"g/echo","max_output_tokens":` + n + `,"input":"x"}`,
			"/v1/messages":                          `{"model":"o/echo","max_tokens":` + n + `,"messages":[{"role":"user","content":"x"}]}`,
			"/v1/completions":                       `{"model":"a/echo","max_tokens":` + n + `,"prompt":"x"}`,
			"/v1beta/models/a/echo:generateContent": `{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":` + n + `}}`,
			"/v1/embeddings":                        `{"model":"g/echo","dimensions":` + n + `,"input":"x"}`,
		} {
			if resp, got := r.post(t, path, body); resp.StatusCode != 200 {
				t.Errorf("%s %s: %d %s", path, n, resp.StatusCode, got)
			}
		}
	}
}
