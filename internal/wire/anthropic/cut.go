package anthropic

import (
	"bytes"
	"slices"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Passed implements wire.Writer: it follows which blocks are open at the client.
func (w *writer) Passed(ev *llm.Event) {
	w.begun, w.same = true, true
	// The first such word of a frame is its type: in deltas, of which there are many, it is near the front.
	_, rest, ok := bytes.Cut(ev.Raw, []byte("content_block_"))
	starts, stops := bytes.HasPrefix(rest, []byte("start")), bytes.HasPrefix(rest, []byte("stop"))
	if !ok || !starts && !stops {
		return
	}
	index := indexOf(rest)
	w.open = slices.DeleteFunc(w.open, func(b written) bool { return b.index == index })
	if starts {
		w.open = append(w.open, written{index: index})
	}
}

// indexOf reads a frame's "index", 0 when there is none.
func indexOf(frame []byte) (index int) {
	const most = 1e6
	_, n, _ := bytes.Cut(frame, []byte(`"index"`))
	for n = bytes.TrimLeft(n, ": \t"); len(n) > 0 && n[0] >= '0' && n[0] <= '9' && index < most; n = n[1:] {
		index = 10*index + int(n[0]-'0')
	}
	return index
}

// Cut implements wire.Writer.
func (w *writer) Cut(dst []byte, e *llm.Error, requestID string) []byte {
	w.end = llm.Delta{Stop: llm.StopLength}
	w.problem = wire.ProblemJSON(e, requestID)
	return w.End(dst)
}
