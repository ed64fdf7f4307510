package gemini

import (
	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Passed takes over the names of the answer and which of its candidates have ended.
func (g *gathering) Passed(ev *llm.Event) {
	if ev.Head != nil {
		g.head = *ev.Head
	}
	for i := range ev.Delta {
		if d := &ev.Delta[i]; d.Stop != "" {
			g.choice(d.Choice).stop = finishReason(d.Stop, d.Native, true)
		}
	}
}

// cut ends each candidate that has not ended for its length. A call whose arguments are not whole is not told: Gemini's
// clients get whole objects.
func (g *gathering) cut(dst []byte, e *llm.Error, requestID string) []byte {
	g.problem = wire.ProblemJSON(e, requestID)
	for i := range int(max(g.call.Choices, 1)) {
		g.choice(i)
	}
	open := g.choices[:0]
	for _, o := range g.choices {
		if o.stop != "" {
			continue
		}
		o.flush(false)
		o.stop, o.said = "MAX_TOKENS", true // with content: the SDKs' chats drop an answer without
		o.extra = merged(o.extra, llm.Members{"finishMessage": llm.Raw(quote(nil, e.Msg))})
		open = append(open, o)
	}
	g.choices = open
	return g.chunk(dst, true)
}

// Cut writes the last chunk.
func (w *events) Cut(dst []byte, e *llm.Error, requestID string) []byte {
	return append(w.cut(append(dst, dataTag...), e, requestID), endTag...)
}

// Cut writes the last element and the closing bracket.
func (w *array) Cut(dst []byte, e *llm.Error, requestID string) []byte {
	return append(w.cut(w.separate(dst), e, requestID), crlf+"]"...)
}
