package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/wiretest"
)

// same compares hub values: raw JSON by meaning, and nothing that only says where a value stood.
var same = cmp.Options{
	cmp.Transformer("json", func(r llm.Raw) any {
		var v any
		if len(r) == 0 {
			return nil
		}
		if err := json.Unmarshal(r, &v); err != nil {
			return string(r)
		}
		return v
	}),
	cmpopts.IgnoreFields(llm.Message{}, "At"), cmpopts.IgnoreFields(llm.Part{}, "At"),
	cmpopts.IgnoreFields(llm.Tool{}, "At"), cmpopts.IgnoreFields(llm.EmbedInput{}, "At"),
	cmpopts.IgnoreUnexported(llm.Choice{}),
}

// recordings are the recorded exchanges of one format.
func recordings(t testing.TB, f llm.Format) []*wiretest.Recording {
	t.Helper()
	var out []*wiretest.Recording
	for _, r := range wiretest.Recordings(t) {
		if r.Format() == f {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		t.Skip("SKIPPED: the recordings of real traffic are not here")
	}
	return out
}

// scan is a scan that must succeed.
func scan(t testing.TB, f wire.Format, body []byte) *wire.Scanned {
	t.Helper()
	s, err := wire.Scan(f.Shape(), body)
	if err != nil {
		t.Fatalf("scan: %v\n%+v", err, llm.AsError(err).Problems)
	}
	return s
}

// A told is what a stream said: the sum of its events, their bytes, and how it ended.
type told struct {
	Answer llm.Answer
	Raw    []byte
	Events []string // one letter an event: what it holds
	Err    error
}

// listen reads a stream to its end.
func listen(s llm.Stream) told {
	var out told
	defer s.Close()
	for {
		ev, err := s.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			out.Err = err
			return out
		}
		out.Raw = append(out.Raw, ev.Raw...)
		out.Answer.Add(ev)
		kind := ""
		for _, k := range []struct {
			yes  bool
			name string
		}{{ev.Head != nil, "H"}, {len(ev.Delta) > 0, "D"}, {ev.Output, "O"}, {ev.Usage != nil, "U"}, {ev.Asked, "A"}, {ev.Raw == nil, "-"}} {
			if k.yes {
				kind += k.name
			}
		}
		out.Events = append(out.Events, kind)
	}
}

// body is a stream's source that gives out n bytes at a time; 0: as much as is asked for.
func body(data []byte, n int) io.ReadCloser {
	return io.NopCloser(&slow{data, n})
}

type slow struct {
	data []byte
	n    int
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	if s.n > 0 && len(p) > s.n {
		p = p[:s.n]
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

func kindOf(err error) llm.Kind {
	var e *llm.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func join(pieces [][]byte) []byte { return bytes.Join(pieces, nil) }
