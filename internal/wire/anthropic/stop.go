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

// writeStop is the reason in Anthropic's words: the upstream's own word where it is one of them.
func writeStop(s llm.Stop, native string) string {
	if stops[native] == s && s != "" {
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
	case llm.StopRefusal, llm.StopFilter:
		return "refusal"
	case llm.StopOther:
		if snake(native) { // a reason that is newer than this build
			return native
		}
		return "refusal" // it must not look as if the model had been done
	}
	return "end_turn"
}

func snake(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}
