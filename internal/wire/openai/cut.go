package openai

import (
	"time"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Passed takes over the names of the answer and which of its choices have ended.
func (w *writer) Passed(ev *llm.Event) {
	if ev.Head != nil {
		w.opening(ev.Head, true)
	}
	for i := range ev.Delta {
		c := w.choice(ev.Delta[i].Choice)
		c.ended = c.ended || ev.Delta[i].Stop != ""
	}
}

// Cut ends each choice that has not ended for its length.
func (w *writer) Cut(dst []byte, e *llm.Error, requestID string) []byte {
	if w.head.Created == 0 {
		w.head.Created = time.Now().Unix()
	}
	for i := range int(max(w.call.Choices, 1)) {
		w.choice(i)
	}
	why := llm.Members{wire.ProblemMember: wire.ProblemJSON(e, requestID)}
	for _, c := range w.choices {
		if c.ended {
			continue
		}
		out := outChoice{Index: c.index, FinishReason: ptr("length")}
		if w.text {
			out.Text = ptr("")
		} else {
			out.Delta = w.role(c, &outReply{})
		}
		if frame, err := w.chunk(dst, out, why); err == nil { // our own struct and JSON that was read before: cannot fail
			dst = frame
		}
	}
	return w.End(dst)
}
