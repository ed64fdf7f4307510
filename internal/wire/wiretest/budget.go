package wiretest

import (
	"bytes"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// until is a stream that a budget ends after so many events, as the ledger's meter does: what was used comes, then
// the error.
type until struct {
	llm.Stream
	left int
	told bool
}

func (s *until) Next() (*llm.Event, error) {
	if s.left--; s.left >= 0 {
		return s.Stream.Next()
	}
	if !s.told {
		s.told = true
		return &llm.Event{Format: "", Usage: &llm.Usage{Input: llm.Tokens(7000), Output: llm.Tokens(7)}}, nil
	}
	return nil, llm.Errorf(llm.KindBudget, "the budget month is used up")
}

// runBudget lets a budget end the stream before each of its first events with output and some later ones. The client's
// answer must be one that ended for its length, and say why.
func runBudget(t *testing.T, f wire.Format, u wire.Upstream, r *Recording) {
	for _, raw := range []bool{false, true} {
		var places []int
		s := u.ReadStream(body(r.Answer), raw)
		for n := 0; ; n++ {
			ev, err := s.Next()
			if err != nil {
				s.Close()
				break
			}
			if ev.Output && n > 0 {
				places = append(places, n)
			}
		}
		for i := 0; i < len(places); i += 1 + i/8 {
			budgetAt(t, f, u, r, places[i], raw)
		}
	}
}

func budgetAt(t *testing.T, f wire.Format, u wire.Upstream, r *Recording, n int, raw bool) {
	t.Helper()
	call := callFor(f, r)
	rec := httptest.NewRecorder()
	reply := &llm.Reply{Stream: &until{Stream: u.ReadStream(body(r.Answer), raw), left: n}}
	_, err := wire.WriteReply(t.Context(), rec, f, call, reply, raw, wire.WriteLimits{})
	if llm.AsError(err).Kind != llm.KindBudget {
		t.Errorf("after %d events, raw %t: %v", n, raw, err)
	}
	out := rec.Body.Bytes()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("after %d events, raw %t: "+format+"\n%.3000s", append(append([]any{n, raw}, args...), out)...)
	}
	given, _, _ := Gather(&until{Stream: u.ReadStream(body(r.Answer), false), left: n, told: true})
	want, got := Told(given), FactsOf(f.Format(), true, out)
	if got.Failed || !got.Ended {
		fail("the stream does not end as an answer does (failed %t, ended %t)", got.Failed, got.Ended)
		return
	}
	for len(want.Choices) < int(max(call.Choices, 1)) {
		want.choice(int64(len(want.Choices)))
	}
	open := false
	for i, w := range want.Choices {
		open = open || w.Stop == ""
		g := *got.choice(int64(i))
		if w.Text+w.Refusal != g.Text+g.Refusal {
			fail("choice %d: got %q, want %q", i, g.Text+g.Refusal, w.Text+w.Refusal)
		}
		if w.Stop == "" && g.Stop != "length" || w.Stop != "" && g.Stop == "length" && len(want.Choices) > 1 {
			fail("choice %d: it stops for %q", i, g.Stop)
		}
	}
	if in, o := got.Usage["input"], got.Usage["output"]; in != 7000 || o != 7 {
		fail("usage is %d and %d", in, o)
	}
	if open && !bytes.Contains(out, []byte(`"`+wire.ProblemMember+`":{"type":"urn:sluice:error:budget_exceeded"`)) {
		fail("the problem is not told")
	}
	// Azure's first frame has no name: it gets one of ours before the upstream has told its own.
	if names := namesOf(out); len(names) > 1 && !(nameless(r.Answer) && len(names) == 2) {
		fail("the answer has several names: %v", names)
	}
	if s := string(out); strings.Count(s, `"type":"content_block_start"`) != strings.Count(s, `"type":"content_block_stop"`) {
		fail("a block is left open")
	}
	if _, _, err := Gather(u.ReadStream(io.NopCloser(bytes.NewReader(out)), false)); err != nil {
		fail("our own reader takes it for broken: %v", err)
	}
}

// nameless tells whether an answer's first frame gives it no name.
func nameless(answer []byte) bool {
	all := frames(answer)
	return len(all) > 0 && len(namesOf(answer)) > 0 && parse(all[0].data).at("id").str() == ""
}

// namesOf are the ids that the frames of an answer give it. Some vendors' first ones give none.
func namesOf(out []byte) (names []string) {
	for _, fr := range frames(out) {
		t := parse(fr.data)
		for _, v := range []tree{t.at("id"), t.at("response", "id"), t.at("responseId")} {
			if id := v.str(); id != "" && !slices.Contains(names, id) {
				names = append(names, id)
			}
		}
	}
	return names
}
