package gemini

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/wiretest"
)

func FuzzRoute(f *testing.F) {
	f.Add("models/a:b:generateContent")
	f.Add(":")
	f.Fuzz(func(t *testing.T, path string) {
		format, model, action, ok := Route(path)
		if ok != (format != nil) || ok && (model == "" || path != model+":"+action && path != "models/"+model+":"+action) {
			t.Errorf("%q: %v %q %q", path, format, model, action)
		}
	})
}

// What the strict reading takes, decodes or is refused with pointers; what was decoded, encodes; and what was
// encoded is taken again and means the same.
func FuzzDecode(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/requests.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for i, file := range archive.Files {
		f.Add(file.Data, uint8(i))
	}
	formats := []*Format{Generate, CountTokens, EmbedContent, BatchEmbed}
	f.Fuzz(func(t *testing.T, raw []byte, which uint8) {
		g := formats[which%4]
		s, err := wire.Scan(g.Shape(), raw)
		if err != nil {
			return
		}
		_ = g.Open(&llm.Call{}, pathRequest("m:generateContent"), s)
		if out := bytes.Join(g.Retarget(raw, &s.Marks, &llm.Encoding{Model: "n"}), nil); !jsontext.Value(out).IsValid() {
			t.Fatalf("retarget made %s", out)
		}
		p, err := g.Decode(raw)
		if err != nil {
			if e := (*llm.Error)(nil); !errors.As(err, &e) || e.Kind != llm.KindInvalid {
				t.Fatalf("decode: %v", err)
			}
			return
		}
		out, err := g.Encode(p, &llm.Encoding{Model: "m"})
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		if _, err := wire.Scan(g.Shape(), out); err != nil {
			t.Fatalf("not taken again: %s\n%s", problems(err), out)
		}
		q, err := g.Decode(out)
		if err != nil {
			t.Fatalf("decode again: %s\n%s", problems(err), out)
		}
		again, err := g.Encode(q, &llm.Encoding{Model: "m"})
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("%v: a second round changes it:\n%s\n%s", err, out, again)
		}
		if c, ok := p.(*llm.Chat); ok { // as if it came from elsewhere: nothing may panic, all must be JSON
			c.Format = llm.OpenAIChat
			if out, err := g.Encode(c, &llm.Encoding{Model: "gemini-3", Lenient: true}); err == nil && !jsontext.Value(out).IsValid() {
				t.Fatalf("a foreign chat became %s", out)
			}
		}
	})
}

// Any bytes, any chunking: the same events, the same end, in either mode, and no end that is none.
func FuzzReadStream(f *testing.F) {
	for _, r := range wiretest.All(f) {
		if r.Format() == llm.GeminiGenerate && r.Stream {
			f.Add(r.Answer)
		}
	}
	f.Add([]byte(sseOf(textChunk("a", `,"finishReason":"STOP"`))))
	f.Add([]byte(arrayOf(textChunk("a", ""), textChunk("b", `,"finishReason":"STOP"`))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		read := func(r io.Reader, rawMode bool) (*llm.Answer, llm.Kind) {
			a, _, err := gather(Generate.ReadStream(io.NopCloser(r), rawMode))
			if err == nil {
				return a, ""
			}
			e := (*llm.Error)(nil)
			if !errors.As(err, &e) {
				t.Fatalf("an error without a kind: %v", err)
			}
			return a, e.Kind
		}
		whole, end := read(bytes.NewReader(raw), false)
		cut, cutEnd := read(iotest.OneByteReader(bytes.NewReader(raw)), false)
		if end != cutEnd {
			t.Fatalf("ends with %q, byte by byte with %q", end, cutEnd)
		}
		for i := range whole.Choices { // ids of calls are random where the answer has none
			for _, c := range []*llm.Choice{&whole.Choices[i], &cut.Choices[i]} {
				for j := range c.Parts {
					if c.Parts[j].Call != nil {
						c.Parts[j].Call.ID = ""
					}
				}
			}
		}
		if diff := cmp.Diff(whole, cut, sameAnswer); diff != "" {
			t.Fatalf("byte by byte:\n%s", diff)
		}
		light, lightEnd := read(bytes.NewReader(raw), true)
		if end == "" && lightEnd == "" {
			if diff := cmp.Diff(counts(whole.Usage), counts(light.Usage)); diff != "" {
				t.Fatalf("raw usage:\n%s", diff)
			}
		}
	})
}

// The walk over undecoded frames takes all that is JSON, and never runs away.
func FuzzGlance(f *testing.F) {
	f.Add([]byte(textChunk("a\\\\", `,"finishReason":"STOP"`)))
	f.Add([]byte(`{"candidates":[[]],"usageMetadata":[{}],"a":{"b":[1,{}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g glance
		ok := g.read(raw)
		v := jsontext.Value(raw)
		if v.IsValid(jsontext.AllowDuplicateNames(true)) && v.Kind() == '{' && !ok {
			t.Fatalf("valid JSON is refused: %q", raw)
		}
		models(raw)
	})
}
