package wiretest

import (
	"sluice/internal/llm"
)

// Told are the facts of an answer as a format has read it into the vocabulary.
func Told(a *llm.Answer) Facts {
	f := Facts{Ended: true, Usage: CountsOf(a.Usage)}
	for _, c := range a.Choices {
		s := f.choice(int64(c.Index))
		s.Stop = stops[c.Stop]
		if s.Stop == "" && c.Stop != "" {
			s.Stop = "unknown reason " + string(c.Stop)
		}
		for _, p := range c.Parts {
			told(s, &p)
		}
		if s.Refusal != "" && s.Stop == "end" {
			s.Stop = "refusal"
		}
		if len(s.Calls) > 0 && s.Stop == "end" {
			s.Stop = "tools"
		}
	}
	return f
}

func told(s *Said, p *llm.Part) {
	switch {
	case p.Call != nil:
		s.Calls = append(s.Calls, Called{p.Call.ID, p.Call.Name, string(p.Call.Args)})
	case p.Reasoning != nil:
		s.Reasoning += p.Reasoning.Text
		s.Blocks += 2
		if len(p.Reasoning.Redacted) > 0 {
			s.Proofs = append(s.Proofs, string(p.Reasoning.Redacted))
		}
	case p.Refusal != nil:
		s.Refusal += *p.Refusal
	default:
		s.Text += p.Text
	}
	if p.Signature != nil && p.Signature.Value != "" {
		s.Proofs = append(s.Proofs, p.Signature.Value)
	}
}

var stops = map[llm.Stop]string{
	llm.StopEnd: "end", llm.StopSequence: "end", llm.StopLength: "length", llm.StopTools: "tools", llm.StopFilter: "filter",
	llm.StopRefusal: "refusal", llm.StopPause: "pause", llm.StopOther: "other",
}

// CountsOf gives the counts that are known.
func CountsOf(u *llm.Usage) Counts {
	c := Counts{}
	if u == nil {
		return c
	}
	for name, n := range map[string]llm.Count{
		"input": u.Input, "output": u.Output, "cache_read": u.CacheRead, "cache_write": u.CacheWrite, "reasoning": u.Reasoning,
	} {
		if n.Known {
			c[name] = n.N
		}
	}
	return c
}
