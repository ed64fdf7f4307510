package guard

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// request names what the answers below speak of: <EMAIL_1> is ann, <EMAIL_2> is bob, <EMPLOYEE_1> a number, <QUOTE_1> has what JSON escapes.
const request = `{"messages":[{"content":"ann@x.com bob@x.com K-12"}]}`

// pieces cuts the text of parts into deltas of one stream, by chance.
func pieces(parts []llm.Delta, seed uint64) *events {
	r := rand.New(rand.NewPCG(seed, 2))
	out := &events{err: io.EOF}
	add := func(d llm.Delta) {
		out.list = append(out.list, llm.Event{Raw: []byte("x"), Format: llm.OpenAIChat, Delta: []llm.Delta{d}})
	}
	for _, d := range parts {
		kind, text := said(d.Part)
		if text == nil {
			add(d)
			continue
		}
		for first := true; first || len(text) > 0; first = false {
			n := len(text)
			if seed > 0 {
				n = min(n, 1+r.IntN(1+int(seed%9)))
			}
			piece := d
			own := *d.Part
			if !first && own.Call != nil {
				own.Call = &llm.ToolCall{Custom: own.Call.Custom}
			}
			say(&own, kind, text[:n:n])
			piece.Part = &own
			if text = text[n:]; len(text) > 0 {
				piece.Stop = ""
			}
			add(piece)
		}
	}
	return out
}

func textDelta(index int, s string) llm.Delta {
	return llm.Delta{Index: index, Part: &llm.Part{Text: s}}
}

func callDelta(index int, args string) llm.Delta {
	return llm.Delta{Index: index, Part: &llm.Part{Call: &llm.ToolCall{ID: "call_1", Name: "f", Args: []byte(args)}}}
}

var sameAnswer = cmp.Options{cmpopts.IgnoreUnexported(llm.Choice{}), cmpopts.EquateEmpty()}

func filtered(t *testing.T, o Options, body string, s llm.Stream) (*llm.Answer, *Inspection, error) {
	t.Helper()
	in, _, err := inspect(t, chain(t, o), body)
	if err != nil {
		t.Fatal(err)
	}
	a, err := answerOf(in.Filter(s))
	return a, in, err
}

func TestRestore(t *testing.T) {
	refusal := "not <EMAIL_1>"
	parts := []llm.Delta{
		{Index: 0, Part: &llm.Part{Reasoning: &llm.Reasoning{Text: "who is <EMAIL_2>?"}}},
		textDelta(1, "Dear <EMAIL_1>, <EMAIL_12> <EMAIL_2 <<EMPLOYEE_1>> \\u003cEMAIL_1\\u003e <EM"),
		callDelta(2, `{"to":"<EMAIL_1>","and":"\u003cEMAIL_2\u003e","not":"\\u003cEMAIL_2\\u003e","c":"<EM"}`),
		{Index: 3, Part: &llm.Part{Refusal: &refusal}},
		textDelta(4, "ends with <EMAIL_1"),
		{Stop: llm.StopEnd},
	}
	got := func(seed uint64) *llm.Answer {
		a, _, err := filtered(t, Options{Mode: Restore}, request, pieces(parts, seed))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	whole := got(0).Choices[0].Parts
	for i, want := range []string{
		"who is bob@x.com?",
		"Dear ann@x.com, <EMAIL_12> <EMAIL_2 <K-12> \\u003cEMAIL_1\\u003e <EM",
		`{"to":"ann@x.com","and":"bob@x.com","not":"\\u003cEMAIL_2\\u003e","c":"<EM"}`,
		"not ann@x.com", "ends with <EMAIL_1",
	} {
		if _, text := said(&whole[i]); string(text) != want {
			t.Errorf("part %d is %s, want %s", i, text, want)
		}
	}
	for seed := range uint64(200) {
		if diff := cmp.Diff(whole, got(seed).Choices[0].Parts, sameAnswer); diff != "" {
			t.Fatalf("in pieces, seed %d: (-whole +pieces)\n%s", seed, diff)
		}
	}
}

// Blocks and members that only their own format knows have placeholders, too.
func TestRestoreWhole(t *testing.T) {
	s := &events{err: io.EOF, list: []llm.Event{{Format: llm.OpenAIChat, Extra: llm.Members{"x": llm.Raw(`"<EMAIL_1>"`)}, Delta: []llm.Delta{
		{Part: &llm.Part{Text: "see", Citations: []llm.Citation{{Title: "<EMAIL_1>", Native: llm.Raw(`{"t":"\u003cEMAIL_1>"}`)}}}},
		{Index: 1, Part: &llm.Part{Foreign: llm.Raw(`{"type":"web","q":["<EMAIL_2>"]}`)}},
	}}}}
	a, _, err := filtered(t, Options{Mode: Restore}, request, s)
	if err != nil {
		t.Fatal(err)
	}
	p := a.Choices[0].Parts
	got := []string{string(a.Extra["x"]), p[0].Citations[0].Title, string(p[0].Citations[0].Native), string(p[1].Foreign)}
	want := []string{`"ann@x.com"`, "ann@x.com", `{"t":"ann@x.com"}`, `{"type":"web","q":["bob@x.com"]}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// jsonCodec makes calls that want JSON.
type jsonCodec struct{ codec }

func (jsonCodec) Decode([]byte) (llm.Payload, error) {
	return &llm.Chat{Output: &llm.Output{Kind: llm.OutputSchema}}, nil
}

// In an answer that is to be JSON values are written as JSON has them.
func TestRestoreIntoJSON(t *testing.T) {
	quote := addresses()
	quote.re = regexp.MustCompile(`"ann"`)
	quote.kind = func(string) string { return "NAME" }
	for _, c := range []llm.Codec{codec{}, jsonCodec{}} {
		call := &llm.Call{Body: llm.NewBody(c, []byte(`{"messages":[{"content":"she is \"ann\""}]}`), llm.Marks{})}
		in, err := chain(t, Options{Mode: Restore, Detectors: []Detector{quote}}).Inspect(t.Context(), &auth.Who{}, call)
		if err != nil {
			t.Fatal(err)
		}
		a, err := answerOf(in.Filter(pieces([]llm.Delta{textDelta(0, `{"name":"<NAME_1>"}`)}, 3)))
		want := `{"name":""ann""}`
		if c == (jsonCodec{}) {
			want = `{"name":"\"ann\""}`
		}
		if got := a.Choices[0].Parts[0].Text; got != want || err != nil {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
		in.Close()
	}
}

// Calls of tools that are written side by side keep their own ends.
func TestRestoreSideBySide(t *testing.T) {
	s := &events{err: io.EOF}
	for _, d := range []llm.Delta{
		callDelta(0, `{"a":"<EMA`), callDelta(1, `{"b":"<EMPLOY`), callDelta(0, `IL_1>"}`), callDelta(1, `EE_1>"}`), {Stop: llm.StopTools},
	} {
		s.list = append(s.list, llm.Event{Format: llm.OpenAIChat, Delta: []llm.Delta{d}})
	}
	a, _, err := filtered(t, Options{Mode: Restore}, request, s)
	if err != nil {
		t.Fatal(err)
	}
	p := a.Choices[0].Parts
	if got := string(p[0].Call.Args) + string(p[1].Call.Args); got != `{"a":"ann@x.com"}{"b":"K-12"}` {
		t.Error(got)
	}
}

// What is masked stays masked, what of an upstream's error was kept back comes before it, and values die with the call.
func TestRestoreEnds(t *testing.T) {
	in, _, err := inspect(t, chain(t, Options{Mode: Mask}), request)
	if err != nil || !in.Raw() {
		t.Errorf("the answer to a masked call must be decoded: %v", err)
	}
	lost := errors.New("lost")
	a, in, err := filtered(t, Options{Mode: Restore}, request, &events{err: lost, list: []llm.Event{{Delta: []llm.Delta{textDelta(0, "a <EM")}}}})
	if !errors.Is(err, lost) || a.Choices[0].Parts[0].Text != "a <EM" {
		t.Errorf("%+v, %v", a.Choices, err)
	}
	value := in.held.list[0].value
	in.Close()
	if strings.Trim(string(value), "\x00") != "" || in.held.list != nil {
		t.Error("a value outlives its call")
	}
}

func TestAnswers(t *testing.T) {
	parts := []llm.Delta{
		textDelta(0, "Ask eve@x.com or ann@x.com or <EMAIL_1>, K-9."),
		callDelta(1, `{"to":"mal\u0040x.com","n":[1,"K-9"]}`),
		textDelta(2, "and eve@x.com"),
		{Stop: llm.StopEnd},
	}
	run := func(o Options, seed uint64) ([]string, *Inspection, error) {
		a, in, err := filtered(t, o, request, pieces(parts, seed))
		var out []string
		for _, c := range a.Choices {
			for i := range c.Parts {
				_, text := said(&c.Parts[i])
				out = append(out, string(text))
			}
		}
		return out, in, err
	}
	restored := []string{"Ask <EMAIL_3> or ann@x.com or ann@x.com, <EMPLOYEE_2>.", `{"to":"<EMAIL_4>","n":[1,"<EMPLOYEE_2>"]}`, "and <EMAIL_3>"}
	masked := []string{"Ask <EMAIL_3> or <EMAIL_1> or <EMAIL_1>, <EMPLOYEE_2>.", `{"to":"<EMAIL_4>","n":[1,"<EMPLOYEE_2>"]}`, "and <EMAIL_3>"}
	for seed := range uint64(100) {
		for _, tt := range []struct {
			o    Options
			want []string
		}{{Options{Mode: Restore, Answers: Mask}, restored}, {Options{Mode: Mask, Answers: Mask}, masked}} {
			got, _, err := run(tt.o, seed)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Fatalf("%s, seed %d: %v (-want +got)\n%s", tt.o.Mode, seed, err, diff)
			}
		}
		got, in, err := run(Options{Mode: Off, Answers: Observe}, seed)
		if err != nil || got[0] != "Ask eve@x.com or ann@x.com or <EMAIL_1>, K-9." || len(in.Coverage.Found) != 2 || in.Coverage.Found[0].N != 4 {
			t.Fatalf("observed: %v, %v, %+v", got, err, in.Coverage)
		}
		got, in, err = run(Options{Mode: Off, Answers: Block}, seed)
		if e := llm.AsError(err); e.Kind != llm.KindGuardrail || strings.Contains(strings.Join(got, ""), "@") || strings.Contains(e.Msg, "@") || in.Coverage.Outcome != llm.GuardBlocked {
			t.Fatalf("blocked: %v, %v", got, err)
		}
	}
}

// whole is a detector that cannot follow a text.
type whole struct{ *stub }

func (w whole) Follow() {}

// What must be seen whole is kept back until it is, and found all the same.
func TestAnswersThatAreSeenWhole(t *testing.T) {
	for seed := range uint64(20) {
		s := pieces([]llm.Delta{textDelta(0, "Ask eve@x.com now"), textDelta(1, "or K-9"), {Stop: llm.StopEnd}}, seed)
		a, _, err := filtered(t, Options{Answers: Mask, Detectors: []Detector{whole{addresses()}, addresses()}}, request, s)
		if err != nil {
			t.Fatal(err)
		}
		if p := a.Choices[0].Parts; p[0].Text != "Ask <EMAIL_1> now" || p[1].Text != "or <EMPLOYEE_1>" {
			t.Fatalf("seed %d: %+v", seed, p)
		}
	}
}

// A detector that fails in an answer closes it where the guard insists.
func TestAnswersEnforced(t *testing.T) {
	s := func() llm.Stream { return pieces([]llm.Delta{textDelta(0, "a b c")}, 1) }
	broken := addresses()
	broken.err = errStub
	if _, in, err := filtered(t, Options{Answers: Mask, Enforce: true, Detectors: []Detector{broken}}, request, s()); llm.AsError(err).Kind != llm.KindGuardrail || in.Coverage.Outcome != llm.GuardClosed {
		t.Errorf("enforced: %v", err)
	}
	a, in, err := filtered(t, Options{Answers: Mask, Detectors: []Detector{broken}}, request, s())
	if err != nil || a.Choices[0].Parts[0].Text != "a b c" || in.Coverage.Outcome != llm.GuardOpen {
		t.Errorf("not enforced: %v, %+v", err, a)
	}
}

// However a text is cut, it is restored as a whole one is, and as a plain search and replace would have it.
func FuzzRestore(f *testing.F) {
	f.Add("to <EMAIL_1> and <EMPLOYEE_1", uint64(3), false)
	f.Add(`{"a":"\u003cEMAIL_2\u003e\\u003cEMAIL_1>"}`, uint64(1), true)
	f.Fuzz(func(t *testing.T, text string, seed uint64, args bool) {
		d := textDelta(0, text)
		if args {
			d = callDelta(0, text)
		}
		run := func(seed uint64) string {
			a, _, err := filtered(t, Options{Mode: Restore}, request, pieces([]llm.Delta{d}, seed))
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Choices) == 0 || len(a.Choices[0].Parts) == 0 {
				return ""
			}
			_, out := said(&a.Choices[0].Parts[0])
			return string(out)
		}
		whole := run(0)
		if got := run(seed); got != whole {
			t.Errorf("in pieces %q, whole %q", got, whole)
		}
		if plain := strings.NewReplacer("<EMAIL_1>", "ann@x.com", "<EMAIL_2>", "bob@x.com", "<EMPLOYEE_1>", "K-12").Replace(text); !args && whole != plain {
			t.Errorf("restored %q, want %q", whole, plain)
		}
	})
}

// Whatever a request holds, what goes on is JSON, has nothing that would be found, and comes back as it was.
func FuzzRequest(f *testing.F) {
	f.Add(`{"a":"ann@x.com <EMAIL_1>","arguments":"{\"x\":\"bob\\u0040x.com\"}"}`)
	f.Add(`{"input":{"K-1":12345678,"ann@x.com":"\ud83d\ude00K-2"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if v := jsontext.Value(body); !v.IsValid() || v.Kind() != '{' {
			return // the strict scan lets none of these pass
		}
		in, call, err := inspect(t, chain(t, Options{Mode: Restore}), body)
		if err != nil {
			if llm.AsError(err).Kind != llm.KindGuardrail {
				t.Fatal(err)
			}
			return // deeper than documents are followed: refused, so nothing was sent on
		}
		out := string(call.Body.Raw())
		if !json.Valid([]byte(out)) {
			t.Fatalf("%q has become %q", body, out)
		}
		again, _, err := inspect(t, chain(t, Options{Mode: Observe}), out)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range in.held.list {
			for _, v := range again.Coverage.Found {
				if v.Type == h.kind && v.Type == "EMAIL_ADDRESS" {
					t.Fatalf("%q went on as %q, which holds %+v", body, out, again.Coverage.Found)
				}
			}
		}
	})
}
