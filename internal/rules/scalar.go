package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

var spans = []struct {
	name string
	d    time.Duration
}{{"second", time.Second}, {"minute", time.Minute}, {"hour", time.Hour}, {"day", 24 * time.Hour}}

// ParsePace reads "600/minute".
func ParsePace(s string) (llm.Pace, error) {
	digits, span, ok := strings.Cut(s, "/")
	n, err := strconv.ParseInt(digits, 10, 64)
	if ok && err == nil && n >= 1 && n <= maxPace && digits[0] != '+' {
		for _, t := range spans {
			if t.name == span {
				return llm.Pace{N: n, Per: t.d}, nil
			}
		}
	}
	return llm.Pace{}, fmt.Errorf("%q is no pace: write a number and second, minute, hour or day, such as 600/minute", clip(s))
}

// FormatPace writes what ParsePace reads.
func FormatPace(p llm.Pace) string {
	for _, t := range spans {
		if t.d == p.Per {
			return strconv.FormatInt(p.N, 10) + "/" + t.name
		}
	}
	return strconv.FormatInt(p.N, 10) + "/" + p.Per.String()
}

// ParseDollars reads an amount above zero.
func ParseDollars(s string) (llm.Nano, error) {
	n, err := llm.ParseNano(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no amount of dollars: write digits, with at most nine after a point, such as \"500\" or \"0.25\"", clip(s))
	case n <= 0 || n > maxDollars:
		return 0, fmt.Errorf("%q: an amount must be above 0 and at most %s dollars", clip(s), maxDollars)
	}
	return n, nil
}

// ParseZone reads the name of a time zone; nil for UTC and for none.
func ParseZone(s string) (*time.Location, error) {
	if s == "" || s == "UTC" {
		return nil, nil //nolint:nilnil // it stands for UTC
	}
	zone, err := time.LoadLocation(s)
	if err != nil || s == "Local" || len(s) > 64 {
		return nil, fmt.Errorf("%q is no time zone: write one such as Europe/Berlin, or leave it out for UTC", clip(s))
	}
	return zone, nil
}

// maxSpan bounds spans of time: nobody means a longer one.
const maxSpan = 10 * 366 * 24 * time.Hour

// ParseSpan reads a span of time above zero: "90m", "24h", "7d".
func ParseSpan(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no span of time: write one such as 90m, 24h or 7d", clip(s))
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n == 0 || n > uint64(maxSpan/(24*time.Hour)) {
			return 0, bad
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d > maxSpan || d%time.Second != 0 {
		return 0, bad
	}
	return d, nil
}

// FormatSpan writes what ParseSpan reads.
func FormatSpan(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return FormatDuration(d)
}

// FormatDuration writes a duration without the zero parts that time.Duration prints.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 || t.Nanosecond() != 0 {
		return time.Time{}, fmt.Errorf("%q is no time: write whole seconds such as 2030-01-31T12:00:00Z", clip(s))
	}
	return t.UTC(), nil
}

// ParseTime reads when something ends: a date (its first moment, UTC) or an RFC 3339 time.
func ParseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil && t.Year() >= 2000 {
		return t, nil
	}
	t, err := parseTime(s)
	if err != nil {
		return t, errors.New("must be a date such as 2030-01-31 or a time in whole seconds such as 2030-01-31T12:00:00Z")
	}
	return t, nil
}

// ParseBudget reads a budget's short form: "500/month" is dollars, "2000000tokens/month" is tokens.
func ParseBudget(s string) (Budget, error) {
	amount, every, ok := strings.Cut(s, "/")
	b := Budget{Every: every}
	if digits, tokens := strings.CutSuffix(amount, "tokens"); tokens {
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		ok = ok && err == nil
		b.Tokens = n
	} else {
		b.Dollars = strings.TrimPrefix(amount, "$")
	}
	p := &problems{}
	if ok {
		p.budget(&b)
	}
	if !ok || len(p.list) > 0 {
		return Budget{}, fmt.Errorf("%q is no budget: write dollars or tokens and a period (%s), such as 500/month or 2000000tokens/month", clip(s), join(periods))
	}
	return b, nil
}
