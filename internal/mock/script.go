package mock

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a script: it may come from a stranger by way of a model name, and must not be able to take the machine.
const (
	maxDuration = time.Hour
	maxChunks   = 100_000
	maxText     = 16 << 20
	maxStreamed = 1 << 30
)

// unset marks a count that the script leaves to the model.
const unset = -1

// Script is what one answer is made of and what goes wrong with it. The package comment is its manual.
type Script struct {
	model string

	latency, ttft, pace time.Duration
	burst               int
	stall               time.Duration
	stallAt             place
	drip                int
	dripPause           time.Duration

	seed      uint64
	text      string
	words     int
	size      int64
	chunks    int
	stop      string
	redacted  bool
	dims      int
	tokens    counts
	usage     string
	sse       sseStyle
	header    [][2]string
	fault     fault
	others    []fault // alternatives to fault
	first     int64
	skip      int64
	every     int64
	rate      float64
	givenRate bool
}

// counts are token counts in OpenAI's sense: cached and write are within input, reasoning is within output.
type counts struct{ input, output, cached, write, reasoning int64 }

type sseStyle struct{ crlf, lf, bom, comments, tight, open bool }

// fault is everything that can be wrong with an answer.
type fault struct {
	status                   int
	body                     string
	retry                    time.Duration
	retryForm                string
	redirect                 string
	hang, cut, drop, rst     place
	garbage, dup, errorEvent place
	errorStatus              int
	pad, head                int64
	heads                    int
	gzip                     int64
	length                   int64
}

// place is a point in an answer.
type place struct {
	at placeKind
	n  float64
}

type placeKind uint8

const (
	nowhere placeKind = iota
	atHead
	atEnd
	atShare
	atCount
)

// index gives the unit (event or byte) before which the place lies, or -1. What can happen before the status line has
// happened by then, so that head is the start for all else.
func (p place) index(units int) int {
	switch p.at {
	case atHead:
		return 0
	case atEnd:
		return max(0, units-1)
	case atShare:
		return int(p.n * float64(units))
	case atCount:
		return min(int(p.n), units)
	default:
		return -1
	}
}

func newScript() Script {
	return Script{
		burst:  1,
		tokens: counts{unset, unset, unset, unset, unset},
		fault:  fault{gzip: unset, errorStatus: 500},
	}
}

// options is the language: what each name does to a script.
var options = map[string]func(s *Script, v string) error{
	"latency": func(s *Script, v string) error { return duration(&s.latency, v) },
	"ttft":    func(s *Script, v string) error { return duration(&s.ttft, v) },
	"pace":    func(s *Script, v string) error { return duration(&s.pace, v) },
	"burst":   func(s *Script, v string) error { return count(&s.burst, v, 1, maxChunks) },
	"stall": func(s *Script, v string) error {
		d, at, _ := strings.Cut(v, "@")
		return errors.Join(duration(&s.stall, d), somewhere(&s.stallAt, at))
	},
	"drip": func(s *Script, v string) error {
		n, d, ok := strings.Cut(v, "/")
		if !ok {
			return errors.New("want N/DURATION")
		}
		return errors.Join(count(&s.drip, n, 1, 1<<20), duration(&s.dripPause, d))
	},
	"seed":     func(s *Script, v string) (err error) { s.seed, err = strconv.ParseUint(v, 10, 64); return err },
	"text":     func(s *Script, v string) error { s.text = v; return nil },
	"words":    func(s *Script, v string) error { return count(&s.words, v, 1, maxChunks*10) },
	"size":     func(s *Script, v string) error { return size(&s.size, v, maxText) },
	"chunks":   func(s *Script, v string) error { return count(&s.chunks, v, 1, maxChunks) },
	"stop":     func(s *Script, v string) error { return oneOf(&s.stop, v, "stop", "length", "filter") },
	"redacted": func(s *Script, v string) error { return onOff(&s.redacted, v) },
	"dims":     func(s *Script, v string) error { return count(&s.dims, v, 1, 10_000) },

	"input":     func(s *Script, v string) error { return count(&s.tokens.input, v, 0, 1<<50) },
	"output":    func(s *Script, v string) error { return count(&s.tokens.output, v, 0, 1<<50) },
	"cached":    func(s *Script, v string) error { return count(&s.tokens.cached, v, 0, 1<<50) },
	"write":     func(s *Script, v string) error { return count(&s.tokens.write, v, 0, 1<<50) },
	"reasoning": func(s *Script, v string) error { return count(&s.tokens.reasoning, v, 0, 1<<50) },
	"usage":     func(s *Script, v string) error { return oneOf(&s.usage, v, "none", "null", "zero", "every") },
	"sse":       func(s *Script, v string) error { return s.sse.set(v) },
	"header": func(s *Script, v string) error {
		name, value, ok := strings.Cut(v, ":")
		if !ok || name == "" {
			return errors.New("want NAME:VALUE")
		}
		s.header = append(slices.Clip(s.header), [2]string{name, strings.TrimSpace(value)})
		return nil
	},

	"status": func(s *Script, v string) error { return count(&s.fault.status, v, 200, 599) },
	"body": func(s *Script, v string) error {
		if !strings.HasPrefix(v, "text:") {
			return oneOf(&s.fault.body, v, "vendor", "empty", "html")
		}
		s.fault.body = v
		return nil
	},
	"retry": func(s *Script, v string) error {
		d, form, _ := strings.Cut(v, ":")
		if form == "" {
			form = "seconds"
		}
		return errors.Join(duration(&s.fault.retry, d),
			oneOf(&s.fault.retryForm, form, "seconds", "date", "ms", "openai", "anthropic", "openrouter", "azure", "gemini"))
	},
	"redirect": func(s *Script, v string) error {
		_, err := url.Parse(v)
		s.fault.redirect = v
		return err
	},
	"hang":    func(s *Script, v string) error { return somewhere(&s.fault.hang, v) },
	"cut":     func(s *Script, v string) error { return somewhere(&s.fault.cut, v) },
	"drop":    func(s *Script, v string) error { return somewhere(&s.fault.drop, v) },
	"rst":     func(s *Script, v string) error { return somewhere(&s.fault.rst, v) },
	"garbage": func(s *Script, v string) error { return somewhere(&s.fault.garbage, v) },
	"dup":     func(s *Script, v string) error { return somewhere(&s.fault.dup, v) },
	"error": func(s *Script, v string) error {
		at, status, ok := strings.Cut(v, ":")
		if !ok {
			status = "500"
		}
		return errors.Join(somewhere(&s.fault.errorEvent, at), count(&s.fault.errorStatus, status, 400, 599))
	},
	"pad":    func(s *Script, v string) error { return size(&s.fault.pad, v, maxStreamed) },
	"head":   func(s *Script, v string) error { return size(&s.fault.head, v, maxText) },
	"heads":  func(s *Script, v string) error { return count(&s.fault.heads, v, 0, 100_000) },
	"gzip":   func(s *Script, v string) error { return size(&s.fault.gzip, v, maxStreamed) },
	"length": func(s *Script, v string) error { return count(&s.fault.length, v, -maxText, maxStreamed) },

	"rate": func(s *Script, v string) (err error) {
		s.givenRate = true
		if s.rate, err = strconv.ParseFloat(v, 64); err == nil && (s.rate < 0 || s.rate > 1) {
			err = errors.New("want 0 to 1")
		}
		return err
	},
	"first": func(s *Script, v string) error { return count(&s.first, v, 1, 1<<40) },
	"skip":  func(s *Script, v string) error { return count(&s.skip, v, 0, 1<<40) },
	"every": func(s *Script, v string) error { return count(&s.every, v, 1, 1<<40) },
}

// apply adds the options written in text to s. After a "|" an alternative to the faults begins.
func (s *Script) apply(text string) error {
	text, rest, more := strings.Cut(text, "|")
	for more {
		var one string
		one, rest, more = strings.Cut(rest, "|")
		other := newScript()
		if err := other.set(one); err != nil {
			return err
		}
		s.others = append(slices.Clip(s.others), other.fault)
	}
	return s.set(text)
}

func (s *Script) set(text string) error {
	for field := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '&' || r == ';' || r <= ' ' }) {
		name, value, ok := strings.Cut(field, "=")
		set := options[name]
		if !ok || set == nil {
			return fmt.Errorf("script %q: want one of %s", field, strings.Join(slices.Sorted(maps.Keys(options)), ", "))
		}
		if err := set(s, unescape(value)); err != nil {
			return fmt.Errorf("script %q: %w", field, err)
		}
	}
	return nil
}

// unescape decodes %XX; any other percent sign is itself, as in 50%.
func unescape(v string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(v, "%")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		v = after
		if len(after) >= 2 {
			if n, err := strconv.ParseUint(after[:2], 16, 8); err == nil {
				b.WriteByte(byte(n))
				v = after[2:]
				continue
			}
		}
		b.WriteByte('%')
	}
}

// hits tells whether the nth call (from 1) of this script has its faults.
func (s *Script) hits(n int64) bool {
	switch {
	case s.first > 0 && n > s.first, n <= s.skip, s.every > 0 && n%s.every != 0:
		return false
	case s.givenRate:
		return float64(mix(s.seed, uint64(n))>>11)/(1<<53) < s.rate
	default:
		return true
	}
}

// fails gives the faults of the nth call (from 1), if it has any.
func (s *Script) fails(n int64) fault {
	switch {
	case !s.hits(n):
		return newScript().fault
	case len(s.others) == 0:
		return s.fault
	}
	// Another sequence than that of hits, or the alternatives would follow from the rate.
	if i := mix(^s.seed, uint64(n)) % uint64(len(s.others)+1); i > 0 {
		return s.others[i-1]
	}
	return s.fault
}

// mix hashes two numbers (splitmix64's finaliser): a random sequence that any call can enter at its own place.
func mix(a, b uint64) uint64 {
	x := a + (b+1)*0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// rule is one line of a script file.
type rule struct{ pattern, model, script string }

// parseRules reads a script file; what is wrong is named with its line.
func parseRules(text string) ([]rule, error) {
	var rules []rule
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		pattern, target, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("script file, line %d: want PATTERN = MODEL?SCRIPT", i+1)
		}
		model, script, _ := strings.Cut(strings.TrimSpace(target), "?")
		r := rule{strings.TrimSpace(pattern), model, script}
		if _, err := globMatch(r.pattern, ""); err != nil {
			return nil, fmt.Errorf("script file, line %d: pattern %q: %w", i+1, r.pattern, err)
		}
		s := newScript()
		if err := s.apply(script); err != nil {
			return nil, fmt.Errorf("script file, line %d: %w", i+1, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (t *sseStyle) set(v string) error {
	for f := range strings.SplitSeq(v, ",") {
		switch f {
		case "crlf":
			t.crlf = true
		case "lf":
			t.lf = true
		case "bom":
			t.bom = true
		case "comments":
			t.comments = true
		case "tight":
			t.tight = true
		case "open":
			t.open = true
		default:
			return errors.New("want crlf, lf, bom, comments, tight or open")
		}
	}
	return nil
}

func duration(to *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err == nil && (d < 0 || d > maxDuration) {
		err = fmt.Errorf("want 0 to %v", maxDuration)
	}
	*to = d
	return err
}

func count[T int | int64](to *T, v string, least, most T) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err == nil && (n < int64(least) || n > int64(most)) {
		err = fmt.Errorf("want %d to %d", least, most)
	}
	*to = T(n)
	return err
}

var units = []struct {
	suffix string
	factor float64
}{{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

func size(to *int64, v string, most int64) error {
	for _, u := range units {
		if number, ok := strings.CutSuffix(v, u.suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return err
			}
			if n *= u.factor; n < 0 || n > float64(most) {
				return fmt.Errorf("want 0 to %d bytes", most)
			}
			*to = int64(n)
			return nil
		}
	}
	return errors.New("want a size")
}

func oneOf(to *string, v string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("want %s", strings.Join(allowed, ", "))
	}
	*to = v
	return nil
}

func onOff(to *bool, v string) error {
	*to = v == "on"
	if v != "on" && v != "off" {
		return errors.New("want on or off")
	}
	return nil
}

func somewhere(to *place, v string) error {
	switch v {
	case "head":
		*to = place{at: atHead}
		return nil
	case "start":
		*to = place{at: atCount}
		return nil
	case "end":
		*to = place{at: atEnd}
		return nil
	}
	number, percent := strings.CutSuffix(v, "%")
	n, err := strconv.ParseFloat(number, 64)
	kind := atCount
	switch {
	case percent:
		kind, n = atShare, n/100
	case strings.Contains(number, "."):
		kind = atShare
	}
	if err != nil || n < 0 || n > maxStreamed || kind == atShare && n > 1 {
		return errors.New("want head, start, end, a share as 50% or 0.5, or a count")
	}
	*to = place{at: kind, n: n}
	return nil
}
