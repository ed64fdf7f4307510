package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
	"sluice/internal/wire/wiretest"
)

// Each file of testdata/stream is a stream as some vendor sends it, what is read from it, and what a chat
// client of a translated call gets.
func TestStreams(t *testing.T) {
	wiretest.Golden(t, "testdata/stream/*.txtar", func(t *testing.T, name string, a *txtar.Archive) []txtar.File {
		in := a.Files[0].Data
		if !strings.HasSuffix(name, "newline") && !bytes.HasSuffix(in, []byte("\n\n")) && a.Files[0].Name == "in.sse" {
			in = bytes.TrimSuffix(in, []byte("\n"))
		}
		checkChunkings(t, in)
		checkChunkings(t, bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n")))
		checkChunkings(t, append([]byte("\xef\xbb\xbf"), in...))
		return []txtar.File{
			{Name: "read.txt", Data: []byte(describe(listen(Chat.ReadStream(body(in, 0), false))))},
			{Name: "raw.txt", Data: []byte(strings.Join(listen(Chat.ReadStream(body(in, 0), true)).Events, " ") + "\n")},
			{Name: "write.sse", Data: []byte(translated(t, in))},
		}
	})
}

// describe writes what was read for people: the kinds of events, the parts, the end.
func describe(x told) string {
	var b strings.Builder
	fmt.Fprintf(&b, "events %s\n", strings.Join(x.Events, " "))
	a := &x.Answer
	fmt.Fprintf(&b, "head %s %s %d %s\n", a.Head.ID, a.Head.Model, a.Head.Created.Unix(), one(a.Head.Extra))
	for i := range a.Choices {
		c := &a.Choices[i]
		fmt.Fprintf(&b, "choice %d stop %q native %q%s%s\n", c.Index, c.Stop, c.Native, labelled(" logprobs ", c.Logprobs), one(c.Extra))
		for _, p := range c.Parts {
			fmt.Fprintf(&b, "  %s\n", describePart(&p))
		}
	}
	if a.Usage != nil {
		fmt.Fprintf(&b, "usage %s\n", one(a.Usage))
	}
	if a.Extra != nil {
		fmt.Fprintf(&b, "extra %s\n", one(a.Extra))
	}
	if x.Err != nil {
		var e *llm.Error
		errors.As(x.Err, &e)
		fmt.Fprintf(&b, "error %s %d %q code %q\n", e.Kind, e.Status, e.Msg, e.Code)
	}
	return b.String()
}

func one(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if string(b) == "null" {
		return ""
	}
	return string(b)
}

func labelled(label string, v llm.Raw) string {
	if v == nil {
		return ""
	}
	return label + string(v)
}

func describePart(p *llm.Part) string {
	sig := ""
	if p.Signature != nil {
		sig = fmt.Sprintf(" signed by %s %q", p.Signature.By, p.Signature.Value)
	}
	switch {
	case p.Reasoning != nil && p.Reasoning.Redacted != nil:
		return fmt.Sprintf("redacted %q%s", p.Reasoning.Redacted, sig)
	case p.Reasoning != nil:
		return fmt.Sprintf("reasoning %q%s", p.Reasoning.Text, sig)
	case p.Call != nil:
		return fmt.Sprintf("call %s %s(%s) custom %v%s", p.Call.ID, p.Call.Name, p.Call.Args, p.Call.Custom, sig)
	case p.Refusal != nil:
		return fmt.Sprintf("refusal %q", *p.Refusal)
	case p.Media != nil:
		return fmt.Sprintf("%s %s %q %s", p.Media.Kind, p.Media.Type, p.Media.Data, one(p.Media.Extra))
	case p.Foreign != nil:
		return "foreign " + string(p.Foreign)
	}
	return fmt.Sprintf("text %q%s %s", p.Text, sig, one(p.Citations))
}

// translated is what a chat client gets when the same events come from another format's reader.
func translated(t testing.TB, in []byte) string {
	t.Helper()
	s := Chat.ReadStream(body(in, 0), false)
	defer s.Close()
	w := Chat.Writer(&llm.Call{ID: "req_1", Model: "asked", WantUsage: true})
	var out []byte
	for {
		ev, err := s.Next()
		if err == io.EOF {
			return string(w.End(out))
		}
		if err != nil {
			return string(w.Fail(out, llm.AsError(err), "req_1", false))
		}
		ev.Format = "another.format"
		if ev.Head != nil {
			ev.Head.Extra = nil
		}
		if out, err = w.Event(out, ev); err != nil {
			t.Fatal(err)
		}
	}
}
