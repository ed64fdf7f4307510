package llm

// A Coverage says what guards have seen of a call and what they found, never the values.
type Coverage struct {
	Guards    string // the names of those that held for it, with commas between
	Detectors string // of what they look with, likewise
	Seen      int64  // bytes of the request that may be text: JSON strings that are no words of the protocol, and tokens in place of text
	Scanned   int64  // of Seen: read by every detector
	Unscanned int64  // of Seen: media, tokens, and what a detector that failed has not read
	Found     []Found
	Outcome   GuardOutcome
}

// Found is how often a type was found, and what became of it.
type Found struct {
	Type   string // of the thing, as the detector or the configuration names it
	Action string // observe, restore, mask or block
	Answer bool   // in the answer
	N      int64
}

// A GuardOutcome is what guards did to a call.
type GuardOutcome string

// The outcomes.
const (
	GuardClean    GuardOutcome = "clean"    // nothing was found
	GuardObserved GuardOutcome = "observed" // what was found went on
	GuardMasked   GuardOutcome = "masked"   // placeholders went on instead of it
	GuardBlocked  GuardOutcome = "blocked"  // refused for what was found
	GuardClosed   GuardOutcome = "closed"   // refused because something could not be scanned
	GuardOpen     GuardOutcome = "open"     // went on though something could not be scanned
)

// Add counts a finding.
func (c *Coverage) Add(kind, action string, answer bool) {
	for i := range c.Found {
		if f := &c.Found[i]; f.Type == kind && f.Action == action && f.Answer == answer {
			f.N++
			return
		}
	}
	c.Found = append(c.Found, Found{kind, action, answer, 1})
}
