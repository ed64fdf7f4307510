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

// A Change is what one list of prices says otherwise than another about one model of one kind of provider.
type Change struct {
	Kind  string
	Model string
	From  time.Time // when the price is in force; the zero time: ever since
	Hours string    // of the day, "" for all
	Lines []string  // in dollars for a million tokens: "input $2.50 -> $2"
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
