package wire

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// keeper is a codec that gives a body's bytes and marks as they are.
type keeper struct{ marks llm.Marks }

func (*keeper) Format() llm.Format                                { return llm.OpenAICompletions }
func (*keeper) Decode([]byte) (llm.Payload, error)                { return &llm.Chat{}, nil }
func (*keeper) Encode(llm.Payload, *llm.Encoding) ([]byte, error) { return nil, nil }
func (k *keeper) Retarget(raw []byte, m *llm.Marks, _ *llm.Encoding) [][]byte {
	k.marks = *m
	return [][]byte{raw}
}

// After a splice the marks stand where a scan of the new bytes finds them.
func TestSpliceMovesMarks(t *testing.T) {
	shape := Object(
		Req("prompt", Str()).Mark(llm.MarkPrompt), Req("model", Str()).Mark(llm.MarkModel), Opt("user", Str()),
		Opt("stream", Bool()).Mark(llm.MarkStream),
	)
	body := []byte(`{"user":"ann","prompt":"dear ann","model":"m", "user2":"x","stream":true}`)
	for _, with := range []string{`""`, `"a longer text than it was"`} {
		s, err := Scan(shape, body)
		if err != nil {
			t.Fatal(err)
		}
		k := &keeper{}
		b := llm.NewBody(k, body, s.Marks)
		if _, err := b.Payload(); err != nil {
			t.Fatal(err)
		}
		var list []llm.Splice
		for _, old := range []string{`"ann"`, `"dear ann"`, `"x"`} {
			i := bytes.Index(body, []byte(old))
			list = append(list, llm.Splice{At: llm.Span{Start: i, End: i + len(old)}, With: []byte(with)})
		}
		if err := b.Splice(list); err != nil {
			t.Fatal(err)
		}
		want := `{"user":` + with + `,"prompt":` + with + `,"model":"m", "user2":` + with + `,"stream":true}`
		again, err := Scan(shape, b.Raw())
		if err != nil || string(b.Raw()) != want {
			t.Fatalf("%s, %v, want %s", b.Raw(), err, want)
		}
		if _, err := b.Bytes(k, &llm.Encoding{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(again.Marks, k.marks); diff != "" {
			t.Errorf("marks (-as scanned +as moved)\n%s", diff)
		}
	}
	var edited llm.Body
	if err := edited.Splice(nil); err == nil {
		t.Error("a body without bytes was spliced")
	}
}
