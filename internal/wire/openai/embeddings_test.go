package openai

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

func TestEmbeddingRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want llm.Embed
	}{
		"text":   {`{"model":"m","input":"a","user":"u","x":1}`, llm.Embed{Inputs: []llm.EmbedInput{{Text: "a"}}, One: true, User: "u", Extra: llm.Members{"x": llm.Raw("1")}}},
		"texts":  {`{"model":"m","input":["a","b"],"dimensions":2,"encoding_format":"base64"}`, llm.Embed{Inputs: []llm.EmbedInput{{Text: "a"}, {Text: "b"}}, Dimensions: ptr(int64(2)), Encoding: "base64"}},
		"tokens": {`{"model":"m","input":[1,2e0]}`, llm.Embed{Inputs: []llm.EmbedInput{{Tokens: []int64{1, 2}}}, One: true}},
		"lists":  {`{"model":"m","input":[[1],[2,3]]}`, llm.Embed{Inputs: []llm.EmbedInput{{Tokens: []int64{1}}, {Tokens: []int64{2, 3}}}}},
		"single": {`{"model":"m","input":["a"]}`, llm.Embed{Inputs: []llm.EmbedInput{{Text: "a"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := scan(t, Embeddings, []byte(tc.in))
			call := &llm.Call{}
			if err := Embeddings.Open(call, nil, s); err != nil || call.Op != llm.OpEmbed {
				t.Fatal(call, err)
			}
			checkRetarget(t, Embeddings, []byte(tc.in), s, false)
			identity(t, Embeddings, []byte(tc.in))
			p, err := Embeddings.Decode([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			tc.want.Format = llm.OpenAIEmbeddings
			if d := cmp.Diff(&tc.want, p.(*llm.Embed), same); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	for in, at := range map[string]string{`{"model":"m","input":["a",1]}`: "/input/1", `{"model":"m","input":[1,"a"]}`: "/input"} {
		_, err := Embeddings.Decode([]byte(in))
		if kindOf(err) != llm.KindInvalid || llm.AsError(err).Problems[0].At != at {
			t.Errorf("%s: %v", in, err)
		}
	}
	for in, at := range map[string]string{
		`{"model":"m","input":[]}`: "/input", `{"model":"m"}`: "/input",
		`{"model":"m","input":"a","encoding_format":"hex"}`: "/encoding_format", `{"model":"m","input":"a","dimensions":0}`: "/dimensions",
	} {
		_, err := wire.Scan(Embeddings.Shape(), []byte(in))
		if err == nil || llm.AsError(err).Problems[0].At != at {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestEmbeddingsFromGemini(t *testing.T) {
	e := llm.Encoding{Model: "up"}
	got, err := Embeddings.Encode(&llm.Embed{Format: llm.GeminiEmbed, One: true, Task: "RETRIEVAL_QUERY", Title: "T", Inputs: []llm.EmbedInput{{Text: "a"}}}, &e)
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, got, `{"model":"up","input":"a"}`)
	if len(e.Lost) != 2 {
		t.Errorf("lost %+v", e.Lost)
	}
	if _, err := Embeddings.Encode(&llm.Chat{}, &e); kindOf(err) != llm.KindUnsupported {
		t.Error(err)
	}
}

// The client gets the form it asked for, whatever the upstream sent. 0.5 and -2 are exact in float32.
func TestEmbeddingAnswers(t *testing.T) {
	const (
		floats = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-2]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}`
		packed = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AAAAPwAAAMA="}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}`
	)
	for _, sent := range []string{floats, packed} {
		for asked, want := range map[string]string{`"base64"`: packed, `"float"`: floats, `null`: floats} {
			ask := []byte(`{"model":"m","input":"a","encoding_format":` + asked + `}`)
			ev, err := Embeddings.ReadAnswer([]byte(sent), false)
			if err != nil {
				t.Fatal(err)
			}
			var a llm.Answer
			a.Add(ev)
			got, err := Embeddings.Answer(&llm.Call{Body: llm.NewBody(Embeddings, ask, llm.Marks{})}, &a)
			if err != nil {
				t.Fatal(err)
			}
			equalJSON(t, got, want)
		}
		ev, err := Embeddings.ReadAnswer([]byte(sent), true)
		if err != nil || ev.Usage.Input.N != 7 || string(ev.Raw) != sent || ev.Vectors != nil {
			t.Errorf("raw: %+v %v", ev, err)
		}
	}
	for _, bad := range []string{`{"error":{"message":"x"}}`, `{}`, `{"data":[{"embedding":{}}]}`, `<html>`} {
		if _, err := Embeddings.ReadAnswer([]byte(bad), false); kindOf(err) != llm.KindUpstream {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := vectorJSON(&llm.Vector{Base64: "AAA="}, false); kindOf(err) != llm.KindUpstream {
		t.Errorf("half a number: %v", err)
	}
}

func TestRecordedEmbeddings(t *testing.T) {
	for _, r := range recordings(t, llm.OpenAIEmbeddings) {
		if r.Refused() {
			if e := Embeddings.ReadError(r.Status, r.Header, r.Answer); e.Kind != llm.KindModelNotFound {
				t.Errorf("%s: %v", r.ID, e)
			}
			continue
		}
		ev, err := Embeddings.ReadAnswer(r.Answer, false)
		if err != nil {
			t.Fatal(err)
		}
		var a llm.Answer
		a.Add(ev)
		got, err := Embeddings.Answer(&llm.Call{Body: llm.NewBody(Embeddings, r.Ask, llm.Marks{})}, &a)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Embeddings.ReadAnswer(got, false)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(ev.Vectors, again.Vectors); d != "" || len(ev.Vectors) == 0 || len(ev.Vectors[0].Values) < 100 {
			t.Errorf("the vectors changed: %s", d)
		}
		if d := cmp.Diff(ev.Usage, again.Usage, same); d != "" {
			t.Error(d)
		}
	}
}
