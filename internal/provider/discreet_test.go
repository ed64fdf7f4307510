package provider

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// S33: what an upstream repeats of the request's secrets is taken out, whatever their form; other words stay.
func TestToldIsNotRepeated(t *testing.T) {
	told := tells{"no-known-form-0123", http.Header{
		"X-Org": {"Token abcdefgh12345678; v=1"}, "X-Short": {"v1"}, "User-Agent": {"sluice-agent"}, "Content-Type": {"application/json"},
	}}
	for text, want := range map[string]string{
		"Incorrect API key: no-known-form-0123.":          "Incorrect API key: [removed].",
		"org abcdefgh12345678 is over its limit":          "org [removed] is over its limit",
		"X-Org was Token abcdefgh12345678; v=1":           "X-Org was [removed]",
		"v1 of sluice-agent does not take that":           "v1 of sluice-agent does not take that",
		"no-known-form-0123no-known-form-0123 twice":      "[removed][removed] twice",
		"application/json is not what was asked for here": "application/json is not what was asked for here",
	} {
		if got := string(told.hide([]byte(text))); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		e := llm.AsError(told.hidden(&llm.Error{Kind: llm.KindInvalid, Msg: text, Code: text, Param: text}))
		if e.Msg != want || e.Code != want || e.Param != want || e.Kind != llm.KindInvalid {
			t.Errorf("got %+v, want %q", e, want)
		}
	}
	if err := told.hidden(io.EOF); err != io.EOF {
		t.Errorf("another error became %v", err)
	}
	shared := &llm.Error{Kind: llm.KindUpstream, Msg: "no-known-form-0123"}
	if err := told.hidden(shared); err == nil || shared.Msg != "no-known-form-0123" {
		t.Error("an error that others may have was changed")
	}
	s := &discreet{broken{shared}, told}
	if _, err := s.Next(); err == nil || strings.Contains(err.Error(), "no-known") || !errors.Is(err, shared) && llm.AsError(err).Kind != llm.KindUpstream {
		t.Errorf("a stream tells %v", err)
	}
}

type broken struct{ err error }

func (b broken) Next() (*llm.Event, error) { return nil, b.err }
func (broken) Close() error                { return nil }
