package admin

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// params reads the values of a query, as strictly as a body: a filter that is mistyped must not select everything. That each is
// known and said once was seen before. The first mistake stands.
type params struct {
	values url.Values
	now    time.Time
	zone   *time.Location
	err    error
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = llm.Errorf(llm.KindInvalid, "query: "+format, args...)
	}
}

func (p *params) text(name string) string { return p.values.Get(name) }

// list is a value with commas between its parts.
func (p *params) list(name string) []string {
	text := p.text(name)
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func (p *params) number(name string, usual, most int) int {
	text := p.text(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		p.fail("%s must be a number from 1 to %d", name, most)
		return usual
	}
	return n
}

// yes reads a member that is true or left out.
func (p *params) yes(name string) bool {
	switch p.text(name) {
	case "true":
		return true
	case "", "false":
		return false
	}
	p.fail("%s must be true or false", name)
	return false
}

// span reads zone, from and until.
func (p *params) span() (from, until time.Time) {
	p.zone = time.UTC
	if name := p.text("zone"); name != "" {
		zone, err := time.LoadLocation(name)
		if err != nil || name == "Local" {
			p.fail("zone must be the name of a time zone, such as Europe/Berlin")
		} else {
			p.zone = zone
		}
	}
	if text := p.text("from"); text != "" {
		from = p.moment(text, false)
	}
	if text := p.text("until"); text != "" {
		until = p.moment(text, true)
	}
	if !until.IsZero() && !from.IsZero() && !until.After(from) {
		p.fail("until is not after from")
	}
	return from, until
}

// filter reads what selects calls.
func (p *params) filter() usage.Filter {
	f := usage.Filter{
		Org: p.text("organisation"), Team: p.text("team"), User: p.text("user"), Key: p.text("key"), Project: p.text("project"), Tag: p.text("tag"),
		Models: p.list("model"), Provider: p.text("provider"),
	}
	f.From, f.Until = p.span()
	return f
}

// Moments are the words for a day or month.
var Moments = []string{"today", "yesterday", "this-month", "last-month"}

// moment reads a point of time. A word, a month or a day begins with from and ends with until: it is in between.
func (p *params) moment(text string, end bool) time.Time {
	y, m, d := p.now.In(p.zone).Date()
	after := func(months, days int) time.Time {
		if !end {
			months, days = 0, 0
		}
		return time.Date(y, m+time.Month(months), d+days, 0, 0, 0, 0, p.zone)
	}
	switch text {
	case "today":
		return after(0, 1)
	case "yesterday":
		d--
		return after(0, 1)
	case "this-month":
		d = 1
		return after(1, 0)
	case "last-month":
		m, d = m-1, 1
		return after(1, 0)
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		y, m, d = t.Date()
		return after(0, 1)
	}
	if t, err := time.Parse("2006-01", text); err == nil {
		y, m, d = t.Date()
		return after(1, 0)
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.fail("%.40q is no point of time: say %s, a date such as 2026-11-30, a month such as 2026-11, or 2026-11-30T18:00:00Z", text, strings.Join(Moments, ", "))
	}
	return t
}
