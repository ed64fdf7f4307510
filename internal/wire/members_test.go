package wire

import (
	"strings"
	"testing"
)

func TestMembers(t *testing.T) {
	names := []string{"usage", "error", "choices"}
	for _, c := range []struct {
		doc  string
		want string
		ok   bool
	}{
		{`{"usage":{"a":1},"choices":[1, 2]}`, `{"a":1}||[1, 2]`, true},
		{" {\n \"error\" : null , \"x\":{\"usage\":1} } ", "|null|", true},
		{`{"usage":1,"usage":2}`, "2||", true},
		{"{\"usage\":\"\xff\"}", "\"\xff\"||", true},
		{`{}`, "||", true},
		{`[]`, "", false},
		{``, "", false},
		{`{"usage":`, "", false},
		{`{"usage":1}x`, "", false},
		{`{"usage":1,}`, "", false},
		{`"usage"`, "", false},
		{`{"a":{"b":[{"usage":1}, [], {} ,-1.5e3,true,false,"\u00e9"]},"usage":{}}`, "{}||", true},
		{`{"usage":"\ud800"}`, `"\ud800"||`, true},
		{`{"usage":[}`, "", false},
		{`{"usage":[1 2]}`, "", false},
		{`{"usage":{"a" 1}}`, "", false},
		{`{"usage":tru}`, "", false},
		{`{"usage":01}`, "", false},
		{strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "||", true},
	} {
		var found [3][]byte
		err := Members([]byte(c.doc), names, found[:])
		if got := strings.Join([]string{string(found[0]), string(found[1]), string(found[2])}, "|"); (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%q: %q %v, want %q", c.doc, got, err, c.want)
		}
	}
	doc := []byte(`{"id":"x","choices":[{"message":{"content":"` + strings.Repeat("x", 2000) + `"}}],"usage":{"a":1}}`)
	var found [3][]byte
	if n := testing.AllocsPerRun(100, func() { _ = Members(doc, names, found[:]) }); n > 0 && !racing {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Whatever a document is, the strict lexer and the loose reader find the same in it, unless only the loose one takes it.
func FuzzMembers(f *testing.F) {
	for _, doc := range []string{
		`{"usage":{"a":[1,-2.5e3,"x\\\"y"]},"choices":[{}],"error":null}`, `{"usage":"\ud800","usage":1}`, `{"":[[],{"":{}}]}`, `{"a":1}x`, "{\"usage\":\"\xff\"}",
	} {
		f.Add([]byte(doc))
	}
	names := []string{"usage", "error", "choices", ""}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var strict, loose [4][]byte
		l := lexer{src: doc}
		if !l.members(names, strict[:]) {
			return
		}
		if err := looseMembers(doc, names, loose[:]); err != nil {
			t.Fatalf("%q: strict takes what loose refuses: %v", doc, err)
		}
		for i := range strict {
			if string(strict[i]) != string(loose[i]) {
				t.Errorf("%q: %s is %q, loosely %q", doc, names[i], strict[i], loose[i])
			}
		}
	})
}

func BenchmarkMembers(b *testing.B) {
	doc := []byte(`{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"some words of an answer, not many","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6},"service_tier":"default"}`)
	names := []string{"choices", "usage", "service_tier", "x_groq", "error"}
	var found [5][]byte
	b.ReportAllocs()
	for b.Loop() {
		if err := Members(doc, names, found[:]); err != nil {
			b.Fatal(err)
		}
	}
}
