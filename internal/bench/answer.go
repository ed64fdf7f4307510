package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/go-json-experiment/json"
)

// checker decides whether an answer is the right one. The first right answer is remembered byte for byte: a gateway that
// passes bytes on is then checked by a comparison, and only one that writes its own is parsed each time.
type checker struct {
	want  expected
	right atomic.Pointer[[]byte]
}

// expected is what the upstream said.
type expected struct {
	stream bool
	text   string
	pieces int  // of text, in a stream
	usage  bool // a stream must report it, because the client asked; or must not
}

// check returns nil for a right answer.
func (k *checker) check(h head, body []byte) error {
	if h.status != 200 {
		return fmt.Errorf("status %d: %.200s", h.status, body)
	}
	if right := k.right.Load(); right != nil && bytes.Equal(*right, body) {
		return nil
	}
	verify := k.want.plain
	if k.want.stream {
		verify = k.want.events
	}
	if err := verify(body); err != nil {
		return err
	}
	kept := bytes.Clone(body)
	k.right.Store(&kept)
	return nil
}

type completion struct {
	Choices []struct {
		Message struct {
			Content string `json:"content"`
		} `json:"message"`
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
		Finish string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Total int64 `json:"total_tokens"`
	} `json:"usage"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func (w *expected) plain(body []byte) error {
	var a completion
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the body is not the answer's JSON: %w", err)
	}
	switch {
	case len(a.Choices) != 1:
		return fmt.Errorf("%d choices", len(a.Choices))
	case a.Choices[0].Message.Content != w.text:
		return fmt.Errorf("another text: %.80q", a.Choices[0].Message.Content)
	case a.Choices[0].Finish != "stop":
		return fmt.Errorf("finish_reason %q", a.Choices[0].Finish)
	case a.Usage == nil || a.Usage.Total == 0:
		return errors.New("no usage")
	}
	return nil
}

// events checks a stream: every piece of text in its order, one finish, usage where it belongs, and [DONE] at the very end.
func (w *expected) events(body []byte) error {
	var text strings.Builder
	pieces, finished, usage, done := 0, 0, 0, false
	for event := range bytes.SplitSeq(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), []byte("\n\n")) {
		data, ok := bytes.CutPrefix(event, []byte("data:"))
		if !ok {
			if len(event) > 0 && event[0] != ':' {
				return fmt.Errorf("not an event: %.80q", event)
			}
			continue
		}
		if done {
			return errors.New("an event after [DONE]")
		}
		if data = bytes.TrimSpace(data); string(data) == "[DONE]" {
			done = true
			continue
		}
		var a completion
		if err := json.Unmarshal(data, &a); err != nil {
			return fmt.Errorf("event %.80q: %w", data, err)
		}
		if a.Error != nil {
			return fmt.Errorf("error event: %s", a.Error.Message)
		}
		if a.Usage != nil {
			usage++
		}
		for _, c := range a.Choices {
			if c.Delta.Content != "" {
				text.WriteString(c.Delta.Content)
				pieces++
			}
			if c.Finish != "" {
				finished++
			}
		}
	}
	switch {
	case !done:
		return fmt.Errorf("the stream ends without [DONE] after %d pieces", pieces)
	case text.String() != w.text:
		return fmt.Errorf("another text, %d bytes instead of %d", text.Len(), len(w.text))
	case pieces != w.pieces:
		return fmt.Errorf("%d pieces of text, not %d", pieces, w.pieces)
	case finished != 1:
		return fmt.Errorf("%d finish reasons", finished)
	case (usage == 1) != w.usage || usage > 1:
		return fmt.Errorf("usage in %d events", usage)
	}
	return nil
}

// learn takes what the upstream itself answers as the truth, once that is found to be whole.
func learn(stream, usage bool, body []byte) (expected, error) {
	w := expected{stream: stream, usage: usage}
	if !stream {
		var a completion
		if err := json.Unmarshal(body, &a); err != nil {
			return w, err
		}
		if len(a.Choices) == 1 {
			w.text = a.Choices[0].Message.Content
		}
		return w, w.plain(body)
	}
	for event := range bytes.SplitSeq(body, []byte("\n\n")) {
		var a completion
		if data, ok := bytes.CutPrefix(event, []byte("data: ")); ok && json.Unmarshal(data, &a) == nil && len(a.Choices) == 1 {
			if piece := a.Choices[0].Delta.Content; piece != "" {
				w.text += piece
				w.pieces++
			}
		}
	}
	return w, w.events(body)
}
