package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/wiretest"
)

// TestGolden holds each file of testdata: a request and what it means and is written as; or a stream and
// what it sums to and is written as for a client.
func TestGolden(t *testing.T) {
	wiretest.Golden(t, "testdata/*.txtar", func(t *testing.T, name string, a *txtar.Archive) []txtar.File {
		switch in := a.Files[0]; in.Name {
		case "request":
			return goldenRequest(t, in.Data)
		case "stream":
			return goldenStream(t, in.Data)
		}
		t.Fatalf("%s begins with %s", name, a.Files[0].Name)
		return nil
	})
}

func goldenRequest(t *testing.T, body []byte) []txtar.File {
	t.Helper()
	if _, err := wire.Scan(Messages.Shape(), body); err != nil {
		t.Fatal(explain(err))
	}
	chat := decode(t, Messages, body)
	out, err := Messages.Encode(chat, &llm.Encoding{Model: "target", Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	return []txtar.File{{Name: "means", Data: dump(t, chat)}, {Name: "encoded", Data: indent(t, out)}}
}

func goldenStream(t *testing.T, text []byte) []txtar.File {
	t.Helper()
	a, raw, err := readStream(t, string(text))
	if err != nil {
		return []txtar.File{{Name: "fails", Data: []byte(err.Error() + "\n")}, {Name: "after", Data: dump(t, a)}}
	}
	if !bytes.Equal(raw, text) {
		t.Error("the bytes changed on their way")
	}
	return []txtar.File{{Name: "means", Data: dump(t, a)}, {Name: "rewritten", Data: write(t, &llm.Call{ID: "1", Model: "m"}, a)}}
}

func indent(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", " "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// dump shows a value without what is zero in it.
func dump(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(prune(tree))
	if err != nil {
		t.Fatal(err)
	}
	return indent(t, out)
}

func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if known, ok := v["Known"]; ok && len(v) == 2 { // a count
			if known == true {
				return fmt.Sprint(v["N"])
			}
			return nil
		}
		for k, e := range v {
			if e = prune(e); e == nil || e == "" || e == false || e == 0.0 || e == "0001-01-01T00:00:00Z" {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}

type sseFrame struct{ event, data string }

// frames splits a stream as a client would.
func frames(text string) []sseFrame {
	var out []sseFrame
	for _, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		var f sseFrame
		for line := range strings.SplitSeq(block, "\n") {
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				f.event = v
			}
			if v, ok := strings.CutPrefix(line, "data: "); ok {
				f.data += v
			}
		}
		out = append(out, f)
	}
	return out
}
