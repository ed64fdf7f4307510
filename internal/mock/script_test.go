package mock

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestScriptErrors(t *testing.T) {
	for _, text := range []string{
		"x", "x=1", "ttft", "ttft=1", "ttft=-1s", "ttft=2h", "chunks=0", "chunks=x", "cut=maybe", "cut=-1", "cut=1.5", "cut=150%",
		"rate=2", "rate=x", "size=1TB", "size=-1", "size=20MB", "status=99", "status=abc", "body=other", "retry=2s:fax", "drip=5", "usage=maybe",
		"sse=loud", "redacted=1", "header=x", "error=3:200", "stall=1s@x", "redirect=%zz://", "stop=never", "length=x", "pad=2GB",
	} {
		s := newScript()
		if err := s.apply(text); err == nil {
			t.Errorf("%q is taken", text)
		} else if !strings.Contains(err.Error(), strings.SplitN(text, "=", 2)[0]) {
			t.Errorf("%q: error %q does not name it", text, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	for text, want := range map[string]int{"start": 0, "head": 0, "end": 9, "50%": 5, "0.5": 5, "3": 3, "99": 10, "0": 0, "100%": 10} {
		var p place
		if err := somewhere(&p, text); err != nil {
			t.Fatal(err)
		}
		if got := p.index(10); got != want {
			t.Errorf("%s of 10: %d, want %d", text, got, want)
		}
	}
	if got := (place{}).index(10); got != -1 {
		t.Errorf("nowhere is at %d", got)
	}
}

func TestWhichCallsFail(t *testing.T) {
	tests := []struct {
		script string
		want   string // x: has the fault
	}{
		{"first=2", "xx........"},
		{"skip=3;first=4", "...x......"},
		{"every=3", "..x..x..x."},
		{"skip=8", "........xx"},
		{"", "xxxxxxxxxx"},
		{"rate=0", ".........."},
		{"rate=1", "xxxxxxxxxx"},
	}
	for _, tt := range tests {
		s := newServer(t, Options{})
		got := ""
		for range 10 {
			mark := "."
			if post(s, "/v1/chat/completions", chat("echo?status=500;"+tt.script, false)).Code == 500 {
				mark = "x"
			}
			got += mark
		}
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.script, got, tt.want)
		}
	}
}

func TestRateIsSeeded(t *testing.T) {
	draw := func(seed uint64) (hits []int64) {
		s := Script{seed: seed, rate: 0.2, givenRate: true}
		for n := range int64(10_000) {
			if s.hits(n + 1) {
				hits = append(hits, n)
			}
		}
		return hits
	}
	if one := draw(1); !slices.Equal(one, draw(1)) || slices.Equal(one, draw(2)) {
		t.Error("the calls that fail do not follow from the seed")
	} else if share := float64(len(one)) / 10_000; math.Abs(share-0.2) > 0.02 {
		t.Errorf("rate=0.2 hit %.3f", share)
	}
}

// TestAlternatives: a call that has a fault has one of those divided by "|", all about as often, and the others go on.
func TestAlternatives(t *testing.T) {
	s := newServer(t, Options{Script: "mix = echo?seed=7 rate=0.5 status=500 | status=429 retry=3s | status=503 body=empty"})
	seen := map[int]int{}
	for range 1000 {
		w := post(s, "/v1/chat/completions", chat("mix", false))
		if seen[w.Code]++; (w.Code == 429) != (w.Header().Get("Retry-After") == "3") {
			t.Fatalf("%d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
	}
	if len(seen) != 4 || seen[200] < 450 || seen[200] > 550 || min(seen[500], seen[429], seen[503]) < 120 {
		t.Errorf("%v", seen)
	}
	if _, err := New(Options{Default: "status=500|bad=1"}); err == nil {
		t.Error("a bad alternative is taken")
	}
}

func TestPutScript(t *testing.T) {
	s := newServer(t, Options{Script: "pet = echo?text=before&first=1&status=500"})
	put := func(text string) int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/script", strings.NewReader(text)))
		return w.Code
	}
	ask := func() string {
		w := post(s, "/v1/chat/completions", chat("pet", false))
		return fmt.Sprint(w.Code, w.Body)
	}
	if got := ask(); !strings.HasPrefix(got, "500") {
		t.Errorf("%s", got)
	}
	if code := put("pet = echo?bad=1"); code != http.StatusBadRequest {
		t.Errorf("a bad script: %d", code)
	}
	if got := ask(); !strings.Contains(got, "before") {
		t.Errorf("%s", got)
	}
	if code := put("pet = echo?text=after&first=1&status=503"); code != http.StatusNoContent {
		t.Errorf("%d", code)
	}
	if got := ask(); !strings.HasPrefix(got, "503") { // counted anew
		t.Errorf("%s", got)
	}
	if got := ask(); !strings.Contains(got, "after") {
		t.Errorf("%s", got)
	}
}

func TestScriptFile(t *testing.T) {
	file := `
# what the models of a real vendor mean here
gpt-4*          = story?words=3
claude-3/haiku  = reason?chunks=2   # with a slash
bad             = ?status=503
echo            = ?text=hello`
	s := newServer(t, Options{Script: file, Default: "seed=5"})
	for model, want := range map[string]string{"gpt-4o": "", "claude-3/haiku": "reasoning_content", "echo": "hello", "echo?text=own": "own"} {
		if w := post(s, "/v1/chat/completions", chat(model, false)); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", model, w.Code, w.Body)
		}
	}
	// The later of two layers wins, and what it does not say stays.
	if w := post(s, "/v1/chat/completions", chat("echo?text=own", false), "X-Mock-Script", "text=header"); !strings.Contains(w.Body.String(), "header") {
		t.Errorf("header does not win: %s", w.Body)
	}
	if w := post(s, "/v1/chat/completions", chat("bad", false)); w.Code != 404 {
		t.Errorf("a pattern without a model made the model %d", w.Code)
	}
	r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	for _, want := range []string{`"id":"story"`, `"id":"claude-3/haiku"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	for _, text := range []string{"a\nb", "x = echo?bad=1", "[ = echo"} {
		if _, err := New(Options{Script: text}); err == nil || !strings.Contains(err.Error(), "line") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := New(Options{Default: "bad=1"}); err == nil {
		t.Error("a bad default is taken")
	}
}

func TestGenerationsAreBounded(t *testing.T) {
	g := newGenerations[int, int64](1000, func(w int64) int64 { return w })
	for i := range 10_000 {
		g.add(i, 10)
		if n := len(g.young) + len(g.old); n > 100 {
			t.Fatalf("%d values of weight 10 in 1000", n)
		}
	}
	if _, ok := g.get(9999); !ok {
		t.Error("the newest is lost")
	}
	if g.add(-1, 500); len(g.young) > 0 && g.young[-1] != 0 {
		t.Error("one value fills the half")
	}
}

func TestInstanceFitsSchema(t *testing.T) {
	for _, raw := range []string{
		`{"type":"object","properties":{"a":{"type":"string","minLength":9,"maxLength":9},"b":{"type":"integer","minimum":7,"maximum":7}},"required":["a","b"],"additionalProperties":false}`,
		`{"type":"object","properties":{"l":{"type":"array","items":{"type":"string","enum":["x","y"]},"minItems":3}},"required":["l"]}`,
		`{"type":"object","properties":{"n":{"type":"number","exclusiveMinimum":5,"multipleOf":2},"d":{"type":"string","format":"date-time"}}}`,
		`{"$defs":{"node":{"type":"object","properties":{"next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/node"}]},"v":{"const":3}},"required":["v"]}},"$ref":"#/$defs/node"}`,
		`{"type":["null","string"]}`, `{"anyOf":[{"type":"null"},{"type":"boolean"}]}`,
		`{"allOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"b":{"type":"null"}},"required":["b"]}]}`,
		`{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}]}`,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("s.json", doc); err != nil {
			t.Fatal(err)
		}
		want, err := c.Compile("s.json")
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(4) {
			text := instance(jsontext.Value(raw), seed)
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if err := want.Validate(v); err != nil {
				t.Errorf("%s\ndoes not fit %s: %v", text, raw, err)
			}
		}
	}
}

func TestSchemaThatContainsItselfEnds(t *testing.T) {
	props := ""
	for i := range 8 {
		props += fmt.Sprintf(`,"p%d":{"$ref":"#"}`, i)
	}
	if n := len(instance(jsontext.Value(`{"type":"object","properties":{`+props[1:]+`}}`), 0)); n > 10<<20 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzScript(f *testing.F) {
	for name := range options {
		f.Add(name + "=1")
	}
	f.Add("stall=1s@50%&sse=crlf,bom;header=a:b")
	f.Fuzz(func(t *testing.T, text string) {
		s := newScript()
		if s.apply(text) != nil {
			return
		}
		for _, d := range []int64{int64(s.latency), int64(s.ttft), int64(s.pace), int64(s.stall), int64(s.chunks), s.size, s.fault.pad} {
			if d < 0 || d > int64(maxDuration) && d > maxStreamed {
				t.Errorf("%q: out of bounds: %+v", text, s)
			}
		}
	})
}

// FuzzBody sends any body to each path: an answer must come, and a 200 that is JSON must be valid JSON.
func FuzzBody(f *testing.F) {
	for i, p := range paths {
		f.Add(i, with("echo", p.body))
		f.Add(i, with("tools", p.body))
	}
	s, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, i int, body string) {
		p := paths[(i%len(paths)+len(paths))%len(paths)]
		if strings.Contains(body, "?") || strings.Contains(body, "u003") {
			return // a script may hang or fill the disk: that is what it is for
		}
		w := post(s, with("json", p.path), body)
		if w.Code == 200 && w.Header().Get("Content-Type") == jsonType && !jsontext.Value(w.Body.Bytes()).IsValid() {
			t.Errorf("%s: not JSON: %q", p.name, w.Body)
		}
		if w.Code != 200 {
			var e struct{ Error jsontext.Value }
			if err := json.Unmarshal(w.Body.Bytes(), &e, json.MatchCaseInsensitiveNames(true)); err != nil || w.Code >= 500 {
				t.Errorf("%s: %d %q", p.name, w.Code, w.Body)
			}
		}
	})
}
