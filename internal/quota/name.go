package quota

import (
	"strconv"
	"strings"
	"time"
)

// A counter's name is its parts between bars: organisation, subject, rule, what it counts apart by, what it counts, and
// when its period begins and ends, as Unix seconds; a rolling budget has no such times, and what a settlement must reach
// in it (a ref) has the start of the part instead, after an @.

// clean escapes what would part a name.
var clean = strings.NewReplacer("%", "%25", "|", "%7C", "@", "%40", "=", "%3D", ",", "%2C")

func name(parts ...string) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('|')
		}
		_, _ = clean.WriteString(&b, p)
	}
	return b.String()
}

func calendarRef(prefix string, from, until time.Time) string {
	return prefix + "|" + strconv.FormatInt(from.Unix(), 10) + "-" + strconv.FormatInt(until.Unix(), 10)
}

func rollingRef(counter string, part int64) string {
	return counter + "@" + strconv.FormatInt(part, 10)
}

// A Ref is what the name of a counter that a settlement must reach says.
type Ref struct {
	Org     string
	Counter string    // without the part
	Tokens  bool      // it counts tokens, not money
	Part    int64     // of a rolling budget: start of the part
	Rolling bool      //
	Until   time.Time // of a calendar budget
}

// ParseRef reads a name that Grant.Counters gave. It is read again from logs, so it may be anything.
func ParseRef(s string) (r Ref, ok bool) {
	org, _, ok := strings.Cut(s, "|")
	if !ok {
		return r, false
	}
	r.Org, r.Counter = unclean(org), s
	head, times := s, ""
	if counter, part, rolls := strings.Cut(s, "@"); rolls {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 0 {
			return r, false
		}
		r.Counter, r.Part, r.Rolling, head = counter, n, true, counter
	} else {
		i := strings.LastIndexByte(s, '|')
		head, times = s[:i], s[i+1:]
		_, end, _ := strings.Cut(times, "-")
		n, err := strconv.ParseInt(end, 10, 64)
		if err != nil || n < 0 {
			return r, false
		}
		r.Until = time.Unix(n, 0)
	}
	what := head[strings.LastIndexByte(head, '|')+1:]
	switch {
	case strings.HasPrefix(what, "tokens:"):
		r.Tokens = true
	case !strings.HasPrefix(what, "money:"):
		return r, false
	}
	return r, true
}

// Amount is what a settlement adds to the counter.
func (r Ref) Amount(s *Settlement) int64 {
	if r.Tokens {
		return max(s.Tokens, 0)
	}
	return max(int64(s.Money), 0)
}

var dirty = strings.NewReplacer("%7C", "|", "%40", "@", "%3D", "=", "%2C", ",", "%25", "%")

func unclean(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return dirty.Replace(s)
}
