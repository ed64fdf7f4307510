package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/internal/llm"
)

// Over gives the prices that two layers come to: those above, and those below that they leave in force.
func Over(below, above []Price) []Price {
	var out []Price
	for _, p := range below {
		left := make(map[string][]string) // by kind, since one kind's may be hidden and another's not
		whole := true
		for _, kind := range p.Kinds {
			for _, model := range p.Models {
				if slices.ContainsFunc(above, func(a Price) bool { return a.hides(&p, kind, model) }) {
					whole = false
				} else {
					left[kind] = append(left[kind], model)
				}
			}
		}
		if whole {
			out = append(out, p)
			continue
		}
		for _, kind := range p.Kinds {
			if q := p; left[kind] != nil {
				q.Kinds, q.Models = []string{kind}, left[kind]
				out = append(out, q)
			}
		}
	}
	return append(out, above...)
}

// hides tells whether a price in a layer above is always in force when one below is.
func (p *Price) hides(below *Price, kind, model string) bool {
	return p.Hours.always() && !p.From.After(below.From) && slices.Contains(p.Kinds, kind) &&
		slices.ContainsFunc(p.Models, func(glob string) bool { return llm.Match(glob, model) })
}

// A Change is what one list of prices says otherwise than another about one model of one kind of provider.
type Change struct {
	Kind  string    `json:"kind"`
	Model string    `json:"model"`
	From  time.Time `json:"from,omitzero"`   // when the price is in force; the zero time: ever since
	Hours string    `json:"hours,omitempty"` // of the day, "" for all
	Lines []string  `json:"changes"`         // in dollars for a million tokens: "input $2.5 -> $2"
}

// Like tells whether another change is the same, but for its model.
func (c *Change) Like(d *Change) bool {
	return c.Kind == d.Kind && c.From.Equal(d.From) && c.Hours == d.Hours && slices.Equal(c.Lines, d.Lines)
}

// Diff tells what differs for money; sources and days of review do not.
func Diff(before, after []Price) []Change {
	was, is := told(before), told(after)
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	var out []Change
	for key := range keys {
		old, now := was[key], is[key]
		c := Change{Kind: key.kind, Model: key.model, From: key.from, Hours: key.hours}
		var names []string
		for name := range old {
			names = append(names, name)
		}
		for name := range now {
			if _, ok := old[name]; !ok {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, byRate)
		for _, name := range names {
			if a, b := cmp.Or(old[name], "none"), cmp.Or(now[name], "none"); a != b {
				c.Lines = append(c.Lines, fmt.Sprintf("%s %s -> %s", name, a, b))
			}
		}
		if c.Lines != nil {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Model, b.Model), a.From.Compare(b.From), cmp.Compare(a.Hours, b.Hours))
	})
	return out
}

type diffKey struct {
	kind, model, hours string
	from               time.Time
}

// told says every price by its model, in words.
func told(prices []Price) map[diffKey]map[string]string {
	out := make(map[diffKey]map[string]string)
	for i := range prices {
		p := &prices[i]
		words := p.words()
		for _, kind := range p.Kinds {
			for _, model := range p.Models {
				out[diffKey{kind, model, p.Hours.String(), p.From}] = words
			}
		}
	}
	return out
}

func (p *Price) words() map[string]string {
	words := make(map[string]string)
	rates := func(r Rates, suffix string) {
		for name, rate := range r.All() {
			words[name+suffix] = "$" + llm.Nano(rate).String()
		}
	}
	rates(p.Rates, "")
	for _, s := range p.Steps {
		rates(s.Rates, fmt.Sprintf(" above %d tokens", s.Over))
	}
	for tier, percent := range p.Service {
		words["service "+tier] = fmt.Sprintf("%d %%", percent)
	}
	for tool, fee := range p.Fees {
		words["fee of "+tool] = "$" + fee.String() + " a call"
	}
	for name, n := range map[string]int64{"window": p.Window, "max output": p.MaxOutput} {
		if n != 0 {
			words[name] = fmt.Sprint(n, " tokens")
		}
	}
	return words
}

// byRate sorts the rates as price files say them, and all else behind.
func byRate(a, b string) int {
	rank := func(s string) int {
		name, more, _ := strings.Cut(s, " above")
		i := slices.IndexFunc(rateNames, func(f rateName) bool { return f.name == name })
		switch {
		case i < 0:
			return 1000
		case more != "":
			return 100 + i
		}
		return i
	}
	return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b))
}

// String writes the hours as price files do.
func (h Hours) String() string {
	var parts []string
	for _, s := range h.Spans {
		parts = append(parts, clock(s.From)+"-"+clock(s.Until))
	}
	if h.Weekdays {
		parts = append(parts, "weekdays")
	}
	return strings.Join(parts, " ")
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}
