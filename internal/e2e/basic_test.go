package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestEveryPath speaks each endpoint in plain JSON to each upstream.
func TestEveryPath(t *testing.T) {
	g := gatewayForAll(t)
	paths := []struct{ name, path, body, want string }{
		{"chat", "/v1/chat/completions", `{"model":"%s-echo","messages":[{"role":"user","content":"ping 123"}]}`, `"content":"ping 123"`},
		{"chat stream", "/v1/chat/completions", `{"model":"%s-echo","stream":true,"messages":[{"role":"user","content":"ping 123"}]}`, "data: [DONE]"},
		{"responses", "/v1/responses", `{"model":"%s-echo","store":false,"input":"ping 123"}`, `"text":"ping 123"`},
		{"responses stream", "/v1/responses", `{"model":"%s-echo","store":false,"stream":true,"input":"ping 123"}`, "event: response.completed"},
		{"messages", "/v1/messages", `{"model":"%s-echo","max_tokens":100,"messages":[{"role":"user","content":"ping 123"}]}`, `"text":"ping 123"`},
		{"messages stream", "/v1/messages", `{"model":"%s-echo","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"ping 123"}]}`, "event: message_stop"},
		{"gemini", "/v1beta/models/%s-echo:generateContent", `{"contents":[{"parts":[{"text":"ping 123"}]}]}`, `"text":"ping 123"`},
		{"gemini stream", "/v1beta/models/%s-echo:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"ping 123"}]}]}`, `"finishReason":"STOP"`},
		{"gemini array", "/v1beta/models/%s-echo:streamGenerateContent", `{"contents":[{"parts":[{"text":"ping 123"}]}]}`, `"finishReason":"STOP"`},
	}
	for _, p := range paths {
		for _, u := range upstreams {
			t.Run(p.name+"/"+u.name, func(t *testing.T) {
				path, body := p.path, p.body
				if strings.Contains(path, "%s") {
					path = fmt.Sprintf(path, u.name)
				} else {
					body = fmt.Sprintf(body, u.name)
				}
				status, h, out := call(t, g, http.MethodPost, path, body)
				if status != http.StatusOK {
					t.Fatalf("%d: %s", status, out)
				}
				if !strings.Contains(strings.ReplaceAll(string(out), `": "`, `":"`), p.want) {
					t.Errorf("no %s in %s", p.want, out)
				}
				if strings.Contains(p.name, "stream") {
					if !strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
						t.Errorf("content type %q", h.Get("Content-Type"))
					}
				} else if !json.Valid(out) {
					t.Errorf("not JSON: %s", out)
				}
				if h.Get("X-Request-Id") == "" {
					t.Error("no X-Request-Id")
				}
			})
		}
	}
}
