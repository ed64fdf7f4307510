package responses_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

// What the scan takes, Decode reads or refuses with pointers, and what it reads it can write and read again.
func FuzzDecode(f *testing.F) {
	for _, r := range wiretest.All(f) {
		if r.Format() == llm.OpenAIResponses && len(r.Ask) > 0 {
			f.Add(r.Ask)
		}
	}
	f.Add([]byte(`{"model":"m","input":[{"type":"reasoning","id":"rs_sluice_x","summary":[],"encrypted_content":"sluice.next.gemini.a"},{"type":"function_call","call_id":"c","name":"f","arguments":""},{"type":"function_call_output","call_id":"c","output":[]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := wire.Scan(responses.Responses.Shape(), body)
		if err != nil {
			return
		}
		_ = responses.Responses.Open(&llm.Call{}, nil, s)
		p, err := responses.Responses.Decode(body)
		if err != nil {
			var e *llm.Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		e := &llm.Encoding{Model: "m"}
		out, err := responses.Responses.Encode(p, e)
		if err != nil {
			t.Fatalf("decoded but not encoded: %v", err)
		}
		again, err := responses.Responses.Decode(out)
		if err != nil {
			t.Fatalf("encoded but not decoded: %v\n%s", err, out)
		}
		twice, err := responses.Responses.Encode(again, &llm.Encoding{Model: "m"})
		if err != nil || !bytes.Equal(out, twice) {
			t.Fatalf("a second round differs: %v\n%s\n%s", err, out, twice)
		}
	})
}

// A stream reads to the same answer however it is cut, ends well or with an *llm.Error, and raw mode gives
// the bytes that came.
func FuzzStream(f *testing.F) {
	for _, r := range wiretest.All(f) {
		if r.Format() == llm.OpenAIResponses && r.Stream && len(r.Answer) < 20000 {
			f.Add(r.Answer)
		}
	}
	f.Add([]byte(sse(created + "\n" + completed(callItem))))
	f.Fuzz(func(t *testing.T, body []byte) {
		open := func(r io.Reader, raw bool) llm.Stream { return responses.Responses.ReadStream(io.NopCloser(r), raw) }
		one, _, err := wiretest.Gather(open(bytes.NewReader(body), false))
		two, _, err2 := wiretest.Gather(open(iotest.OneByteReader(bytes.NewReader(body)), false))
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, byte by byte %v", err, err2)
		}
		if diff := cmp.Diff(one, two, sameSaid); diff != "" {
			t.Fatal(diff)
		}
		var e *llm.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("unclassified: %v", err)
		}
		_, raw, err := wiretest.Gather(open(bytes.NewReader(body), true))
		if err == nil && !bytes.HasPrefix(append(body, "\n\n"...), raw) {
			t.Fatal("raw mode changed the bytes")
		}
		if w := responses.Responses.Writer(newCall(`{"model":"m","input":"x"}`)); w != nil {
			out, err := wiretest.Rewrite(newCall(`{"model":"m","input":"x"}`), open(bytes.NewReader(body), false), w, -1, false)
			if err != nil {
				return
			}
			back, _, err := wiretest.Gather(open(bytes.NewReader(out), false))
			if err != nil {
				t.Fatalf("what was written cannot be read: %v\n%s", err, out)
			}
			if len(one.Choices) > 0 && len(back.Choices[0].Parts) < len(one.Choices[0].Parts) {
				t.Fatalf("%d parts written as %d\n%s", len(one.Choices[0].Parts), len(back.Choices[0].Parts), out)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, r := range wiretest.All(f) {
		if r.Format() == llm.OpenAIResponses && !r.Stream {
			f.Add(r.Answer)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, raw := range []bool{false, true} {
			ev, err := responses.Responses.ReadAnswer(body, raw)
			var e *llm.Error
			if err != nil {
				if !errors.As(err, &e) {
					t.Fatalf("unclassified: %v", err)
				}
				continue
			}
			var a llm.Answer
			a.Add(ev)
			if _, err := responses.Responses.Answer(newCall(`{"model":"m","input":"x"}`), &a); err != nil {
				t.Fatal(err)
			}
		}
	})
}
