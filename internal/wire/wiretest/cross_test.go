package wiretest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

// An arm is a chat format with both its sides.
type arm struct {
	name string
	wire.Format
	up wire.Upstream
}

var arms = []arm{
	{"chat", openai.Chat, openai.Chat},
	{"responses", responses.Responses, responses.Responses},
	{"messages", anthropic.Messages, anthropic.Messages},
	{"generate", gemini.Generate, gemini.Generate},
}

func armOf(f llm.Format) (arm, bool) {
	for _, a := range arms {
		if a.Format.Format() == f {
			return a, true
		}
	}
	return arm{}, false
}

// cross runs a test for every exchange and every other format.
func cross(t *testing.T, want func(*wiretest.Recording) bool, f func(t *testing.T, r *wiretest.Recording, from, to arm)) {
	n := 0
	for _, r := range wiretest.All(t) {
		from, ok := armOf(r.Format())
		if !ok || !want(r) {
			continue
		}
		for _, to := range arms {
			if to.name != from.name {
				n++
				t.Run(r.String()+"/"+to.name, func(t *testing.T) { f(t, r, from, to) })
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d crossings", n)
	}
}

// asked is the call of a client of one format.
func asked(a arm, stream bool, choices int) *llm.Call {
	return &llm.Call{
		ID: "req_test", Format: a.Format.Format(), Op: llm.OpChat, Model: "m", Stream: stream, WantUsage: true,
		Choices: int64(max(1, choices)), Query: url.Values{"alt": {"sse"}},
	}
}

// TestAnswersCross gives every recorded answer to clients of the other formats: text, tools, reasoning,
// finish reason and usage are those recorded, by the reading of plain code and of the client's own format.
func TestAnswersCross(t *testing.T) {
	cross(t, func(r *wiretest.Recording) bool { return !r.Refused() }, func(t *testing.T, r *wiretest.Recording, from, to arm) {
		want := wiretest.FactsOf(r.Format(), r.Stream, r.Answer)
		call := asked(to, r.Stream, len(want.Choices))
		var out []byte
		var again *llm.Answer
		var err error
		if r.Stream {
			out, err = wiretest.Rewrite(call, from.up.ReadStream(io.NopCloser(bytes.NewReader(r.Answer)), false), to.Writer(call), -1, false)
			if want.Failed {
				var e *llm.Error
				if !errors.As(err, &e) {
					t.Fatalf("the stream carries an error, and none was read: %v", err)
				}
				if got := wiretest.FactsOf(to.Format.Format(), true, out); !got.Failed || got.Ended && to.name != "generate" {
					t.Errorf("the client's stream does not end as a failure:\n%.2000s", out)
				}
				return
			}
		} else {
			out, err = whole(call, from, to, r.Answer)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := wiretest.FactsOf(to.Format.Format(), r.Stream, out)
		if !got.Ended {
			t.Error("the answer has no end")
		}
		for _, d := range wiretest.Differ(to.Format.Format(), want, got) {
			t.Error(d)
		}
		if r.Stream {
			again, _, err = wiretest.Gather(to.up.ReadStream(io.NopCloser(bytes.NewReader(out)), false))
		} else {
			var ev *llm.Event
			if ev, err = to.up.ReadAnswer(out, false); err == nil {
				again = new(llm.Answer)
				again.Add(ev)
			}
		}
		if err != nil {
			t.Fatalf("its own format does not read it: %v\n%.3000s", err, out)
		}
		for _, d := range wiretest.Differ(to.Format.Format(), want, wiretest.Told(again)) {
			t.Errorf("read by its own format: %s", d)
		}
		if t.Failed() {
			t.Logf("%.4000s", out)
		}
	})
}

func whole(call *llm.Call, from, to arm, body []byte) ([]byte, error) {
	ev, err := from.up.ReadAnswer(body, false)
	if err != nil {
		return nil, err
	}
	var a llm.Answer
	a.Add(ev)
	return to.Answer(call, &a)
}

// cannot are settings that a target has no word for. Whoever wants them refused gets them named; any other
// loss is an error.
var cannot = map[string][]string{
	"chat":      {"top_k"},
	"responses": {"top_k", "n", "seed", "stop"},
	"messages":  {"n", "seed", "logprobs", "top_logprobs", "stop"}, // of stop only what is white space
	"generate":  {},
}

// ownWords are members that only one vendor has, and tools that run at a provider.
var ownWords = regexp.MustCompile(`^/(safetySettings|usage|safe_prompt|web_search_options|tools/\d+/(requires_confirmation|external_execution))$`)

func mayLose(r *wiretest.Recording, to arm, at string) bool {
	hosted := strings.Contains(r.String(), "server") && strings.HasPrefix(at, "/tools/")
	return slices.Contains(cannot[to.name], at) || ownWords.MatchString(at) || hosted
}

// TestRequestsCross sends every recorded request to the other formats' upstreams: what it says stays, and
// what is sent passes the strict reading of its own format.
func TestRequestsCross(t *testing.T) {
	took := func(r *wiretest.Recording) bool { return len(r.Ask) > 0 && !r.Refused() }
	cross(t, took, func(t *testing.T, r *wiretest.Recording, from, to arm) {
		call, err := wiretest.Open(from.Format, r)
		if err != nil {
			t.Fatal(err)
		}
		e := &llm.Encoding{Model: "other-model", Stream: call.Stream, Lenient: true}
		pieces, err := call.Body.Bytes(to.up, e)
		if err != nil {
			t.Fatal(err)
		}
		out := bytes.Join(pieces, nil)
		want, got := wiretest.AskOf(r.Format(), r.Ask), wiretest.AskOf(to.Format.Format(), out)
		if len(want.Turns) == 0 { // a prompt of the system alone: where a turn is a must, the formats help themselves
			if !bytes.Contains(out, []byte(want.System)) {
				t.Errorf("the prompt is gone: %s", out)
			}
			want, got = wiretest.Ask{}, wiretest.Ask{}
		}
		for _, lost := range e.Lost {
			if at := lost.At; at == "/messages" && len(want.Turns) == 0 {
				continue
			}
			if !mayLose(r, to, lost.At) {
				t.Errorf("lost: %s: %s", lost.At, lost.Msg)
			}
		}
		lossOfTarget(&want, &got, to, e.Lost)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(wiretest.Turn{}, "Proofs")); diff != "" {
			t.Errorf("what it says (-recorded +sent):\n%s\n%.3000s", diff, out)
		}
		q := http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/v1beta/models/other-model:generateContent"}}
		rest := "other-model:generateContent"
		if call.Stream {
			rest = "other-model:streamGenerateContent"
		}
		q.SetPathValue("rest", rest)
		if _, err := wire.ReadCall(to.Format, &q, out, "req_test"); err != nil {
			t.Errorf("what is sent would not pass our own reading: %v\n%.3000s", err, out)
		}
	})
}

// lossOfTarget evens out what the formats cannot have in common. What was lost must have been named.
func lossOfTarget(want, got *wiretest.Ask, to arm, lost []llm.Problem) {
	named := func(name string) bool {
		return slices.ContainsFunc(lost, func(p llm.Problem) bool { return p.At == name })
	}
	want.Limits = slices.DeleteFunc(want.Limits, func(s string) bool {
		name, value, _ := strings.Cut(s, "=")
		return slices.Contains(cannot[to.name], name) && named(name) && (to.name != "messages" || name != "stop" || strings.TrimSpace(value) == "")
	})
	isMax := func(s string) bool { return strings.HasPrefix(s, "max=") }
	if to.name == "messages" && !slices.ContainsFunc(want.Limits, isMax) {
		got.Limits = slices.DeleteFunc(got.Limits, isMax) // it must have one
	}
	if i := slices.Index(want.Limits, "max=10"); to.name == "responses" && i >= 0 {
		want.Limits[i] = "max=16" // the least it takes
	}
}

// TestProofsComeBack is a conversation of two turns: an answer with signed reasoning reaches a client of another format, comes back in
// its history, and goes to the vendor that signed it: text, calls and signatures are what that vendor wrote.
func TestProofsComeBack(t *testing.T) {
	n := 0
	for _, r := range wiretest.All(t) {
		from, ok := armOf(r.Format())
		if !ok || r.Refused() || r.Stream {
			continue
		}
		want := wiretest.FactsOf(r.Format(), false, r.Answer)
		if len(want.Choices) == 0 || len(want.Choices[0].Proofs) == 0 {
			continue
		}
		for _, client := range arms {
			if client.name == from.name {
				continue
			}
			n++
			t.Run(r.String()+"/"+client.name, func(t *testing.T) {
				out, err := whole(asked(client, false, 1), from, client, r.Answer)
				if err != nil {
					t.Fatal(err)
				}
				ask := wiretest.NextTurn(client.Format.Format(), out)
				q := http.Request{Method: http.MethodPost, URL: &url.URL{}}
				q.SetPathValue("rest", "m:generateContent")
				call, err := wire.ReadCall(client.Format, &q, ask, "req_test")
				if err != nil {
					t.Fatalf("the next turn is refused: %v\n%s", err, ask)
				}
				pieces, err := call.Body.Bytes(from.up, &llm.Encoding{Model: "m"})
				if err != nil {
					t.Fatal(err)
				}
				back := wiretest.AskOf(from.Format.Format(), bytes.Join(pieces, nil))
				if len(back.Turns) < 2 || back.Turns[1].User {
					t.Fatalf("the assistant's turn is missing: %+v", back)
				}
				if diff := cmp.Diff(want.Choices[0].Proofs, back.Turns[1].Proofs); diff != "" {
					t.Errorf("signatures (-signed +sent back):\n%s\nthe client had: %s\nand sent: %s", diff, out, ask)
				}
				if got, items := wiretest.ItemsOf(want.Choices[0]), back.Turns[1].Items; !cmp.Equal(got, items) {
					t.Errorf("the turn (-answered +sent back):\n%s", cmp.Diff(got, items))
				}
			})
		}
	}
	if n < 6 {
		t.Errorf("only %d signed answers were tried", n)
	}
}

// TestErrorsCross tells every recorded refusal to clients of the other formats.
func TestErrorsCross(t *testing.T) {
	cross(t, (*wiretest.Recording).Refused, func(t *testing.T, r *wiretest.Recording, from, to arm) {
		wiretest.CheckError(t, to.Format, from.up.ReadError(r.Status, r.Header, r.Answer))
	})
}

// later are endpoints of the recordings that this build has no format for.
var later = []string{"converse", "converse-stream", "invoke", "invoke-stream", "chat", "ollama.chat"}

// TestEveryRecordingIsUsed fails when a recording belongs to no format and is not put off by name.
func TestEveryRecordingIsUsed(t *testing.T) {
	used := 0
	for _, r := range wiretest.Recordings(t) {
		_, chat := armOf(r.Format())
		switch {
		case chat, r.Format() == llm.OpenAIEmbeddings:
			used++
		case !slices.Contains(later, r.Endpoint):
			t.Errorf("%s: nothing reads the endpoint %q", r, r.Endpoint)
		}
	}
	if used > 0 && used != 72 {
		t.Errorf("%d recordings are used, want 72", used)
	}
}

func TestEmbeddings(t *testing.T) {
	n := 0
	for _, r := range wiretest.All(t) {
		if r.Format() != llm.OpenAIEmbeddings {
			continue
		}
		n++
		t.Run(r.String(), func(t *testing.T) {
			call, err := wiretest.Open(openai.Embeddings, r)
			if err != nil {
				t.Fatal(err)
			}
			pieces, err := call.Body.Bytes(openai.Embeddings, &llm.Encoding{Model: call.Model})
			if err != nil || !bytes.Equal(bytes.Join(pieces, nil), r.Ask) {
				t.Errorf("the same model, and other bytes (%v): %s", err, pieces)
			}
			if r.Refused() {
				wiretest.CheckError(t, openai.Embeddings, openai.Embeddings.ReadError(r.Status, r.Header, r.Answer))
				return
			}
			ev, err := openai.Embeddings.ReadAnswer(r.Answer, false)
			if err != nil {
				t.Fatal(err)
			}
			var a llm.Answer
			a.Add(ev)
			out, err := openai.Embeddings.Answer(call, &a)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wiretest.VectorsOf(r.Answer), wiretest.VectorsOf(out)); diff != "" {
				t.Errorf("vectors and usage (-recorded +written):\n%s", diff)
			}
		})
	}
	if n < 2 {
		t.Errorf("only %d embeddings", n)
	}
}
