package anthropic

import "strings"

type sseFrame struct{ event, data string }

// frames splits a stream as a client would.
func frames(text string) []sseFrame {
	var out []sseFrame
	for _, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		var f sseFrame
		for line := range strings.SplitSeq(block, "\n") {
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				f.event = v
			}
			if v, ok := strings.CutPrefix(line, "data: "); ok {
				f.data += v
			}
		}
		out = append(out, f)
	}
	return out
}
