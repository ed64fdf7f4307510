package gemini

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// open reads a request as the gateway does.
func open(f wire.Format, rest, body string) (*llm.Call, error) {
	return wire.ReadCall(f, pathRequest(rest), []byte(body), "req_1")
}

// encode writes a chat for a Gemini model and gives what was lost as "at: why".
func encode(t *testing.T, f llm.Codec, p llm.Payload, model string) (string, []string) {
	t.Helper()
	e := &llm.Encoding{Model: model}
	out, err := f.Encode(p, e)
	if err != nil {
		t.Fatal(err)
	}
	var lost []string
	for _, l := range e.Lost {
		lost = append(lost, l.At)
	}
	return string(out), lost
}

func canonical(t *testing.T, s string) string {
	t.Helper()
	v := jsontext.Value(s)
	if err := v.Canonicalize(); err != nil {
		t.Fatalf("%v\n%s", err, s)
	}
	_ = v.Indent()
	return string(v)
}

// Each archive has a request, and what the hub makes of it again ("same" when that is the request itself).
// A file "problems" lists what the strict reading says instead.
func TestRequests(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/requests.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(archive.Files); i += 2 {
		in, want := archive.Files[i], archive.Files[i+1]
		name, action, _ := strings.Cut(in.Name, " ")
		t.Run(name, func(t *testing.T) {
			f, _, _, ok := Route("m:" + action)
			if !ok {
				t.Fatalf("no action in %q", in.Name)
			}
			call, err := open(f, "m:"+action, string(in.Data))
			var p llm.Payload
			if err == nil {
				p, err = call.Body.Payload()
			}
			if want.Name == "problems" {
				if diff := cmp.Diff(string(want.Data), problems(err)); diff != "" {
					t.Errorf("problems (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(problems(err), err)
			}
			out, lost := encode(t, f, p, "m")
			if lost != nil {
				t.Errorf("lost on the way to its own format: %v", lost)
			}
			again := string(want.Data)
			if want.Name == "same" {
				again = string(in.Data)
			}
			if diff := cmp.Diff(canonical(t, again), canonical(t, out)); diff != "" {
				t.Errorf("encoded again (-want +got):\n%s", diff)
			}
			q, err := f.Decode([]byte(out))
			if err != nil {
				t.Fatalf("decode what was encoded: %v\n%s", err, out)
			}
			if diff := cmp.Diff(p, q); diff != "" && want.Name == "same" {
				t.Errorf("decoded, encoded, decoded (-first +second):\n%s", diff)
			}
		})
	}
}

func problems(err error) string {
	var e *llm.Error
	if !errors.As(err, &e) {
		return ""
	}
	var b strings.Builder
	for _, p := range e.Problems {
		b.WriteString(p.At + " " + p.Msg + "\n")
	}
	return b.String()
}

func TestRoute(t *testing.T) {
	for _, test := range []struct {
		path   string
		f      *Format
		model  string
		action string
	}{
		{"mock/echo:generateContent", Generate, "mock/echo", "generateContent"},
		{"models/x:streamGenerateContent", Generate, "x", "streamGenerateContent"},
		{"llama3:8b:generateContent", Generate, "llama3:8b", "generateContent"},
		{"a/b/c:countTokens", CountTokens, "a/b/c", "countTokens"},
		{"e:embedContent", EmbedContent, "e", "embedContent"},
		{"e:batchEmbedContents", BatchEmbed, "e", "batchEmbedContents"},
		{"e", nil, "", ""},
		{"e:", nil, "", ""},
		{":generateContent", nil, "", ""},
		{"models/:generateContent", nil, "", ""},
		{"e:predict", nil, "", ""},
		{"e:generateContent?key=x", nil, "", ""},
		{"e:GenerateContent", nil, "", ""},
		{"", nil, "", ""},
	} {
		f, model, action, ok := Route(test.path)
		if ok != (test.f != nil) || model != test.model || action != test.action || ok && f != wire.Format(test.f) {
			t.Errorf("%q: %v %q %q %t", test.path, f, model, action, ok)
		}
	}
}

func TestOpen(t *testing.T) {
	const chat = `"contents":[{"parts":[{"text":"hi"}]}]`
	call, err := open(Generate, "models/a/b:streamGenerateContent", `{"model":"models/a/b",`+chat+`,"generation_config":{"max_output_tokens":1e2,"candidateCount":3}}`)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{call.Op, call.Model, call.Stream, call.WantUsage, call.MaxOutput, call.Choices}
	if diff := cmp.Diff([]any{llm.OpChat, "a/b", true, true, int64(100), int64(3)}, got); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct{ name, rest, body, want string }{
		{"another model", "cheap:generateContent", `{"model":"models/dear",` + chat + `}`, "/model names another model than the path; leave it out or make them the same\n"},
		{
			"another model in a batch", "cheap:batchEmbedContents", `{"requests":[{"model":"models/cheap","content":{"parts":[{"text":"a"}]}},{"model":"dear","content":{"parts":[{"text":"a"}]}}]}`,
			"/requests/1/model names another model than the path; leave it out or make them the same\n",
		},
		{"another model to count", "cheap:countTokens", `{"generateContentRequest":{"model":"models/dear",` + chat + `}}`, "/model names another model than the path; leave it out or make them the same\n"},
		{"both spellings", "m:generateContent", `{` + chat + `,"generationConfig":{},"generation_config":{}}`, "/generation_config is the same member as generationConfig or generation_config, which is there already\n"},
		{
			"unknown id", "m:generateContent", `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"a","name":"f"}}]},{"parts":[{"functionResponse":{"id":"b","name":"f","response":{}}}]}]}`,
			"/contents/1/parts/0/functionResponse/id answers no functionCall that came before it\n",
		},
	} {
		f, _, _, _ := Route(test.rest)
		_, err := wire.ReadCall(f, pathRequest(test.rest), []byte(test.body), "req_1")
		if diff := cmp.Diff(test.want, problems(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func pathRequest(rest string) *http.Request {
	r := &http.Request{URL: sseURL, Header: http.Header{}}
	r.SetPathValue("rest", rest)
	return r
}

// Retarget changes the model's name wherever it stands and no other byte.
func TestRetarget(t *testing.T) {
	const content = `"content": {"parts": [{"text": "a \"model\": x"}]}`
	for _, test := range []struct{ rest, in, want string }{
		{"m:generateContent", `{ "contents":[{"parts":[{"text":"a"}]}] }`, `{ "contents":[{"parts":[{"text":"a"}]}] }`},
		{"m:generateContent", `{ "model": "m" , "contents":[{"parts":[{"text":"a"}]}]}`, `{ "model": "models/up/x" , "contents":[{"parts":[{"text":"a"}]}]}`},
		{"m:generateContent", `{ "model": null, "contents":[{"parts":[{"text":"a"}]}]}`, `{ "model": null, "contents":[{"parts":[{"text":"a"}]}]}`},
		{"m:countTokens", `{"generateContentRequest": {"model":"models/m","contents":[{"parts":[{"text":"a"}]}]}}`, `{"generateContentRequest": {"model":"models/up/x","contents":[{"parts":[{"text":"a"}]}]}}`},
		{"m:embedContent", `{"model":"models/m",` + content + `}`, `{"model":"models/up/x",` + content + `}`},
		{
			"m:batchEmbedContents", `{"requests":[{"model":"models/m",` + content + `},{` + content + `, "model" : "m"}]}`,
			`{"requests":[{"model":"models/up/x",` + content + `},{` + content + `, "model" : "models/up/x"}]}`,
		},
	} {
		f, _, _, _ := Route(test.rest)
		call, err := wire.ReadCall(f, pathRequest(test.rest), []byte(test.in), "req_1")
		if err != nil {
			t.Fatal(problems(err))
		}
		pieces, err := call.Body.Bytes(f.(*Format), &llm.Encoding{Model: "up/x"})
		if got := string(bytes.Join(pieces, nil)); err != nil || got != test.want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, test.want)
		}
	}
}

// Signatures of other vendors that a Gemini client carries do not reach Gemini, and reach their vendor.
func TestForeignSignatures(t *testing.T) {
	answer := &llm.Answer{Choices: []llm.Choice{{Stop: llm.StopTools, Parts: []llm.Part{
		{Reasoning: &llm.Reasoning{Text: "hm", Summary: true}, Signature: &llm.Signature{By: "anthropic", Value: "c2ln"}},
		{Reasoning: &llm.Reasoning{Redacted: []byte("secret"), Summary: true}, Signature: &llm.Signature{By: "anthropic"}},
		{Call: &llm.ToolCall{ID: "toolu_1", Name: "f", Args: []byte(`{}`)}, Signature: &llm.Signature{By: by, Value: "Z2Vt"}},
	}}}}
	out, err := Generate.Answer(sseCall(), answer)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(out), `"parts":`)
	parts, _, _ := strings.Cut(rest, `,"role"`)
	request := `{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":` + parts + `}]}`
	call, err := open(Generate, "m:generateContent", request)
	if err != nil {
		t.Fatal(problems(err))
	}
	p, err := call.Body.Payload()
	if err != nil {
		t.Fatal(err)
	}
	got := p.(*llm.Chat).Messages[1].Parts
	for i := range got {
		got[i].At = ""
	}
	if diff := cmp.Diff(answer.Choices[0].Parts, got); diff != "" {
		t.Errorf("what the client brings back (-sent +read):\n%s", diff)
	}
	pieces, err := call.Body.Bytes(Generate, &llm.Encoding{Model: "gemini-x"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"id":"toolu_1","name":"f","args":{}},"thoughtSignature":"Z2Vt"}]}]}`
	if sent := string(bytes.Join(pieces, nil)); sent != want {
		t.Errorf("sent to Gemini:\ngot  %s\nwant %s", sent, want)
	}
}
