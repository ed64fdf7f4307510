package catalog

import (
	"cmp"
	"crypto/sha256"
	_ "embed" // the price table
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/llm"
)

// Rates are what tokens cost, in nano-dollars for a million. A part that has no rate of its own (zero) costs
// what its whole does; so nothing but a whole can be free.
type Rates struct {
	Input        llm.Rate // what the model reads, but for the parts below
	CacheRead    llm.Rate // read from a prompt cache
	CacheWrite   llm.Rate // written to a prompt cache
	CacheWrite1h llm.Rate // the same, to be kept longer (Anthropic: an hour); none: as CacheWrite
	AudioInput   llm.Rate
	ImageInput   llm.Rate
	Output       llm.Rate // what the model writes, but for the parts below
	Reasoning    llm.Rate
	AudioOutput  llm.Rate
	ImageOutput  llm.Rate
}

type rateName struct {
	name string
	of   func(*Rates) *llm.Rate
	part bool // of the input or the output
}

// rateNames names the rates as price files do.
var rateNames = []rateName{
	{"input", func(r *Rates) *llm.Rate { return &r.Input }, false},
	{"cache_read", func(r *Rates) *llm.Rate { return &r.CacheRead }, true},
	{"cache_write", func(r *Rates) *llm.Rate { return &r.CacheWrite }, true},
	{"cache_write_1h", func(r *Rates) *llm.Rate { return &r.CacheWrite1h }, true},
	{"audio_input", func(r *Rates) *llm.Rate { return &r.AudioInput }, true},
	{"image_input", func(r *Rates) *llm.Rate { return &r.ImageInput }, true},
	{"output", func(r *Rates) *llm.Rate { return &r.Output }, false},
	{"reasoning", func(r *Rates) *llm.Rate { return &r.Reasoning }, true},
	{"audio_output", func(r *Rates) *llm.Rate { return &r.AudioOutput }, true},
	{"image_output", func(r *Rates) *llm.Rate { return &r.ImageOutput }, true},
}

// All gives the rates that are said, by their names in price files.
func (r Rates) All() iter.Seq2[string, llm.Rate] {
	return func(yield func(string, llm.Rate) bool) {
		for _, f := range rateNames {
			if rate := *f.of(&r); (rate != 0 || !f.part) && !yield(f.name, rate) {
				return
			}
		}
	}
}

// filled gives every part a rate, and takes so many percent of each.
func (r Rates) filled(percent int64) Rates {
	of := func(rate, whole llm.Rate) llm.Rate {
		switch {
		case rate == 0:
			return whole // scaled already
		case percent == 100:
			return rate
		}
		return llm.Rate(rate.Cost(percent * 1e4)) // rate*percent/100, rounded half up
	}
	r.Input, r.Output = of(r.Input, 0), of(r.Output, 0)
	r.CacheRead, r.CacheWrite = of(r.CacheRead, r.Input), of(r.CacheWrite, r.Input)
	r.CacheWrite1h = of(r.CacheWrite1h, r.CacheWrite)
	r.AudioInput, r.ImageInput = of(r.AudioInput, r.Input), of(r.ImageInput, r.Input)
	r.Reasoning, r.AudioOutput, r.ImageOutput = of(r.Reasoning, r.Output), of(r.AudioOutput, r.Output), of(r.ImageOutput, r.Output)
	return r
}

// A Step is what all tokens of a call cost when the model reads more than so many.
type Step struct {
	Over int64 // input tokens, cached ones included
	Rates
}

// Hours are when a price holds; the zero Hours are always.
type Hours struct {
	Spans    []Span
	Weekdays bool // Monday to Friday only
}

// A Span is a part of the day in UTC: from its first minute up to the one before Until.
type Span struct{ From, Until time.Duration }

func (h *Hours) always() bool { return len(h.Spans) == 0 && !h.Weekdays }

// hold tells whether a moment falls into the hours.
func (h *Hours) hold(at time.Time) bool {
	if h.Weekdays && (at.Weekday() == time.Saturday || at.Weekday() == time.Sunday) {
		return false
	}
	day := at.Sub(at.Truncate(24 * time.Hour))
	return len(h.Spans) == 0 || slices.ContainsFunc(h.Spans, func(s Span) bool { return day >= s.From && day < s.Until })
}

// A Price is what some models of a vendor cost from a day on. It is a fact with a source, and never changed
// once it was in force: another one with a later From takes over.
type Price struct {
	Kinds  []string  // of providers
	Models []string  // globs of their models' names; as exact as can be, so that no new model is priced by accident
	From   time.Time // the zero time: ever since
	Hours  Hours
	Rates
	Steps     []Step              // with rising Over
	Service   map[string]int64    // percent of the rates in a service tier, and for batches
	Fees      map[string]llm.Nano // of one call of a tool that runs at the vendor
	Window    int64               // tokens that fit into the context; 0: not known
	MaxOutput int64               // tokens of one answer; 0: not known
	Source    string              // where the fact is from
	Checked   time.Time           // when it was seen there

	// Version names what Cost depends on: the same for two prices that charge the same. New sets it.
	Version string
	// Guess says that nobody priced the model: this is Options.Unknown.
	Guess bool
}

// Prices finds what models cost. It is immutable.
type Prices struct {
	layers  []map[string]*shelf // by kind of provider; the last layer wins
	all     [][]Price
	version map[string]*Price
	unknown *Price
}

// A shelf has the prices of one kind, the ones to prefer first.
type shelf struct {
	exact map[string][]*Price
	globs []globbed
}

type globbed struct {
	glob  string
	head  string // before its first star: a quick no for most names
	price *Price
}

// Options are where prices come from.
type Options struct {
	// Layers of prices: where a later one has a price that is in force, the earlier ones have no say.
	Layers [][]Price
	// Unknown is a pessimistic price of models that have none; nil: such models have no price.
	Unknown *Price
}

// NewPrices makes a list of prices.
func NewPrices(o Options) *Prices {
	p := &Prices{version: make(map[string]*Price)}
	for _, layer := range o.Layers {
		layer = slices.Clone(layer)
		shelves := make(map[string]*shelf)
		for i := range layer {
			layer[i].Version = version(&layer[i])
			p.version[layer[i].Version] = &layer[i]
			for _, kind := range layer[i].Kinds {
				if shelves[kind] == nil {
					shelves[kind] = &shelf{exact: make(map[string][]*Price)}
				}
				shelves[kind].put(&layer[i])
			}
		}
		for _, s := range shelves {
			s.sort()
		}
		p.layers, p.all = append(p.layers, shelves), append(p.all, layer)
	}
	if o.Unknown != nil {
		unknown := *o.Unknown
		unknown.Guess, unknown.Version = true, version(&unknown)
		p.unknown = &unknown
		p.version[unknown.Version] = &unknown
	}
	return p
}

func (s *shelf) put(p *Price) {
	for _, glob := range p.Models {
		if head, _, star := strings.Cut(glob, "*"); star {
			s.globs = append(s.globs, globbed{glob, head, p})
		} else {
			s.exact[glob] = append(s.exact[glob], p)
		}
	}
}

// sort puts the most particular glob first, and of one name's prices the latest, and before that the one for
// some hours of the day.
func (s *shelf) sort() {
	for _, list := range s.exact {
		slices.SortStableFunc(list, later)
	}
	slices.SortStableFunc(s.globs, func(a, b globbed) int {
		return cmp.Or(len(b.glob)-len(a.glob), later(a.price, b.price))
	})
}

func later(a, b *Price) int {
	if c := b.From.Compare(a.From); c != 0 || a.Hours.always() == b.Hours.always() {
		return c
	}
	if b.Hours.always() {
		return -1
	}
	return 1
}

// Find gives the price of a vendor's model for a call that begins at a moment. False: nobody said what it
// costs, or not for that time.
func (p *Prices) Find(kind, model string, at time.Time) (*Price, bool) {
	at = at.UTC()
	for _, layer := range slices.Backward(p.layers) {
		s := layer[kind]
		if s == nil {
			continue
		}
		for _, price := range s.exact[model] {
			if price.holds(at) {
				return price, true
			}
		}
		for i := range s.globs {
			if g := &s.globs[i]; strings.HasPrefix(model, g.head) && g.price.holds(at) && llm.Match(g.glob, model) {
				return g.price, true
			}
		}
	}
	return p.unknown, p.unknown != nil
}

func (p *Price) holds(at time.Time) bool { return !p.From.After(at) && p.Hours.hold(at) }

// Fill gives a deployment the rates of its model, for strategies to compare, when it has none of its own and
// there is a price that is no guess.
func (p *Prices) Fill(d *Deployment, kind string, at time.Time) {
	if d.Input != 0 || d.Output != 0 {
		return
	}
	if price, ok := p.Find(kind, d.Model, at); ok && !price.Guess {
		d.Input, d.Output = price.Input, price.Output
	}
}

// ByVersion finds the price that a ledger row names, to reckon it again.
func (p *Prices) ByVersion(v string) (*Price, bool) {
	price, ok := p.version[v]
	return price, ok
}

// Layer gives the prices of one layer, in their order.
func (p *Prices) Layer(i int) []Price { return p.all[i] }

// plain leaves out the parts that cost what they would cost anyway.
func (r Rates) plain() Rates {
	full := r.filled(100)
	r = full
	for _, f := range rateNames {
		less := r
		if *f.of(&less) = 0; f.part && less.filled(100) == full {
			r = less
		}
	}
	return r
}

// version is a short hash of all that Cost depends on, and of nothing else. Ledgers keep it: a kind of rate that
// is invented later must not change it where it is not said.
func version(p *Price) string {
	var b strings.Builder
	rates := func(over int64, r Rates) {
		fmt.Fprintf(&b, "over %d", over)
		for name, rate := range r.plain().All() {
			fmt.Fprintf(&b, " %s %d", name, rate)
		}
		b.WriteByte('\n')
	}
	rates(0, p.Rates)
	for _, s := range p.Steps {
		rates(s.Over, s.Rates)
	}
	for _, tier := range slices.Sorted(maps.Keys(p.Service)) {
		fmt.Fprintf(&b, "service %q %d\n", tier, p.Service[tier])
	}
	for _, tool := range slices.Sorted(maps.Keys(p.Fees)) {
		fmt.Fprintf(&b, "fee %q %d\n", tool, p.Fees[tool])
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:6])
}

//go:embed prices.yaml
var embedded []byte

// Embedded gives the reviewed prices that are part of the program.
var Embedded = sync.OnceValue(func() []Price {
	prices, err := ParsePrices("prices.yaml", embedded)
	if err != nil {
		panic(err) // a test reads it: the program was not built from what was tested
	}
	return prices
})
