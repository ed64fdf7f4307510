package guard

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// codec makes calls out of bytes; what they mean is not asked for.
type codec struct{}

func (codec) Format() llm.Format                                          { return llm.OpenAIChat }
func (codec) Decode([]byte) (llm.Payload, error)                          { return &llm.Chat{}, nil }
func (codec) Encode(llm.Payload, *llm.Encoding) ([]byte, error)           { return nil, nil }
func (codec) Retarget(raw []byte, _ *llm.Marks, _ *llm.Encoding) [][]byte { return [][]byte{raw} }

func callOf(body string) *llm.Call {
	return &llm.Call{Model: "m", Body: llm.NewBody(codec{}, []byte(body), llm.Marks{})}
}

func chain(t *testing.T, list ...Options) *Chain {
	t.Helper()
	for i := range list {
		if list[i].Name == "" {
			list[i].Name = "g"
		}
		if list[i].Detectors == nil {
			list[i].Detectors = []Detector{addresses()}
		}
		list[i].Always = true
	}
	c, err := New(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func inspect(t *testing.T, c *Chain, body string) (*Inspection, *llm.Call, error) {
	t.Helper()
	call := callOf(body)
	in, err := c.Inspect(t.Context(), &auth.Who{}, call)
	t.Cleanup(in.Close)
	return in, call, err
}

func TestRequest(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{
			"text of all places, each value with its own placeholder",
			`{"model":"m","messages":[{"role":"system","content":"ask ann@x.com"},{"role":"user","name":"bob@x.com","content":[{"type":"text","text":"to ann@x.com, bob@x.com"}]}],"user":"ann@x.com"}`,
			`{"model":"m","messages":[{"role":"system","content":"ask <EMAIL_1>"},{"role":"user","name":"<EMAIL_2>","content":[{"type":"text","text":"to <EMAIL_1>, <EMAIL_2>"}]}],"user":"<EMAIL_1>"}`,
		},
		{
			"arguments that are JSON in a string, written with escapes",
			`{"messages":[{"tool_calls":[{"id":"call_1","function":{"name":"f","arguments":"{\"to\": \"ann\\u0040x.com\", \"n\": [1, \"K-7\"]}"}}]}]}`,
			`{"messages":[{"tool_calls":[{"id":"call_1","function":{"name":"f","arguments":"{\"to\": \"<EMAIL_1>\", \"n\": [1, \"<EMPLOYEE_1>\"]}"}}]}]}`,
		},
		{
			"arguments and results as objects, with names that are data",
			`{"messages":[{"content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{"id":"K-1","ann@x.com":{"type":"K-2"}}}]}]}`,
			`{"messages":[{"content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{"id":"<EMPLOYEE_1>","<EMAIL_1>":{"type":"<EMPLOYEE_2>"}}}]}]}`,
		},
		{
			"a schema's names and words",
			`{"tools":[{"type":"function","function":{"name":"f","description":"mails ann@x.com","parameters":{"type":"object","properties":{"K-1":{"type":"string","description":"not K-2","enum":["K-1"]}},"required":["K-1"]}}}]}`,
			`{"tools":[{"type":"function","function":{"name":"f","description":"mails <EMAIL_1>","parameters":{"type":"object","properties":{"<EMPLOYEE_1>":{"type":"string","description":"not <EMPLOYEE_2>","enum":["<EMPLOYEE_1>"]}},"required":["<EMPLOYEE_1>"]}}}]}`,
		},
		{
			"words of the protocol stay",
			`{"model":"K-1","tool_choice":"K-1","previous_response_id":"K-1","messages":[{"role":"K-1","tool_call_id":"K-1","content":"K-1"}],"signature":"K-1"}`,
			`{"model":"K-1","tool_choice":"K-1","previous_response_id":"K-1","messages":[{"role":"K-1","tool_call_id":"K-1","content":"<EMPLOYEE_1>"}],"signature":"K-1"}`,
		},
		{
			"an id that is none",
			`{"id":"ann@x.com","messages":[{"tool_call_id":"of ann@x.com"}]}`,
			`{"id":"<EMAIL_1>","messages":[{"tool_call_id":"of <EMAIL_1>"}]}`,
		},
		{
			"a placeholder of the client's own",
			`{"a":"\u003cEMAIL_1> and {\"b\":\"<EMAIL_2>\"}","c":"ann@x.com","d":"{\"e\":\"\\u003cEMAIL_3>\"}"}`,
			`{"a":"\u003cEMAIL_1> and {\"b\":\"<EMAIL_2>\"}","c":"<EMAIL_4>","d":"{\"e\":\"\\u003cEMAIL_3>\"}"}`,
		},
		{"unknown members", `{"x":{"y":[["ann@x.com"]]}, "z" : 1e400}`, `{"x":{"y":[["<EMAIL_1>"]]}, "z" : 1e400}`},
		{"escapes that were there stay escapes", `{"a":"\n\"ann@x.com\"\u00e9"}`, `{"a":"\n\"<EMAIL_1>\"é"}`},
		{"nothing", `{"a":"\u00e9"}`, `{"a":"\u00e9"}`},
		{"numbers that are data", `{"metadata":{"employee":1234567,"n":12345,"v":[0.12345678]},"seed":12345678}`, `{"metadata":{"employee":"<BADGE_1>","n":12345,"v":[0.12345678]},"seed":12345678}`},
		{"half a document", `{"a":"{\"b\": \"ann@x.com"}`, `{"a":"{\"b\": \"<EMAIL_1>"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, call, err := inspect(t, chain(t, Options{Mode: Restore}), tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(call.Body.Raw())); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if in.Raw() != (tt.body == tt.want) {
				t.Errorf("raw is %v", in.Raw())
			}
			if got := string(in.Asked(call).Body.Raw()); got != tt.body {
				t.Errorf("the client's own request has become %s", got)
			}
		})
	}
}

func TestModes(t *testing.T) {
	const body = `{"messages":[{"content":"ann@x.com K-12"}]}`
	for _, tt := range []struct {
		name    string
		guards  []Options
		want    string // "": refused
		outcome llm.GuardOutcome
		found   []llm.Found
	}{
		{"off", []Options{{}}, body, llm.GuardClean, nil},
		{"observe", []Options{{Mode: Observe}}, body, llm.GuardObserved, []llm.Found{{Type: "EMAIL_ADDRESS", Action: "observe", N: 1}, {Type: "EMPLOYEE", Action: "observe", N: 1}}},
		{"mask", []Options{{Mode: Mask}}, `{"messages":[{"content":"<EMAIL_1> <EMPLOYEE_1>"}]}`, llm.GuardMasked, []llm.Found{{Type: "EMAIL_ADDRESS", Action: "mask", N: 1}, {Type: "EMPLOYEE", Action: "mask", N: 1}}},
		{"block", []Options{{Mode: Block}}, "", llm.GuardBlocked, []llm.Found{{Type: "EMAIL_ADDRESS", Action: "block", N: 1}, {Type: "EMPLOYEE", Action: "block", N: 1}}},
		{"one type blocked", []Options{{Mode: Observe, Block: []string{"EMPLOYEE"}}}, "", llm.GuardBlocked, []llm.Found{{Type: "EMAIL_ADDRESS", Action: "observe", N: 1}, {Type: "EMPLOYEE", Action: "block", N: 1}}},
		{"the strictest of two", []Options{{Mode: Restore}, {Name: "h", Mode: Mask}}, `{"messages":[{"content":"<EMAIL_1> <EMPLOYEE_1>"}]}`, llm.GuardMasked, []llm.Found{{Type: "EMAIL_ADDRESS", Action: "mask", N: 1}, {Type: "EMPLOYEE", Action: "mask", N: 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, call, err := inspect(t, chain(t, tt.guards...), body)
			if tt.want == "" {
				if e := llm.AsError(err); e.Kind != llm.KindGuardrail || !strings.Contains(e.Msg, "EMPLOYEE") || strings.Contains(err.Error(), "K-12") {
					t.Errorf("refused with %v", err)
				}
			} else if err != nil || string(call.Body.Raw()) != tt.want {
				t.Errorf("%s, %v, want %s", call.Body.Raw(), err, tt.want)
			}
			if diff := cmp.Diff(tt.found, in.Coverage.Found); diff != "" || in.Coverage.Outcome != tt.outcome {
				t.Errorf("outcome %s, want %s; found (-want +got)\n%s", in.Coverage.Outcome, tt.outcome, diff)
			}
		})
	}
}

// What cannot be scanned is refused where the guard insists, and else goes on and is told.
func TestEnforce(t *testing.T) {
	broken := addresses()
	broken.err = errStub
	media := `{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`
	tokens := `{"prompt":[[1,2,30000]]}`
	for _, tt := range []struct {
		name    string
		o       Options
		body    string
		outcome llm.GuardOutcome
	}{
		{"a detector fails", Options{Mode: Mask, Detectors: []Detector{broken}}, `{"a":"b"}`, llm.GuardOpen},
		{"a detector fails, enforced", Options{Mode: Observe, Enforce: true, Detectors: []Detector{broken}}, `{"a":"b"}`, llm.GuardClosed},
		{"media", Options{Mode: Mask}, media, llm.GuardClean},
		{"media, enforced", Options{Mode: Mask, Enforce: true}, media, llm.GuardClosed},
		{"media, enforced and allowed", Options{Mode: Mask, Enforce: true, Media: true}, media, llm.GuardClean},
		{"tokens, enforced", Options{Mode: Mask, Enforce: true}, tokens, llm.GuardClosed},
		{"a file, enforced", Options{Mode: Mask, Enforce: true}, `{"source":{"type":"base64","data":"` + strings.Repeat("QUJD", 30) + `"}}`, llm.GuardClosed},
		{"documents in documents, enforced", Options{Mode: Mask, Enforce: true}, `{"arguments":` + nested(6) + `}`, llm.GuardClosed},
		{"fewer of them, enforced", Options{Mode: Mask, Enforce: true}, `{"arguments":` + nested(4) + `}`, llm.GuardMasked},
		{"a text document, enforced", Options{Mode: Mask, Enforce: true}, `{"source":{"type":"text","data":"ann@x.com"}}`, llm.GuardMasked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, _, err := inspect(t, chain(t, tt.o), tt.body)
			closed := tt.outcome == llm.GuardClosed
			if in.Coverage.Outcome != tt.outcome || (err != nil) != closed || closed && llm.AsError(err).Kind != llm.KindGuardrail {
				t.Errorf("outcome %s, %v, want %s", in.Coverage.Outcome, err, tt.outcome)
			}
			if c := in.Coverage; c.Seen != c.Scanned+c.Unscanned {
				t.Errorf("coverage does not add up: %+v", c)
			}
		})
	}
}

// nested is an address in so many documents, one in the other.
func nested(n int) string {
	text := `["ann@x.com"]`
	for range n {
		b, _ := json.Marshal(text)
		text = "[" + string(b) + "]"
	}
	return text
}

// A guard that a key still names and nobody has any more closes the way.
func TestUnknownGuard(t *testing.T) {
	c, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Inspect(t.Context(), &auth.Who{Guards: []string{"gone"}}, callOf(`{}`)); llm.AsError(err).Kind != llm.KindGuardrail {
		t.Errorf("%v", err)
	}
	if in, err := c.Inspect(t.Context(), &auth.Who{}, callOf(`{}`)); in != nil || err != nil {
		t.Errorf("%v, %v where no guard holds", in, err)
	}
}

func TestNothingWithoutGuards(t *testing.T) {
	c, who, call := (*Chain)(nil), &auth.Who{}, callOf(`{"a":"ann@x.com"}`)
	if n := testing.AllocsPerRun(100, func() {
		in, err := c.Inspect(t.Context(), who, call)
		if in != nil || err != nil || !in.Raw() || in.Asked(call) != call {
			t.Error(in, err)
		}
		in.Close()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// events is a stream of prepared events, and then an error.
type events struct {
	list []llm.Event
	err  error
}

func (e *events) Next() (*llm.Event, error) {
	if len(e.list) == 0 {
		return nil, e.err
	}
	ev := &e.list[0]
	e.list = e.list[1:]
	return ev, nil
}

func (*events) Close() error { return nil }

func answerOf(s llm.Stream) (*llm.Answer, error) {
	a := new(llm.Answer)
	for {
		ev, err := s.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		if ev.Raw != nil {
			return a, io.ErrUnexpectedEOF
		}
		a.Add(ev)
	}
}

func TestWholeBodyIsValid(t *testing.T) {
	f := func(body string) bool {
		_, call, err := inspect(t, chain(t, Options{Mode: Mask}), body)
		return err == nil && json.Valid(call.Body.Raw())
	}
	for _, body := range []string{`{"a":"x\ud83d\ude00ann@x.com\u2028"}`, `{"arguments":{"a":12345678901,"b":"K-1"}}`} {
		if !f(body) {
			t.Error(body)
		}
	}
}
