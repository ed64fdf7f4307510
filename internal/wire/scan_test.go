package wire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// small is a shape with one of everything.
func small() *Shape {
	part := Object(Opt("type", Str()), Opt("text", Str()), Opt("url", Str().Len(1, 0))).
		ByOpenTag("type", Variants{"text": {"text"}, "image": {"url"}})
	message := Object(
		Opt("role", Str()).Note(NoteRole),
		Opt("content", Either(Str(), Array(part)).OrNull()),
		Opt("tool_call_id", Str()).Note(NoteResult),
	).ByTag("role", Variants{"user": {"content"}, "assistant": nil, "tool": {"tool_call_id", "content"}})
	return Object(
		Req("model", Str().Len(1, 8)).Mark(llm.MarkModel),
		Opt("messages", Array(message).Len(1, 3)),
		Opt("stream", Bool().OrNull()).Mark(llm.MarkStream),
		Opt("temperature", Num(0, 2).OrNull()),
		Opt("n", Int(1, 128)).Mark(llm.MarkN),
		Opt("effort", Enum("low", "high")),
		Opt("stream_options", Object(Opt("include_usage", Bool()).Mark(llm.MarkIncludeUsage)).OrNull()).Mark(llm.MarkStreamOptions),
		Opt("topK", Int(0, 100)).Alias("top_k"),
		Opt("free", Any()),
	)
}

func problemsOf(err error) []string {
	var e *llm.Error
	if !errors.As(err, &e) {
		return nil
	}
	out := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		out[i] = p.At + ": " + p.Msg
	}
	return out
}

func TestScan(t *testing.T) {
	shape := small()
	deep := strings.Repeat("[", 63) + strings.Repeat("]", 63)
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"good", `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"temperature":1.0,"n":1e0,"unknown":{"a":[1]}}`, nil},
		{"null optional", `{"model":"m","stream":null,"temperature":null}`, nil},
		{"whitespace around", " \r\n\t{\"model\" : \"m\" }\n ", nil},
		{"depth 64", `{"model":"m","free":` + deep + `}`, nil},
		{"depth 65", `{"model":"m","free":[` + deep + `]}`, []string{"/free" + strings.Repeat("/0", 62) + ": is nested deeper than 64 levels"}},
		{"empty", ``, []string{": is empty; a JSON object is needed"}},
		{"not an object", `[]`, []string{": must be an object, not an array"}},
		{"several", `{"model":1,"temperature":3,"n":0.5,"effort":"mid","messages":[]}`, []string{
			"/model: must be a string, not a number", "/temperature: must be between 0 and 2, not 3", "/n: must be a whole number, not 0.5",
			`/effort: must be one of "low", "high", not "mid"`, "/messages: must not be empty",
		}},
		{"missing", `{"messages":[{"content":"x"},{"role":"tool"}]}`, []string{
			"/messages/0/role: is required", `/messages/1/content: is required where role is tool`,
			`/messages/1/tool_call_id: is required where role is tool`, "/model: is required",
		}},
		{"unknown role", `{"model":"m","messages":[{"role":"boss"}]}`, []string{`/messages/0/role: must be one of "assistant", "tool", "user", not "boss"`}},
		{"unknown part type passes", `{"model":"m","messages":[{"role":"user","content":[{"type":"hologram"}]}]}`, nil},
		{"known part type is held", `{"model":"m","messages":[{"role":"user","content":[{"type":"image","url":""}]}]}`, []string{"/messages/0/content/0/url: must not be empty"}},
		{"too many items", `{"model":"m","messages":[{"role":"assistant"},{"role":"assistant"},{"role":"assistant"},{"role":"assistant"}]}`, []string{"/messages: has 4 items; 1 to 3 are allowed"}},
		{"too long", `{"model":"123456789"}`, []string{"/model: is 9 bytes long; 1 to 8 are allowed"}},
		{"duplicate", `{"model":"cheap","model":"dear"}`, []string{"/model: stands twice; parsers disagree on which one counts"}},
		{"duplicate by escape", `{"model":"cheap","mod\u0065l":"dear"}`, []string{"/model: stands twice; parsers disagree on which one counts"}},
		{"escaped name", `{"mod\u0065l":"dear"}`, []string{"/model: has a name written with escapes; write it plainly", "/model: is required"}},
		{"nested duplicate", `{"model":"m","free":{"a":1,"a":2}}`, []string{"/free/a: stands twice; parsers disagree on which one counts"}},
		{"case variant", `{"model":"cheap","MODEL":"dear"}`, []string{"/MODEL: differs only by case from model; write it so"}},
		{"case variant, nested", `{"model":"m","messages":[{"role":"user","Content":"x","content":"y"}]}`, []string{"/messages/0/Content: differs only by case from content; write it so"}},
		{"long s", `{"model":"m","ſtream":true}`, []string{"/ſtream: differs only by case from stream; write it so"}},
		{"alias", `{"model":"m","top_k":3}`, nil},
		{"alias twice", `{"model":"m","topK":1,"top_k":3}`, []string{"/top_k: is the same member as topK or top_k, which is there already"}},
		{"negative", `{"model":"m","n":-1,"topK":-0}`, []string{"/n: must be between 1 and 128, not -1"}},
		{"long numbers", `{"model":"m","n":100000000000000000000,"topK":99.00000000000000000000}`, []string{"/n: must be between 1 and 128, not 100000000000000000000"}},
		{"huge number", `{"model":"m","free":1e400}`, []string{"/free: is a number too large to be read: 1e400"}},
		{"trailing document", `{"model":"m"} {"model":"n"}`, []string{": has data behind its end"}},
		{"trailing garbage", `{"model":"m"}x`, []string{": has data behind its end"}},
		{"cut", `{"model":"m`, []string{"/model: ends too early, at byte 11"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Scan(shape, []byte(c.body))
			if diff := cmp.Diff(c.want, problemsOf(err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if c.want == nil && err != nil {
				t.Error(err)
			}
		})
	}
}

// What other parsers let through and we must not.
func TestScanRefusesBadJSON(t *testing.T) {
	shape := small()
	for _, body := range []string{
		"{\"model\":\"\xff\"}", `{"model":"\ud800"}`, `{"model":"\udc00x"}`, "{\"model\":\"a\nb\"}", `{"model":"m",}`, `{'model':'m'}`,
		`{"model":"m" "n":1}`, `{"model":01}`, `{"model":+1}`, `{"model":.5}`, `{"model":1.}`, `{"model":NaN}`, `{"model":Infinity}`,
		`{"model":"m"/**/}`, "\xef\xbb\xbf{\"model\":\"m\"}", `{"model":"\x41"}`, `{"model":"m","free":[1,]}`, `{"model":"m","free":tru}`,
		"{\"model\":\"m\u0000\"}", `{model:"m"}`, `"m"`, `null`, `1`, ``, ` `, `{`, `}`, `{"model":"m"`, "{\"model\":\"m\"}\x00",
		strings.Repeat("[", 1_000_000), strings.Repeat(`{"a":`, 100_000),
	} {
		if _, err := Scan(shape, []byte(body)); err == nil {
			t.Errorf("%s was let through", clip([]byte(body)))
		} else if e := llm.AsError(err); e.Kind != llm.KindInvalid || len(e.Problems) == 0 {
			t.Errorf("%s: %v, want problems of kind %s", clip([]byte(body)), err, llm.KindInvalid)
		}
	}
}

func TestScanMarksAndNotes(t *testing.T) {
	body := []byte(`{ "stream_options" : {"include_usage": false}, "model": "m" ,"n":2,"stream":true,
		"messages":[{"role":"user","content":"x"},{"role":"tool","tool_call_id":"c1","content":[]}]}`)
	s, err := Scan(small(), body)
	if err != nil {
		t.Fatal(err)
	}
	for mark, want := range map[llm.Mark]string{
		llm.MarkModel: `"m"`, llm.MarkN: "2", llm.MarkStream: "true", llm.MarkIncludeUsage: "false",
		llm.MarkStreamOptions: `{"include_usage": false}`, llm.MarkObject: string(body), llm.MarkBestOf: "",
	} {
		if got := string(s.Member(mark)); got != want {
			t.Errorf("mark %d: %q, want %q", mark, got, want)
		}
	}
	var notes []string
	for _, n := range s.Notes {
		notes = append(notes, fmt.Sprintf("%d %s %d %d", n.Kind, n.Value, n.Item, n.Inner))
	}
	want := []string{
		fmt.Sprintf("%d user 0 -1", NoteRole), fmt.Sprintf("%d tool 1 -1", NoteRole), fmt.Sprintf("%d c1 1 -1", NoteResult),
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestScanNotesSayWhere(t *testing.T) {
	part := Object(Opt("id", Str()).Note(NoteCall))
	item := Object(Opt("role", Str()).Note(NoteRole), Opt("parts", Array(part)))
	s, err := Scan(Object(Opt("items", Array(item)), Opt("role", Str()).Note(NoteRole)), []byte(`{"role":"r","items":[{},{"role":"a"},{"parts":[{"id":"x"},{},{"id":"y\n"}],"role":"b"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Note{
		{NoteRole, []byte("r"), -1, -1},
		{NoteRole, []byte("a"), 1, -1},
		{NoteCall, []byte("x"), 2, 0},
		{NoteCall, []byte(`y\n`), 2, 2},
		{NoteRole, []byte("b"), 2, -1},
	}
	if diff := cmp.Diff(want, s.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestScanStopsAtManyProblems(t *testing.T) {
	body := `{"model":"m","messages":[` + strings.Repeat(`{"role":1},`, 100_000) + `{"role":1}]}`
	_, err := Scan(small(), []byte(body))
	if n := len(problemsOf(err)); n != maxProblems {
		t.Errorf("%d problems reported, want %d", n, maxProblems)
	}
}

// prose is text of a prompt as it stands in a JSON string, of about the given size. Escaped text has, in each
// hundred bytes or so, two \", one \n and two letters that are not ASCII. The order of words is random, from
// a fixed seed: a short text repeated would be learnt by the branch predictor.
func prose(size int, escaped bool) string {
	plain := []string{"the ", "quick ", "request ", "of ", "a ", "function ", "returns ", "what ", "its ", "caller ", "needs, ", "model. "}
	special := []string{`\"`, `\"`, `\n`, "é", "ü"}
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < size {
		words := make([]string, 16)
		for i := range words {
			words[i] = plain[random.IntN(len(plain))]
		}
		if escaped {
			places := random.Perm(len(words))
			for i, s := range special {
				w := &words[places[i]]
				at := random.IntN(len(*w))
				*w = (*w)[:at] + s + (*w)[at:]
			}
		}
		b.WriteString(strings.Join(words, ""))
	}
	return b.String()
}

func chat(size int, escaped bool) []byte {
	return fmt.Appendf(nil, `{"model":"m","messages":[{"role":"user","content":"%s"}],"stream":true,"temperature":0.7}`, prose(size-90, escaped))
}

func TestScanAllocations(t *testing.T) {
	shape := small()
	for size, most := range map[int]float64{300: 2, 2_000: 2, 200_000: 3} {
		for _, escaped := range []bool{false, true} {
			body := chat(size, escaped)
			// One for the result, one for its notes, one for where its long strings are.
			n := testing.AllocsPerRun(100, func() {
				if _, err := Scan(shape, body); err != nil {
					t.Fatal(err)
				}
			})
			if n > most && !racing {
				t.Errorf("%v allocations for %d bytes, want at most %v", n, size, most)
			}
		}
	}
}

// A union's default is the variant of an object that does not say which it is.
func TestScanDefaultVariant(t *testing.T) {
	shape := Object(Opt("type", Str().OrNull()), Opt("name", Str()), Opt("schema", Map())).
		ByOpenTag("type", Variants{"custom": {"name", "schema"}}).Default("custom")
	for _, c := range []struct{ doc, want string }{
		{`{"name":"a","schema":{}}`, ""},
		{`{"type":null,"name":"a","schema":{}}`, ""},
		{`{"type":"custom","name":"a","schema":{}}`, ""},
		{`{"type":"hosted_20260101"}`, ""},
		{`{}`, "/name: is required where type is custom or absent; /schema: is required where type is custom or absent"},
		{`{"schema":{},"type":null}`, "/name: is required where type is custom or absent"},
		{`{"type":"cust\u006fm","name":"a"}`, "/schema: is required where type is custom or absent"},
		{`{"type":1}`, "/type: must be a string or null, not a number"},
	} {
		_, err := Scan(shape, []byte(c.doc))
		if got := strings.Join(problemsOf(err), "; "); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.doc, got, c.want)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	shape := small()
	for _, text := range []string{"ascii", "escaped"} {
		for _, size := range []int{300, 2_000, 200_000, 2_000_000} {
			body := chat(size, text == "escaped")
			b.Run(fmt.Sprintf("%s/%d", text, size), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Scan(shape, body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`)
	f.Add(`{"model":"cheap","mod\u0065l":"dear"}`)
	f.Add(`{"stream_options":null,"MODEL":1e999}`)
	shape := small()
	f.Fuzz(func(t *testing.T, body string) {
		s, err := Scan(shape, []byte(body))
		if err != nil {
			return
		}
		// The model that was checked is the model that a lax parser sees, whichever way it reads.
		if got := string(s.Member(llm.MarkModel)); !strings.Contains(body, `"model"`) || len(got) < 3 {
			t.Fatalf("%q passed without a model", body)
		}
	})
}
