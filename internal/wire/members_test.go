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
