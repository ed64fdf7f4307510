package wiretest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Run holds a chat format to what every chat format must do, with every exchange there is in it. f and u are the client's and the
// provider's side of one endpoint.
func Run(t *testing.T, f wire.Format, u wire.Upstream) {
	if f.Format() != u.Format() {
		t.Fatalf("two formats: %s and %s", f.Format(), u.Format())
	}
	n := 0
	for _, r := range All(t) {
		if r.Format() != f.Format() {
			continue
		}
		n++
		t.Run(r.String(), func(t *testing.T) {
			if len(r.Ask) > 0 {
				t.Run("request", func(t *testing.T) { runRequest(t, f, r) })
			}
			switch {
			case r.Refused():
				t.Run("refusal", func(t *testing.T) { runRefusal(t, f, u, r) })
			case r.Stream:
				t.Run("stream", func(t *testing.T) { runStream(t, f, u, r) })
			default:
				t.Run("answer", func(t *testing.T) { runAnswer(t, f, u, r) })
			}
		})
	}
	if n == 0 {
		t.Errorf("no exchange in the format %s", f.Format())
	}
	t.Run("strange refusals", func(t *testing.T) { runStrangeRefusals(t, f, u) })
	t.Run("strange answers", func(t *testing.T) { runStrangeAnswers(t, u) })
}

// Open reads a recorded request as the gateway does.
func Open(f wire.Format, r *Recording) (*llm.Call, error) {
	q := r.Request()
	if _, rest, ok := strings.Cut(r.URL.Path, "/models/"); ok {
		q.SetPathValue("rest", rest)
	}
	return wire.ReadCall(f, q, r.Ask, "req_test")
}

func runRequest(t *testing.T, f wire.Format, r *Recording) {
	call, err := Open(f, r)
	if err != nil {
		if r.Refused() && r.Status == http.StatusBadRequest {
			t.Logf("refused as the provider did: %v", err)
			return
		}
		t.Fatalf("a request that the provider took is refused: %v", err)
	}
	if call.Stream != r.Stream {
		t.Errorf("stream: got %t, want %t", call.Stream, r.Stream)
	}
	p, err := f.Decode(r.Ask)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	e := &llm.Encoding{Model: call.Model, Stream: call.Stream}
	out, err := f.Encode(p, e)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	if len(e.Lost) > 0 {
		t.Errorf("lost on the way to its own format: %v", e.Lost)
	}
	if diff := cmp.Diff(loosen(f.Format(), parse(r.Ask)), loosen(f.Format(), parse(out))); diff != "" {
		t.Errorf("decoded and encoded again (-recorded +encoded):\n%s", diff)
	}
	if diff := cmp.Diff(AskOf(f.Format(), r.Ask), AskOf(f.Format(), out)); diff != "" {
		t.Errorf("what it says (-recorded +encoded):\n%s", diff)
	}
	again, err := f.Decode(out)
	if err != nil {
		t.Fatalf("decode what was encoded: %v\n%s", err, out)
	}
	e = &llm.Encoding{Model: call.Model, Stream: call.Stream}
	if twice, err := f.Encode(again, e); err != nil || !bytes.Equal(out, twice) {
		t.Errorf("a second round changes it (%v):\n%s\n%s", err, out, twice)
	}
	runRetarget(t, f, r, call)
}

// runRetarget changes the model's name and nothing else, but for the wish for usage.
func runRetarget(t *testing.T, f wire.Format, r *Recording, call *llm.Call) {
	pieces, err := call.Body.Bytes(f, &llm.Encoding{Model: "other/model-1", Stream: call.Stream})
	if err != nil {
		t.Fatalf("retarget: %v", err)
	}
	got := bytes.Join(pieces, nil)
	want := r.Ask
	if v := parse(r.Ask).at("model"); v.there() {
		i := bytes.Index(want, []byte(`"model"`))
		j := i + bytes.Index(want[i:], []byte(v.text()))
		name := `"other/model-1"`
		if f.Format() == llm.GeminiGenerate {
			name = `"models/other/model-1"`
		}
		want = bytes.Join([][]byte{want[:j], []byte(name), want[j+len(v.text()):]}, nil)
	}
	if !call.Stream || f.Format() != llm.OpenAIChat {
		if !bytes.Equal(got, want) {
			t.Errorf("retarget changed more than the model:\ngot  %.2000s\nwant %.2000s", got, want)
		}
		return
	}
	g, _ := parse(got).v.(map[string]any)
	w, _ := parse(want).v.(map[string]any)
	if !(tree{g}).at("stream_options", "include_usage").isTrue() {
		t.Errorf("retarget does not ask for usage: %s", got)
	}
	delete(g, "stream_options")
	delete(w, "stream_options")
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("retarget (-want +got):\n%s", diff)
	}
}

func runAnswer(t *testing.T, f wire.Format, u wire.Upstream, r *Recording) {
	want := FactsOf(f.Format(), false, r.Answer)
	ev, err := u.ReadAnswer(r.Answer, false)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ev.Raw, r.Answer) || ev.Format != f.Format() {
		t.Error("the event does not hold the body")
	}
	var a llm.Answer
	a.Add(ev)
	compare(t, want, &a)

	light, err := u.ReadAnswer(r.Answer, true)
	if err != nil {
		t.Fatalf("raw: %v", err)
	}
	if !bytes.Equal(light.Raw, r.Answer) {
		t.Error("raw: the event does not hold the body")
	}
	if diff := cmp.Diff(want.Usage, CountsOf(light.Usage)); diff != "" {
		t.Errorf("raw: usage (-recorded +read):\n%s", diff)
	}

	out, err := f.Answer(callFor(f, r), &a)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range Differ(f.Format(), want, FactsOf(f.Format(), false, out)) {
		t.Errorf("written again: %s", d)
	}
	if diff := cmp.Diff(substance(f.Format(), parse(r.Answer)), substance(f.Format(), parse(out))); diff != "" {
		t.Errorf("read and written again (-recorded +written):\n%s", diff)
	}
}

// compare holds what was read into the vocabulary against the recording.
func compare(t *testing.T, want Facts, a *llm.Answer) {
	t.Helper()
	got := Told(a)
	for _, d := range Differ(llm.OpenAIChat, Facts{Choices: want.Choices}, Facts{Choices: got.Choices}) {
		t.Error(d)
	}
	if diff := cmp.Diff(want.Usage, got.Usage); diff != "" {
		t.Errorf("usage (-recorded +read):\n%s", diff)
	}
	for i := range want.Choices {
		if diff := cmp.Diff(want.Choices[i].Proofs, got.Choices[i].Proofs); diff != "" {
			t.Errorf("choice %d: signatures (-recorded +read):\n%s", i, diff)
		}
	}
}

// callFor is the call that a recording answers.
func callFor(f wire.Format, r *Recording) *llm.Call {
	if len(r.Ask) > 0 {
		if call, err := Open(f, r); err == nil {
			call.WantUsage = true
			return call
		}
	}
	return &llm.Call{ID: "req_test", Format: f.Format(), Op: llm.OpChat, Model: "m", Stream: r.Stream, WantUsage: true, Choices: 1, Query: r.URL.Query()}
}

// Gather reads a stream to its end: the sum, the bytes, and the error that ended it (nil for io.EOF).
func Gather(s llm.Stream) (*llm.Answer, []byte, error) {
	defer s.Close()
	var a llm.Answer
	var raw []byte
	for n := 0; ; n++ {
		ev, err := s.Next()
		if err == io.EOF {
			return &a, raw, nil
		}
		if err != nil {
			return &a, raw, err
		}
		if n > 1e6 {
			return &a, raw, errors.New("wiretest: the stream does not end")
		}
		raw = append(raw, ev.Raw...)
		a.Add(ev)
	}
}

func runStream(t *testing.T, f wire.Format, u wire.Upstream, r *Recording) {
	want := FactsOf(f.Format(), true, r.Answer)
	a, _, err := Gather(u.ReadStream(body(r.Answer), false))
	light, lightRaw, lightErr := Gather(u.ReadStream(body(r.Answer), true))
	if want.Failed {
		var e *llm.Error
		if !errors.As(err, &e) || !errors.As(lightErr, &e) {
			t.Errorf("the stream carries an error, but was read to %v, raw %v", err, lightErr)
		}
		return
	}
	if err != nil || lightErr != nil {
		t.Fatalf("read: %v, raw %v", err, lightErr)
	}
	if array := bytes.HasPrefix(bytes.TrimSpace(r.Answer), []byte("[")); array { // passed on as events, which is what clients take
		for _, d := range Differ(f.Format(), want, FactsOf(f.Format(), true, lightRaw)) {
			t.Errorf("the events of the array: %s", d)
		}
	} else if !bytes.Equal(lightRaw, r.Answer) {
		t.Errorf("the events do not add up to the bytes that came: %d of %d bytes", len(lightRaw), len(r.Answer))
	}
	compare(t, want, a)
	if diff := cmp.Diff(want.Usage, CountsOf(light.Usage)); diff != "" {
		t.Errorf("raw: usage (-recorded +read):\n%s", diff)
	}
	t.Run("chunks", func(t *testing.T) { runChunks(t, u, r, a) })
	t.Run("written again", func(t *testing.T) { runRewrite(t, f, u, r, want, a) })
	t.Run("cut", func(t *testing.T) { runCuts(t, f, u, r) })
	t.Run("used up", func(t *testing.T) { runBudget(t, f, u, r) })
}

func body(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

var sameAnswer = cmp.Options{cmpopts.IgnoreUnexported(llm.Choice{}), cmpopts.EquateEmpty()}

// runChunks cuts the same bytes otherwise: nothing may change.
func runChunks(t *testing.T, u wire.Upstream, r *Recording, want *llm.Answer) {
	forms := map[string]io.Reader{
		"a byte at a time": iotest.OneByteReader(bytes.NewReader(r.Answer)),
		"halves":           iotest.HalfReader(bytes.NewReader(r.Answer)),
		"error with data":  iotest.DataErrReader(bytes.NewReader(r.Answer)),
	}
	if bytes.Contains(r.Answer, []byte("data:")) {
		lf := bytes.ReplaceAll(r.Answer, []byte("\r\n"), []byte("\n"))
		forms["LF"] = bytes.NewReader(lf)
		forms["CRLF"] = bytes.NewReader(bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n")))
		forms["BOM"] = bytes.NewReader(append([]byte("\xef\xbb\xbf"), r.Answer...))
		forms["comments"] = bytes.NewReader(bytes.ReplaceAll(lf, []byte("\n\n"), []byte("\n\n: still here\n\n")))
		forms["no last blank line"] = bytes.NewReader(bytes.TrimRight(lf, "\n"))
	}
	for name, src := range forms {
		got, _, err := Gather(u.ReadStream(io.NopCloser(src), false))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, sameAnswer); diff != "" {
			t.Errorf("%s (-whole +cut):\n%s", name, diff)
		}
	}
}

// Rewrite reads a stream in one format and writes it in another; it stops after most events (all: -1).
func Rewrite(call *llm.Call, s llm.Stream, w wire.Writer, most int, ping bool) ([]byte, error) {
	defer s.Close()
	var out []byte
	for n := 0; n != most; n++ {
		ev, err := s.Next()
		if err == io.EOF {
			return w.End(out), nil
		}
		if err != nil {
			return w.Fail(out, llm.AsError(err), call.ID, false), err
		}
		if ev.Asked && !call.WantUsage {
			continue
		}
		if out, err = w.Event(out, ev); err != nil {
			return out, err
		}
		if ping {
			out = w.Ping(out)
		}
	}
	return out, nil
}

func runRewrite(t *testing.T, f wire.Format, u wire.Upstream, r *Recording, want Facts, read *llm.Answer) {
	for _, ping := range []bool{false, true} {
		call := callFor(f, r)
		out, err := Rewrite(call, u.ReadStream(body(r.Answer), false), f.Writer(call), -1, ping)
		if err != nil {
			t.Fatal(err)
		}
		got := FactsOf(f.Format(), true, out)
		if !got.Ended {
			t.Errorf("pings %t: the format's own end is missing", ping)
		}
		for _, d := range Differ(f.Format(), want, got) {
			t.Errorf("pings %t: %s", ping, d)
		}
		for i := range want.Choices {
			if diff := cmp.Diff(want.Choices[i].Proofs, got.Choices[i].Proofs); diff != "" && len(got.Choices) > i {
				t.Errorf("choice %d: signatures (-recorded +written):\n%s", i, diff)
			}
		}
		a, _, err := Gather(u.ReadStream(body(out), false))
		if err != nil {
			t.Fatalf("pings %t: read what was written: %v\n%.3000s", ping, err, out)
		}
		for _, d := range Differ(f.Format(), want, Told(a)) {
			t.Errorf("pings %t: read again: %s", ping, d)
		}
		if diff := cmp.Diff(substanceOf(read), substanceOf(a), sameAnswer); diff != "" {
			t.Errorf("pings %t: what only this format knows (-recorded +read again):\n%s", ping, diff)
		}
	}
}

// substanceOf leaves out the names of an answer, and where its own members stand: Azure opens with a chunk that has
// nothing but some of them, for which the writer has no names yet.
func substanceOf(a *llm.Answer) *llm.Answer {
	return &llm.Answer{Format: a.Format, Choices: a.Choices, Usage: a.Usage, Extra: a.Extra.Join(a.Head.Extra)}
}

// complete says that a stream cut here is whole in its format's own terms.
func complete(f llm.Format, prefix []byte) bool {
	facts := FactsOf(f, true, prefix)
	if facts.Failed {
		return false
	}
	if f == llm.OpenAIChat && !facts.Ended && len(facts.Choices) > 0 {
		for _, c := range facts.Choices {
			if c.Stop == "" {
				return false
			}
		}
		return true
	}
	return facts.Ended
}

// runCuts ends the stream at many places: wherever it is not complete, the reader and the client must know.
func runCuts(t *testing.T, f wire.Format, u wire.Upstream, r *Recording) {
	places := []int{0, 1}
	for i := 1; i < 40; i++ {
		places = append(places, len(r.Answer)*i/40)
	}
	for at, n := 0, 0; n < 20; n++ { // and around the ends of frames
		i := bytes.Index(r.Answer[at:], []byte("\n"))
		if i < 0 {
			break
		}
		at += i + 1
		places = append(places, at-1, at, min(at+1, len(r.Answer)))
	}
	cuts := 0
	for _, at := range places {
		prefix := r.Answer[:at]
		if complete(f.Format(), prefix) {
			continue
		}
		cuts++
		for _, raw := range []bool{false, true} {
			_, _, err := Gather(u.ReadStream(body(prefix), raw))
			var e *llm.Error
			if !errors.As(err, &e) {
				t.Errorf("cut at byte %d, raw %t: the stream ends as if well: %v", at, raw, err)
			}
		}
		for _, raw := range []bool{false, true} { // as the gateway passes it on, by either way
			call := callFor(f, r)
			rec := httptest.NewRecorder()
			sent, err := wire.WriteReply(t.Context(), rec, f, call, &llm.Reply{Stream: u.ReadStream(body(prefix), raw)}, raw, wire.WriteLimits{})
			if !sent.Began.IsZero() && err != nil {
				checkFailed(t, f, u, fmt.Sprintf("cut at byte %d, passed on, raw %t", at, raw), rec.Body.Bytes())
			}
		}
	}
	if cuts < 10 {
		t.Errorf("only %d cuts were tried", cuts)
	}
}

func checkFailed(t *testing.T, f wire.Format, u wire.Upstream, what string, out []byte) {
	t.Helper()
	if got := FactsOf(f.Format(), true, out); !got.Failed || got.Ended && f.Format() != llm.GeminiGenerate {
		t.Errorf("%s: the client's stream does not end as a failure (failed %t, ended %t):\n%.2000s", what, got.Failed, got.Ended, out)
	}
	_, _, err := Gather(u.ReadStream(body(out), false))
	if e := (*llm.Error)(nil); !errors.As(err, &e) {
		t.Errorf("%s: our own reader takes it for whole: %v", what, err)
	}
}

// kindsByStatus are what a refusal means when its body says nothing.
var kindsByStatus = map[int]llm.Kind{
	400: llm.KindInvalid, 401: llm.KindUpstreamCreds, 402: llm.KindUpstreamCreds, 403: llm.KindUpstreamCreds,
	408: llm.KindUpstream, 409: llm.KindInvalid, 413: llm.KindTooLarge, 422: llm.KindInvalid, 429: llm.KindRateLimited, 500: llm.KindUpstream,
	502: llm.KindUpstream, 503: llm.KindOverloaded, 504: llm.KindUpstreamTimeout, 529: llm.KindOverloaded,
}

// kindsBySlot are the recordings whose bodies say more than their status.
var kindsBySlot = map[string]llm.Kind{
	"905258435460": llm.KindModelNotFound, // OpenAI Responses: a model that is not there, told with 400
	"161688895080": llm.KindModelNotFound, // Groq
	"0efa749501db": llm.KindModelNotFound, // OpenAI embeddings
	"c98811ca432d": llm.KindContextLength, // OpenRouter
	"03354a21a50d": llm.KindUpstreamCreds, // xAI: a wrong key, told with 400
	"30126fa8e7b6": llm.KindContextLength, // Anthropic: prompt is too long
}

func wantKind(r *Recording) llm.Kind {
	if k, ok := kindsBySlot[r.ID]; ok {
		return k
	}
	if k := r.Header.Get("Kind"); k != "" { // a fixture says it itself
		return llm.Kind(k)
	}
	return kindsByStatus[r.Status]
}

func runRefusal(t *testing.T, f wire.Format, u wire.Upstream, r *Recording) {
	e := u.ReadError(r.Status, r.Header, r.Answer)
	if want := wantKind(r); e.Kind != want {
		t.Errorf("kind: got %s, want %s", e.Kind, want)
	}
	if told := r.Header.Get("Retry-After") != "" || bytes.Contains(r.Answer, []byte("retryDelay")) || r.Slot == "or-4xx"; r.Status == 429 && told && e.RetryAfter == 0 {
		t.Logf("no wait read of %v", r.Header)
	}
	if e.Kind == llm.KindInvalid && len(e.Msg) < 5 {
		t.Errorf("the useful part of the message is gone: %q", e.Msg)
	}
	CheckError(t, f, e)
}

// secrets must not come through from a provider's error.
var secrets = []string{"sk-", "org-", "proj_", "AIza", "https://", "user_XX", "req_0"}

// CheckError looks at the body of an error as a client gets it.
func CheckError(t *testing.T, f wire.Format, e *llm.Error) {
	t.Helper()
	status, out := f.Error(e, "req_test")
	b := parse(out)
	if n, _ := b.at("status").num(); int(n) != status || status < 400 {
		t.Errorf("status %d, in the body %d", status, n)
	}
	for _, name := range []string{"title", "detail", "instance", "code"} {
		if b.at(name).str() == "" {
			t.Errorf("problem details without %s: %s", name, out)
		}
	}
	if b.at("instance").str() != "req_test" || b.at("error", "message").str() == "" {
		t.Errorf("instance or the vendor's message is missing: %s", out)
	}
	if (e.Kind == llm.KindUpstreamCreds) && status != http.StatusBadGateway {
		t.Errorf("an upstream's refusal of our credential became %d", status)
	}
	for _, s := range secrets {
		if bytes.Contains(out, []byte(s)) {
			t.Errorf("the client is shown %q: %s", s, out)
		}
	}
}

func runStrangeRefusals(t *testing.T, f wire.Format, u wire.Upstream) {
	bodies := []string{"", "null", "{}", "[]", "[{}]", `"no"`, `{"error":null}`, `{"error":"no"}`, `{"error":[1]}`, `{"message":3}`, "<html><b>Bad gateway</b></html>", "\x00\xff", `{"error":{"message":`}
	for status, want := range maps.All(kindsByStatus) {
		for _, b := range bodies {
			e := u.ReadError(status, http.Header{}, []byte(b))
			if e == nil || e.Kind != want {
				t.Errorf("%d %q: got %v, want %s", status, b, e, want)
				continue
			}
			CheckError(t, f, e)
		}
	}
}

// runStrangeAnswers reads what is no answer: an error, never a panic and never a success.
func runStrangeAnswers(t *testing.T, u wire.Upstream) {
	for _, b := range []string{"", " ", "null", "[]", "1", `"x"`, "<html>", `{"a":`, "{} {}", `{"error":{"message":"m","type":"t","code":500}}`, `{"type":"error","error":{"type":"api_error","message":"m"}}`} {
		for _, raw := range []bool{false, true} {
			_, err := u.ReadAnswer([]byte(b), raw)
			if e := (*llm.Error)(nil); !errors.As(err, &e) {
				t.Errorf("answer %q, raw %t: got %v, want an *llm.Error", b, raw, err)
			}
			if b == "[]" && u.Format() == llm.GeminiGenerate {
				continue // an empty array is a stream that has not begun, see below
			}
			_, _, err = Gather(u.ReadStream(body([]byte(b)), raw))
			if e := (*llm.Error)(nil); !errors.As(err, &e) {
				t.Errorf("stream %q, raw %t: got %v, want an *llm.Error", b, raw, err)
			}
		}
	}
}
