package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPathTricks: without a key only /health and /ready answer, however a path is written, and no header
// names another one. What routing sees and what the key guards is one path.
func TestPathTricks(t *testing.T) {
	g := gatewayForAll(t)
	targets := []string{
		"/v1/chat/completions", "/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions", "/v1/chat/./completions", "/v1/x/../chat/completions",
		"/v1/%63hat/completions", "/v1%2fchat%2fcompletions", "/v1/chat%2Fcompletions", "/V1/CHAT/COMPLETIONS", "/v1/chat/completions;x=1", "/v1/chat;x/completions", "/v1/chat/completions%00",
		"/v1/chat/completions.", "/v1/chat/completions%20", "/health/../v1/chat/completions", "/health/%2e%2e/v1/chat/completions", "/health;/../v1/models", "/health%2f..%2fv1/models", "/ready/../v1/models",
		"/health?/v1/models", "/health#/v1/models", "http://other/v1/models", "http://health/v1/chat/completions", "https://x:1/v1/messages", "/\\v1/models", "/v1\\models", "/.//v1/models",
		"/v1beta/models/gem-echo:generateContent", "/v1beta/models/../models/gem-echo:generateContent", "/v1beta/models/gem-echo%3AgenerateContent", "/v1beta/models", "/v1/models", "/v1/models/", "/v1/messages/count_tokens", "/metrics", "/debug/pprof/", "/admin", "/log",
		"/v1/embeddings?key=" + "wrong", "/v1beta/models?key=" + "wrong", "/v1/models?key=" + key, // a key in the URL counts on Gemini's paths only
	}
	headers := []string{
		"", "X-Original-URL: /health\r\n", "X-Rewrite-URL: /health\r\n", "X-HTTP-Method-Override: GET\r\n", "X-HTTP-Method: GET\r\n", "X-Forwarded-Prefix: /health\r\n",
		"X-Forwarded-Uri: /health\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "Forwarded: for=127.0.0.1;host=health\r\n", "X-Real-IP: 127.0.0.1\r\n",
	}
	hosts := []string{"gateway", "a/?", "a#", "health", "/health", "gateway:80@x"}
	n := 0
	for _, target := range targets {
		for _, method := range []string{"GET", "POST"} {
			for i, extra := range headers {
				host := hosts[(n+i)%len(hosts)]
				n++
				raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, target, host, extra, len(ask), ask)
				status, body := sendRaw(t, g.addr, raw)
				switch open := strings.HasPrefix(target, "/health?") || strings.HasPrefix(target, "/health#"); {
				case status == 0 || status >= 400:
				case open && status == http.StatusOK && method == "GET" && !strings.Contains(body, "echo"):
				default:
					t.Errorf("%d without a key\n%q\n%.300s", status, raw, body)
				}
			}
		}
	}
	// The same with a key: one spelling is the endpoint, the others are nothing.
	for _, target := range targets {
		if !strings.HasPrefix(target, "/") || strings.ContainsAny(target, "?#") {
			continue
		}
		status, body := sendRaw(t, g.addr, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: g\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", target, key, len(ask), ask))
		if strings.HasPrefix(target, "/v1/messages") {
			continue // the body is good there, too
		}
		plain := target == "/v1/chat/completions" || target == "/v1/%63hat/completions" // an escape that needs none is the same path
		if plain != (status == http.StatusOK) {
			t.Errorf("%s: %d %.200s", target, status, body)
		}
		if status >= 300 && status < 400 {
			t.Errorf("%s: redirected: %d", target, status)
		}
	}
}

// TestKeysInURLs: ?key= counts on Gemini's paths and is gone before anything is logged or sent on.
func TestKeysInURLs(t *testing.T) {
	g := gatewayForAll(t)
	const body = `{"contents":[{"parts":[{"text":"ping"}]}]}`
	status, _, out := call(t, g, http.MethodPost, "/v1beta/models/gem-echo:generateContent?key="+key, body, "Authorization: ")
	if status != http.StatusOK {
		t.Errorf("%d %s", status, out)
	}
	if status, _, _ = call(t, g, http.MethodPost, "/v1/chat/completions?key="+key, ask, "Authorization: "); status != http.StatusUnauthorized {
		t.Errorf("a key in the URL of a path that is not Gemini's: %d", status)
	}
	for _, form := range []string{"Authorization: Bearer " + key, "X-Api-Key: " + key, "X-Goog-Api-Key: " + key} {
		if status, _, out := call(t, g, http.MethodPost, "/v1/chat/completions", ask, "Authorization: ", form); status != http.StatusOK {
			t.Errorf("%.20s: %d %s", form, status, out)
		}
	}
	if strings.Contains(g.log(), key) {
		t.Error("the log holds the key")
	}
}

func sendRaw(t *testing.T, addr, raw string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, raw); err != nil {
		return 0, ""
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	out, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(out)
}
