package responses

import (
	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Passed takes over the names of the answer and counts its frames.
func (w *writer) Passed(ev *llm.Event) {
	w.passed = true
	if len(ev.Raw) > 0 && ev.Raw[0] != ':' { // no comment
		w.seq++
	}
	if ev.Head != nil {
		w.same = true
		w.open(ev.Head)
	}
}

// Cut appends the end of an answer that is incomplete for its length. Where frames passed as they came, its output
// is null: nobody has kept it, and OpenAI's SDK for JavaScript puts in what it has gathered then.
func (w *writer) Cut(dst []byte, e *llm.Error, requestID string) []byte {
	w.stop, w.problem = llm.StopLength, wire.ProblemJSON(e, requestID)
	return w.End(dst)
}
