package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sluice/internal/llm"
)

// MaxTable bounds a price file, in bytes.
const MaxTable = 4 << 20

const (
	maxProblems = 40
	maxTexts    = 100       // names in a list
	maxDollars  = 1_000_000 // for a million tokens, or a thousand calls
	maxPercent  = 1000
)

// ParsePrices reads a price file (docs/prices.md), the embedded one or anybody's. Whatever is wrong with it is
// told at once, each with its place and its cure, and then there are no prices.
func ParsePrices(name string, data []byte) ([]Price, error) {
	r := &reader{file: name}
	if len(data) > MaxTable {
		return nil, fmt.Errorf("%s: more than %d bytes: a price file has a line for each model", name, MaxTable)
	}
	root := r.document(data)
	if root == nil {
		return nil, r.err()
	}
	var prices []Price
	format := ""
	r.object(root, "the file", map[string]func(*yaml.Node){
		"format": func(n *yaml.Node) { format = r.text(n) },
		"vendors": func(n *yaml.Node) {
			r.list(n, func(n *yaml.Node) { prices = append(prices, r.vendor(n)...) })
		},
	})
	if format != "1" {
		r.bad(root, "format must be 1: this is the only one there is")
	}
	return prices, r.err()
}

// A reader reads the nodes of a price file and notes what is wrong.
type reader struct {
	file     string
	problems []error
	seen     map[string]int // the line of each price, by kind, model and time
}

func (r *reader) bad(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d:%d: %s", r.file, n.Line, n.Column, fmt.Sprintf(format, args...)))
}

func (r *reader) err() error {
	if extra := len(r.problems) - maxProblems; extra > 0 {
		return errors.Join(append(r.problems[:maxProblems:maxProblems], fmt.Errorf("%s: and %d more", r.file, extra))...)
	}
	return errors.Join(r.problems...)
}

// document gives the one document of the file. Nil: it has none, which was noted.
func (r *reader) document(data []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	var doc, more yaml.Node
	if err == nil {
		err = loader.Load(&doc)
	}
	switch {
	case err == io.EOF || err == nil && doc.Kind == yaml.DocumentNode && len(doc.Content) == 0:
		r.problems = append(r.problems, fmt.Errorf("%s: is empty: it must say format and vendors", r.file))
		return nil
	case err != nil:
		r.problems = append(r.problems, fmt.Errorf("%s: not YAML: %w", r.file, err))
		return nil
	}
	if err := loader.Load(&more); err != io.EOF {
		r.problems = append(r.problems, fmt.Errorf("%s: something follows the document: put everything in one", r.file))
		return nil
	}
	if doc.Kind == yaml.DocumentNode {
		return doc.Content[0]
	}
	return &doc
}

// vendor reads the prices of one vendor.
func (r *reader) vendor(n *yaml.Node) []Price {
	var common Price
	var models *yaml.Node
	r.object(n, "a vendor", map[string]func(*yaml.Node){
		"kinds":   func(n *yaml.Node) { common.Kinds = r.texts(n) },
		"source":  func(n *yaml.Node) { common.Source = r.text(n) },
		"checked": func(n *yaml.Node) { common.Checked = r.moment(n) },
		"fees":    func(n *yaml.Node) { common.Fees = r.fees(n) },
		"prices":  func(n *yaml.Node) { models = n },
	})
	if len(common.Kinds) == 0 {
		r.bad(n, "no kinds: name the kinds of providers that charge these prices, such as [openai]")
	}
	if models == nil {
		r.bad(n, "no prices: a vendor needs a list of them")
		return nil
	}
	var prices []Price
	r.list(models, func(n *yaml.Node) {
		p := common
		r.price(n, &p)
		prices = append(prices, p)
	})
	return prices
}

// price reads one price into what its vendor said of all.
func (r *reader) price(n *yaml.Node, p *Price) {
	said := map[string]bool{}
	members := r.rates(&p.Rates, said)
	maps.Copy(members, map[string]func(*yaml.Node){
		"models":     func(n *yaml.Node) { p.Models = r.texts(n) },
		"from":       func(n *yaml.Node) { p.From = r.moment(n) },
		"hours":      func(n *yaml.Node) { r.list(n, func(n *yaml.Node) { p.Hours.Spans = append(p.Hours.Spans, r.span(n)) }) },
		"weekdays":   func(n *yaml.Node) { p.Hours.Weekdays = r.truth(n) },
		"window":     func(n *yaml.Node) { p.Window = r.count(n) },
		"max_output": func(n *yaml.Node) { p.MaxOutput = r.count(n) },
		"service":    func(n *yaml.Node) { p.Service = r.service(n) },
		"fees":       func(n *yaml.Node) { p.Fees = r.fees(n) },
		"source":     func(n *yaml.Node) { p.Source = r.text(n) },
		"checked":    func(n *yaml.Node) { p.Checked = r.moment(n) },
		"above":      func(n *yaml.Node) { r.list(n, func(n *yaml.Node) { p.Steps = append(p.Steps, r.step(n)) }) },
	})
	r.object(n, "a price", members)
	switch {
	case len(p.Models) == 0:
		r.bad(n, "no models: name those that cost this, such as [gpt-4o, \"gpt-4o-20*\"]")
	case !said["input"] || !said["output"]:
		r.bad(n, "input and output must be said: 0 where nothing is charged")
	case p.Source == "" || p.Checked.IsZero():
		r.bad(n, "source and checked must be said, here or for the vendor: where the price was seen, and on which day")
	}
	for i, s := range p.Steps {
		if s.Over <= 0 || i > 0 && s.Over <= p.Steps[i-1].Over {
			r.bad(n, "above: over must be said, and rise from step to step")
		}
		for _, f := range rateNames {
			if (*f.of(&s.Rates) == 0) != (*f.of(&p.Rates) == 0) {
				r.bad(n, "above: %s must be said in every step or in none", f.name)
			}
		}
	}
	r.twice(n, p)
}

// twice notes a price that another one hides.
func (r *reader) twice(n *yaml.Node, p *Price) {
	if r.seen == nil {
		r.seen = make(map[string]int)
	}
	for _, kind := range p.Kinds {
		for _, model := range p.Models {
			key := fmt.Sprint(kind, "\x00", model, "\x00", p.From, p.Hours)
			if line, ok := r.seen[key]; ok {
				r.bad(n, "%s of %s has a price for this time in line %d already: give one of them another from", clip(model), clip(kind), line)
				return
			}
			r.seen[key] = n.Line
		}
	}
}

func (r *reader) step(n *yaml.Node) (s Step) {
	members := r.rates(&s.Rates, map[string]bool{})
	members["over"] = func(n *yaml.Node) { s.Over = r.count(n) }
	r.object(n, "a step", members)
	return s
}

// rates are the members that say them.
func (r *reader) rates(into *Rates, said map[string]bool) map[string]func(*yaml.Node) {
	members := make(map[string]func(*yaml.Node))
	for _, f := range rateNames {
		members[f.name] = func(n *yaml.Node) {
			said[f.name] = true
			rate := r.dollars(n)
			if rate == 0 && f.part {
				r.bad(n, "%s cannot be 0: leave it out, and it costs what its whole costs", f.name)
			}
			*f.of(into) = llm.Rate(rate)
		}
	}
	return members
}

func (r *reader) service(n *yaml.Node) map[string]int64 {
	tiers := make(map[string]int64)
	r.pairs(n, func(key, val *yaml.Node) {
		percent := r.count(val)
		if percent < 1 || percent > maxPercent {
			r.bad(val, "must be percent of the standard rates, from 1 to %d", maxPercent)
		}
		tiers[strings.ToLower(key.Value)] = percent
	})
	return tiers
}

// fees are said in dollars for a thousand calls, as vendors do.
func (r *reader) fees(n *yaml.Node) map[string]llm.Nano {
	fees := make(map[string]llm.Nano)
	r.pairs(n, func(key, val *yaml.Node) {
		thousand := r.dollars(val)
		if thousand%1000 != 0 {
			r.bad(val, "a thousandth of it is no whole number of nano-dollars: use at most six decimals")
		}
		fees[key.Value] = thousand / 1000
	})
	return fees
}

func (r *reader) object(n *yaml.Node, what string, members map[string]func(*yaml.Node)) {
	r.pairs(n, func(key, val *yaml.Node) {
		if read, ok := members[key.Value]; ok {
			read(val)
			return
		}
		r.bad(key, "%s has no member %s: it has %s", what, clip(key.Value), strings.Join(slices.Sorted(maps.Keys(members)), ", "))
	})
}

func (r *reader) pairs(n *yaml.Node, f func(key, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, "must be an object: names with values")
		return
	}
	said := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.bad(key, "a name must be text")
		case said[key.Value]:
			r.bad(key, "%s is said twice", clip(key.Value))
		default:
			said[key.Value] = true
			f(key, n.Content[i+1])
		}
	}
}

func (r *reader) list(n *yaml.Node, f func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		r.bad(n, "must be a list")
		return
	}
	for _, item := range n.Content {
		f(item)
	}
}

func (r *reader) texts(n *yaml.Node) (out []string) {
	r.list(n, func(n *yaml.Node) {
		if s := r.text(n); s != "" {
			out = append(out, s)
		}
	})
	if len(out) > maxTexts {
		r.bad(n, "more than %d: spread them over several", maxTexts)
		return nil
	}
	return out
}

// text reads any scalar. Aliases are not followed: a small file must not become a large one.
func (r *reader) text(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		r.bad(n, "must be said in one word or number")
		return ""
	}
	return n.Value
}

func (r *reader) truth(n *yaml.Node) bool {
	if n.Value != "true" && n.Value != "false" {
		r.bad(n, "must be true or false")
	}
	return n.Value == "true"
}

func (r *reader) count(n *yaml.Node) int64 {
	i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 10, 64)
	if err != nil || i <= 0 {
		r.bad(n, "must be a whole number above 0")
	}
	return i
}

func (r *reader) dollars(n *yaml.Node) llm.Nano {
	d, err := llm.ParseNano(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d < 0 || d > maxDollars*llm.Dollar {
		r.bad(n, "must be US dollars such as 0.15, at most %d and with at most nine decimals", maxDollars)
		return 1 // anything but 0, of which more would be said
	}
	return d
}

func (r *reader) moment(n *yaml.Node) time.Time {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, n.Value); err == nil {
			return at.UTC()
		}
	}
	r.bad(n, "must be a day such as 2026-07-30, or a moment such as 2026-07-30T16:00:00Z")
	return time.Unix(0, 0)
}

func (r *reader) span(n *yaml.Node) (s Span) {
	clock := func(text string) (time.Duration, bool) {
		if text == "24:00" {
			return 24 * time.Hour, true
		}
		at, err := time.Parse("15:04", text)
		return time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute, err == nil
	}
	from, until, _ := strings.Cut(n.Value, "-")
	var ok, too bool
	s.From, ok = clock(from)
	if s.Until, too = clock(until); !ok || !too || s.From >= s.Until {
		r.bad(n, "must be hours of the day in UTC such as \"01:00-04:00\": write two where midnight lies between")
	}
	return s
}

// clip quotes a word of the file, at most so much of it.
func clip(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strconv.Quote(s)
}
