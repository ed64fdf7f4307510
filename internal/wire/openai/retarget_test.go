package openai

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// checkRetarget checks that only the model and the wish for usage change.
func checkRetarget(t testing.TB, f llm.Codec, raw []byte, s *wire.Scanned, stream bool) {
	t.Helper()
	before := bytes.Clone(raw)
	pieces := f.Retarget(raw, &s.Marks, &llm.Encoding{Model: `up/"stream"`, Stream: stream})
	got := join(pieces)
	if !bytes.Equal(raw, before) {
		t.Fatal("retarget wrote into the body")
	}
	var was, is map[string]any
	if err := json.Unmarshal(raw, &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &is); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if is["model"] != `up/"stream"` {
		t.Errorf("model is %v", is["model"])
	}
	if stream && f.Format() != llm.OpenAIEmbeddings {
		options, _ := is["stream_options"].(map[string]any)
		if options["include_usage"] != true {
			t.Errorf("include_usage is not asked: %s", got)
		}
		if old, ok := was["stream_options"].(map[string]any); ok {
			old["include_usage"] = true
		} else {
			was["stream_options"] = map[string]any{"include_usage": true}
		}
	}
	was["model"] = is["model"]
	if d := cmp.Diff(was, is); d != "" {
		t.Errorf("more than the model changed:\n%s", d)
	}
	// The pieces between the edits are the body's own memory.
	shared := 0
	for _, p := range pieces {
		if i := bytes.Index(raw, p); len(p) > 0 && i >= 0 && &p[0] == &raw[i] {
			shared += len(p)
		}
	}
	if shared < len(raw)/2 && len(raw) > 200 {
		t.Errorf("only %d of %d bytes are shared with the body", shared, len(raw))
	}
}

func TestRetarget(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"x"}]`
	for name, tc := range map[string]struct{ in, want string }{
		"no stream":    {`{"model":"a",` + messages + `}`, `{"model":"m",` + messages + `}`},
		"absent":       {`{"model":"a","stream":true,` + messages + `}`, `{"model":"m","stream_options":{"include_usage":true},"stream":true,` + messages + `}`},
		"null":         {`{"stream_options": null ,"stream":true,` + messages + `,"model":"a"}`, `{"stream_options": {"include_usage":true} ,"stream":true,` + messages + `,"model":"m"}`},
		"empty":        {`{"model":"a","stream":true,"stream_options":{ },` + messages + `}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true },` + messages + `}`},
		"false":        {`{"model":"a","stream":true,"stream_options":{"include_usage": false},` + messages + `}`, `{"model":"m","stream":true,"stream_options":{"include_usage": true},` + messages + `}`},
		"null in it":   {`{"model":"a","stream":true,"stream_options":{"include_usage":null},` + messages + `}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true},` + messages + `}`},
		"true":         {`{"model" : "a","stream":true,"stream_options":{"include_usage":true},` + messages + `}`, `{"model" : "m","stream":true,"stream_options":{"include_usage":true},` + messages + `}`},
		"without it":   {`{"model":"a","stream":true,"stream_options":{"include_obfuscation":false},` + messages + `}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false},` + messages + `}`},
		"before model": {`{"stream_options":{},"stream":true,` + messages + `,"model":"a"}`, `{"stream_options":{"include_usage":true},"stream":true,` + messages + `,"model":"m"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := scan(t, Chat, []byte(tc.in))
			stream := string(s.Member(llm.MarkStream)) == "true"
			got := string(join(Chat.Retarget(s.Raw, &s.Marks, &llm.Encoding{Model: "m", Stream: stream})))
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			vendor := ChatIn(Dialect{NoStreamOptions: true})
			plain := string(join(vendor.Retarget(s.Raw, &s.Marks, &llm.Encoding{Model: "a", Stream: stream})))
			if plain != tc.in {
				t.Errorf("a vendor without stream_options got %s", plain)
			}
		})
	}
}

func FuzzRetarget(f *testing.F) {
	f.Add([]byte(`{"model":"a","stream":true,"stream_options":{"include_usage":false},"messages":[{"role":"user","content":"x"}]}`))
	f.Add([]byte(`{"messages":[{"role":"user","content":"\u2028"}],"stream_options":{ "x":1},"stream":true,"model":"a"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := wire.Scan(Chat.Shape(), raw)
		if err != nil {
			return
		}
		checkRetarget(t, Chat, raw, s, string(s.Member(llm.MarkStream)) == "true")
	})
}
