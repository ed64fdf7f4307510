package anthropic

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// FuzzDecode: what the scan lets through is decoded and encoded without loss, or refused with a reason.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"x"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := wire.Scan(Messages.Shape(), body)
		if err != nil {
			_, _ = Messages.Decode(body) // must not panic
			return
		}
		_ = checkOrder(s.Notes)
		out := bytes.Join(Messages.Retarget(body, &s.Marks, &llm.Encoding{Model: "other"}), nil)
		if _, err := wire.Scan(Messages.Shape(), out); err != nil {
			t.Fatalf("retargeted: %s\n%s", explain(err), out)
		}
		p, err := Messages.Decode(body)
		if err != nil {
			return
		}
		e := &llm.Encoding{Model: "m"}
		again, err := Messages.Encode(p, e)
		if err != nil || len(e.Lost) > 0 {
			t.Fatalf("encode: %v, lost %v", err, e.Lost)
		}
		q, err := Messages.Decode(again)
		if err != nil {
			t.Fatalf("decode again: %s\n%s", explain(err), again)
		}
		once, twice := encodeAgain(t, p), encodeAgain(t, q)
		if !bytes.Equal(once, twice) {
			t.Fatalf("not stable:\n%s\n%s", once, twice)
		}
	})
}

func encodeAgain(t *testing.T, p llm.Payload) []byte {
	t.Helper()
	out, err := Messages.Encode(p, &llm.Encoding{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzReadStream: any chunking gives the same events, and raw mode the same usage and end.
func FuzzReadStream(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(sseOf(startFrame, textFrame, `{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","input":{}}}`, endFrame, `{"type":"message_stop"}`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		read := func(r io.Reader, raw bool) (*llm.Answer, bool) {
			var a llm.Answer
			for ev, err := range llm.All(Messages.ReadStream(io.NopCloser(r), raw)) {
				if err != nil {
					return &a, false
				}
				a.Add(ev)
			}
			return &a, true
		}
		whole, ok := read(bytes.NewReader(text), false)
		pieces, okPieces := read(iotest.OneByteReader(bytes.NewReader(text)), false)
		if diff := cmp.Diff(whole, pieces, sameMeaning); diff != "" || ok != okPieces {
			t.Fatalf("chunking changes the answer, %v %v (-whole +pieces):\n%s", ok, okPieces, diff)
		}
		if raw, okRaw := read(bytes.NewReader(text), true); ok && okRaw {
			if diff := cmp.Diff(whole.Usage, raw.Usage, sameMeaning); diff != "" {
				t.Fatalf("usage (-decoded +raw):\n%s", diff)
			}
		} else if ok {
			t.Fatal("raw mode fails where decoding does not")
		}
	})
}

// FuzzReadAnswer: whatever is read can be written for a client and read again.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`{"type":"message","id":"msg_1","model":"m","role":"assistant","content":[{"type":"text","text":"x"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ev, err := Messages.ReadAnswer(body, false)
		if err != nil {
			return
		}
		var a llm.Answer
		a.Add(ev)
		out, err := Messages.Answer(&llm.Call{ID: "1", Model: "m"}, &a)
		if err != nil {
			return // a medium
		}
		if _, err := Messages.ReadAnswer(out, false); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := Messages.ReadAnswer(body, true); err != nil {
			t.Fatalf("raw mode fails where decoding does not: %v", err)
		}
	})
}
