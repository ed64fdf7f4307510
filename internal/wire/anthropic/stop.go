package anthropic

import "sluice/internal/llm"

var stops = map[string]llm.Stop{
	"end_turn":                      llm.StopEnd,
	"max_tokens":                    llm.StopLength,
	"model_context_window_exceeded": llm.StopLength,
	"stop_sequence":                 llm.StopSequence,
	"tool_use":                      llm.StopTools,
	"pause_turn":                    llm.StopPause,
	"refusal":                       llm.StopRefusal,
}

func readStop(reason string) llm.Stop {
	if reason == "" {
		return ""
	}
	if s, ok := stops[reason]; ok {
		return s
	}
	return llm.StopOther
}

// writeStop is the reason in Anthropic's words: the upstream's own word where it was read in this format.
func writeStop(s llm.Stop, native string, same bool) string {
	if same && native != "" && s != "" {
		return native
	}
	switch s {
	case llm.StopLength:
		return "max_tokens"
	case llm.StopSequence:
		return "stop_sequence"
	case llm.StopTools:
		return "tool_use"
	case llm.StopPause:
		return "pause_turn"
	case llm.StopRefusal, llm.StopFilter, llm.StopOther: // the last must not look as if the model had been done
		return "refusal"
	}
	return "end_turn"
}
