package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"sluice/internal/guard"
	"sluice/internal/idempotency"
	"sluice/internal/llm"
)

// ann is a detector that knows one name.
type ann struct{ err error }

func (ann) Name() string { return "ann" }

func (a ann) Detect(_ context.Context, texts []string, found func(int, guard.Finding)) error {
	for i, text := range texts {
		if at := strings.Index(text, "ann"); at >= 0 {
			found(i, guard.Finding{Type: "NAME", Start: at, End: at + len("ann")})
		}
	}
	return a.err
}

// guardedHouse is a house whose upstream repeats the request that it got, decoded as an answer.
func guardedHouse(t *testing.T, o guard.Options) (*house, *[]string) {
	t.Helper()
	got := new([]string)
	h := newHouse(func(_ context.Context, a *llm.Attempt) (llm.Stream, error) {
		body := string(a.Body.Raw())
		*got = append(*got, body)
		if a.Raw {
			return &script{frames: []string{whole}, err: io.EOF}, nil
		}
		part := &llm.Part{Text: body}
		return &one{ev: llm.Event{Raw: []byte(whole), Format: llm.OpenAIChat, Output: true, Head: &llm.Head{ID: "1"}, Delta: []llm.Delta{{Part: part, Stop: llm.StopEnd}}}}, nil
	})
	o.Name, o.Always = "g", true
	if o.Detectors == nil {
		o.Detectors = []guard.Detector{ann{}}
	}
	var err error
	if h.state.Guards, err = guard.New([]guard.Options{o}, nil); err != nil {
		t.Fatal(err)
	}
	return h, got
}

func asks(text string) client {
	return client{body: &body{Reader: strings.NewReader(fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":%q}]}`, text))}}
}

func TestGuards(t *testing.T) {
	const sent = `<NAME_1>`
	for _, tt := range []struct {
		name    string
		o       guard.Options
		status  int
		sent    string // to the upstream; "": nothing
		tells   string
		outcome llm.GuardOutcome
	}{
		{"restore", guard.Options{Mode: guard.Restore}, 200, sent, "dear ann", llm.GuardMasked},
		{"mask", guard.Options{Mode: guard.Mask}, 200, sent, "hi", llm.GuardMasked},
		{"observe", guard.Options{Mode: guard.Observe}, 200, "dear ann", "hi", llm.GuardObserved},
		{"block", guard.Options{Mode: guard.Block}, 400, "", "guardrail_blocked", llm.GuardBlocked},
		{"a failure", guard.Options{Mode: guard.Mask, Detectors: []guard.Detector{ann{errors.New("ann is broken")}}}, 200, sent, "hi", llm.GuardOpen},
		{"a failure, enforced", guard.Options{Mode: guard.Mask, Enforce: true, Detectors: []guard.Detector{ann{errors.New("broken")}}}, 400, "", "guardrail_blocked", llm.GuardClosed},
		{"answers", guard.Options{Answers: guard.Block}, 400, "dear ann", "guardrail_blocked", llm.GuardBlocked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, got := guardedHouse(t, tt.o)
			rec := h.serve(t, asks("dear ann"))
			if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.tells) {
				t.Errorf("%d %s, want %d with %s", rec.Code, rec.Body, tt.status, tt.tells)
			}
			if all := strings.Join(*got, ""); (tt.sent == "") != (all == "") || !strings.Contains(all, tt.sent) || tt.sent == sent && strings.Contains(all, "ann") {
				t.Errorf("sent %s", all)
			}
			if c := h.entries[0].Coverage; c == nil || c.Outcome != tt.outcome || c.Guards != "g" || c.Seen == 0 {
				t.Errorf("coverage %+v, want %s", c, tt.outcome)
			}
		})
	}
}

// An answer that is given again is what the client got, and no guard or upstream is asked for it.
func TestGuardsOnce(t *testing.T) {
	h, got := guardedHouse(t, guard.Options{Mode: guard.Restore})
	keys := idempotency.New(idempotency.Options{Store: idempotency.NewMemory(1<<20, nil)})
	defer keys.Close()
	h.state.Once = keys
	call := func() string {
		c := asks("dear ann")
		c.header = map[string][]string{"Idempotency-Key": {"k"}}
		return h.serve(t, c).Body.String()
	}
	first, again := call(), call()
	if first != again || !strings.Contains(first, "dear ann") || len(*got) != 1 {
		t.Errorf("%s, then %s, in %d calls", first, again, len(*got))
	}
}
