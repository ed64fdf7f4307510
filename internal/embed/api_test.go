package embed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
)

// served is an embedder that asks f.
func served(t *testing.T, f http.HandlerFunc) Embedder {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	e, err := Open(Options{Kind: API, URL: s.URL + "/v1/", Model: "text-embedding-3-small", Dim: 2, Key: "planted", Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAPI(t *testing.T) {
	e := served(t, func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &in); err != nil || in["input"] != "a \"text\"" || in["model"] != "text-embedding-3-small" || in["encoding_format"] != "float" {
			t.Errorf("%s, %v", body, err)
		}
		if r.URL.Path != "/v1/embeddings" || r.Header.Get("Authorization") != "Bearer planted" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		fmt.Fprint(w, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[3,-4]}],"usage":{"prompt_tokens":2}}`)
	})
	v, err := e.Embed(t.Context(), `a "text"`)
	if err != nil || len(v) != 2 || math.Abs(float64(v[0])-0.6) > 1e-6 || math.Abs(float64(v[1])+0.8) > 1e-6 {
		t.Errorf("%v, %v", v, err)
	}
	if e.Dim() != 2 || !strings.HasPrefix(e.ID(), "api/") || !strings.HasSuffix(e.ID(), "/text-embedding-3-small/2") {
		t.Errorf("%s, %d", e.ID(), e.Dim())
	}
}

func TestAPIErrors(t *testing.T) {
	const vector = `{"data":[{"embedding":[1,2]}]}`
	tests := []struct {
		name   string
		status int
		body   string
		want   llm.Kind
	}{
		{"wrong size", 200, `{"data":[{"embedding":[1,2,3]}]}`, llm.KindUpstream},
		{"none", 200, `{"data":[]}`, llm.KindUpstream},
		{"two", 200, `{"data":[{"embedding":[1,2]},{"embedding":[1,2]}]}`, llm.KindUpstream},
		{"no direction", 200, `{"data":[{"embedding":[0,0]}]}`, llm.KindUpstream},
		{"no number", 200, `{"data":[{"embedding":["x",0]}]}`, llm.KindUpstream},
		{"overflow", 200, `{"data":[{"embedding":[1e99,0]}]}`, llm.KindUpstream},
		{"no JSON", 200, `<html>`, llm.KindUpstream},
		{"too large", 200, `{"data":[{"embedding":[1,2]}],"x":"` + strings.Repeat("x", maxRest+100) + `"}`, llm.KindUpstream},
		{"bad request", 400, vector, llm.KindInvalid},
		{"too long", 413, vector, llm.KindInvalid},
		{"key", 401, vector, llm.KindUpstreamCreds},
		{"limit", 429, vector, llm.KindRateLimited},
		{"down", 503, vector, llm.KindUpstream},
		{"away", 302, vector, llm.KindUpstream},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			e := served(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			})
			v, err := e.Embed(t.Context(), "secret words")
			got, ok := errors.AsType[*llm.Error](err)
			if v != nil || !ok || got.Kind != tt.want || asked != 1 {
				t.Fatalf("%v, %v after %d requests, want %s after one", v, err, asked, tt.want)
			}
			if tt.status == 429 && got.RetryAfter != 7*time.Second {
				t.Errorf("again after %v", got.RetryAfter)
			}
			for _, secret := range []string{"planted", "secret words"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error tells %q: %v", secret, err)
				}
			}
		})
	}
}

func TestAPIEndsWithItsCaller(t *testing.T) {
	arrived := make(chan struct{})
	e := served(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body) // so that the server sees the connection close
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := e.Embed(ctx, "hello"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	ctx, cancel = context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := e.Embed(ctx, "hello")
	if got, ok := errors.AsType[*llm.Error](err); !ok || got.Kind != llm.KindUpstreamTimeout {
		t.Errorf("%v, want %s", err, llm.KindUpstreamTimeout)
	}
}

func TestAPIOptions(t *testing.T) {
	good := Options{Kind: API, URL: "https://example.com/v1", Model: "m", Dim: 3, Client: http.DefaultClient}
	first, err := Open(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"scheme": func(o *Options) { o.URL = "ftp://example.com" }, "host": func(o *Options) { o.URL = "https:///v1" },
		"password": func(o *Options) { o.URL = "https://user:planted@example.com" }, "query": func(o *Options) { o.URL += "?a=b" },
		"model": func(o *Options) { o.Model = "a b" }, "dim": func(o *Options) { o.Dim = 0 }, "large dim": func(o *Options) { o.Dim = maxDim + 1 },
		"client": func(o *Options) { o.Client = nil },
	} {
		o := good
		change(&o)
		if _, err := Open(o); err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Options){
		"URL": func(o *Options) { o.URL += "x" }, "model": func(o *Options) { o.Model = "n" }, "dim": func(o *Options) { o.Dim = 4 },
	} {
		o := good
		change(&o)
		if e, err := Open(o); err != nil || e.ID() == first.ID() {
			t.Errorf("another %s has the same ID (%v)", name, err)
		}
	}
}

func FuzzVector(f *testing.F) {
	f.Add([]byte(`{"data":[{"embedding":[3,-4]}]}`))
	f.Add([]byte(`{"data":[{"embedding":[null,1e38]},{}]}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		v, err := readVector(answer, 2)
		if err != nil {
			return
		}
		if n := float64(dot(v, v)); len(v) != 2 || math.Abs(n-1) > 1e-3 {
			t.Fatalf("%v has the length %v", v, n)
		}
	})
}
