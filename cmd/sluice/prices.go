package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/catalog"
	"sluice/internal/config"
	"sluice/internal/flags"
	"sluice/internal/llm"
)

// A pricesCommand knows the configuration, for its data directory.
type pricesCommand struct {
	config    string
	json, yes bool
}

func (p *pricesCommand) flags(f *pflag.FlagSet) {
	flags.Path(f, &p.config, "config", "c", "Configuration, for the data directory; ./sluice.yaml where there is one.")
	flags.Env(f, "config", "SLUICE_CONFIG")
}

// prices lists when nothing else is said.
func (p *program) prices() *cobra.Command {
	pr := new(pricesCommand)
	asJSON := func(f *pflag.FlagSet) { f.BoolVar(&pr.json, "json", false, "Print JSON.") }
	with := func(c *cobra.Command, least, most int, run func(std *streams, args []string) error) *cobra.Command {
		c.Args = arguments(least, most)
		c.RunE = func(_ *cobra.Command, args []string) error {
			p.run = func(context.Context) error { return run(p.std, args) }
			return nil
		}
		return c
	}
	list := func(std *streams, args []string) error { return pr.list(std, append(args, "")[0]) }
	c := with(p.command("prices", "See what models cost, and take up new prices.", asJSON, nil), 0, 0, list)
	pr.flags(c.PersistentFlags())
	l := p.command("list [MODEL]", "Show what models cost, in US dollars for a million tokens.", asJSON, nil)
	l.Long = l.Short + " MODEL takes only prices of models whose names have it in them."
	c.AddCommand(with(l, 0, 1, list))
	c.AddCommand(with(p.command("diff FILE", "Tell what a price file says otherwise than the prices in force.", asJSON, nil), 1, 1,
		func(std *streams, args []string) error { return pr.diff(std, flags.Absolute(args[0])) }))
	c.AddCommand(with(p.command("update FILE", "Take up a price file: show what it changes, ask, and keep it in the data directory, where it wins over the prices in the program.",
		func(f *pflag.FlagSet) { f.BoolVarP(&pr.yes, "yes", "y", false, "Do not ask.") }, nil), 1, 1,
		func(std *streams, args []string) error { return pr.update(std, flags.Absolute(args[0])) }))
	return c
}

// A priceView is a price for people and scripts. Amounts are decimal dollars: rates for a million tokens, fees
// for a call.
type priceView struct {
	Origin    string            `json:"origin"` // embedded, or the price file
	Kinds     []string          `json:"kinds"`
	Models    []string          `json:"models"`
	From      string            `json:"from,omitempty"`
	Hours     string            `json:"hours,omitempty"`
	Rates     map[string]string `json:"rates"`
	Above     []stepView        `json:"above,omitempty"`
	Service   map[string]int64  `json:"service_percent,omitempty"`
	Fees      map[string]string `json:"fees,omitempty"`
	Window    int64             `json:"window,omitempty"`
	MaxOutput int64             `json:"max_output,omitempty"`
	Source    string            `json:"source"`
	Checked   string            `json:"checked"`
	Version   string            `json:"version"`
}

type stepView struct {
	Over  int64             `json:"over"`
	Rates map[string]string `json:"rates"`
}

func (p *pricesCommand) list(std *streams, model string) error {
	cfg, err := loadConfig(p.config)
	if err != nil {
		return err
	}
	kept, err := app.KeptPrices(cfg)
	if err != nil {
		return err
	}
	list := catalog.Over(catalog.Embedded(), kept)
	embedded := len(list) - len(kept)
	views := []priceView{}
	for i, p := range catalog.NewPrices(catalog.Options{Layers: [][]catalog.Price{list}}).Layer(0) {
		origin := "embedded"
		if i >= embedded {
			origin = app.PriceFile(cfg)
		}
		if slices.ContainsFunc(p.Models, func(name string) bool { return strings.Contains(name, model) }) {
			views = append(views, viewOf(origin, &p))
		}
	}
	if p.json {
		return printJSON(std.out, views)
	}
	if len(views) == 0 {
		return fmt.Errorf("no price names %q: such a model is unpriced", model)
	}
	return printPrices(std.out, views)
}

func viewOf(origin string, p *catalog.Price) priceView {
	v := priceView{
		Origin: origin, Kinds: p.Kinds, Models: p.Models, From: dateOf(p.From), Hours: p.Hours.String(), Rates: ratesOf(p.Rates), Service: p.Service,
		Window: p.Window, MaxOutput: p.MaxOutput, Source: p.Source, Checked: dateOf(p.Checked), Version: p.Version,
	}
	for _, s := range p.Steps {
		v.Above = append(v.Above, stepView{s.Over, ratesOf(s.Rates)})
	}
	for tool, fee := range p.Fees {
		if v.Fees == nil {
			v.Fees = make(map[string]string)
		}
		v.Fees[tool] = fee.String()
	}
	return v
}

func ratesOf(r catalog.Rates) map[string]string {
	out := make(map[string]string)
	for name, rate := range r.All() {
		out[name] = llm.Nano(rate).String()
	}
	return out
}

// dateOf is a moment as price files say it, "" for none.
func dateOf(at time.Time) string {
	switch {
	case at.IsZero():
		return ""
	case at.Equal(at.Truncate(24 * time.Hour)):
		return at.Format(time.DateOnly)
	}
	return at.Format(time.RFC3339)
}

func printPrices(out io.Writer, views []priceView) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tMODEL\tFROM\tINPUT\tCACHED\tOUTPUT\tMORE\tCHECKED\tVERSION")
	for i := range views {
		v := &views[i]
		money := func(name string) string {
			if amount, ok := v.Rates[name]; ok {
				return "$" + amount
			}
			return "-"
		}
		var more []string
		for _, s := range v.Above {
			more = append(more, fmt.Sprintf("above %d: $%s/$%s", s.Over, s.Rates["input"], s.Rates["output"]))
		}
		for _, name := range slices.Sorted(maps.Keys(v.Rates)) {
			if name != "input" && name != "cache_read" && name != "output" {
				more = append(more, name+" $"+v.Rates[name])
			}
		}
		for _, tier := range slices.Sorted(maps.Keys(v.Service)) {
			more = append(more, fmt.Sprintf("%s %d%%", tier, v.Service[tier]))
		}
		name := v.Models[0]
		if n := len(v.Models) - 1; n > 0 {
			name += fmt.Sprintf(" (+%d)", n)
		}
		from := strings.TrimSpace(v.From + " " + v.Hours)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", strings.Join(v.Kinds, ","), name, from,
			money("input"), money("cache_read"), money("output"), strings.Join(more, ", "), v.Checked, v.Version)
	}
	return w.Flush()
}

func (p *pricesCommand) diff(std *streams, file string) error {
	_, changes, _, err := p.changes(file)
	if err != nil {
		return err
	}
	if p.json {
		return printJSON(std.out, changes)
	}
	return printChanges(std.out, changes)
}

// changes reads a file and tells what would be otherwise if it took the place of the file that is kept.
func (p *pricesCommand) changes(file string) (*config.Config, []catalog.Change, []byte, error) {
	cfg, err := loadConfig(p.config)
	if err != nil {
		return nil, nil, nil, err
	}
	after, text, err := app.ReadPrices(file)
	if err != nil {
		return nil, nil, nil, err
	}
	before, err := app.KeptPrices(cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	return cfg, catalog.Diff(catalog.Over(catalog.Embedded(), before), catalog.Over(catalog.Embedded(), after)), text, nil
}

func printChanges(out io.Writer, changes []catalog.Change) error {
	var b strings.Builder
	for i := 0; i < len(changes); {
		ch, same := &changes[i], i+1
		b.WriteString(ch.Kind + " " + ch.Model)
		for same < len(changes) && changes[same].Like(ch) {
			b.WriteString(", " + changes[same].Model)
			same++
		}
		i = same
		if from := dateOf(ch.From); from != "" {
			b.WriteString("; from " + from)
		}
		if ch.Hours != "" {
			b.WriteString("; " + ch.Hours)
		}
		b.WriteByte('\n')
		for _, line := range ch.Lines {
			b.WriteString("    " + line + "\n")
		}
	}
	fmt.Fprintf(&b, "%d changes, in US dollars for a million tokens\n", len(changes))
	_, err := io.WriteString(out, b.String())
	return err
}

func (p *pricesCommand) update(std *streams, file string) error {
	cfg, changes, text, err := p.changes(file)
	if err != nil {
		return err
	}
	if err := printChanges(std.out, changes); err != nil {
		return err
	}
	if !p.yes {
		if err := confirmed(std.out, fmt.Sprintf("Keep it as %s?", app.PriceFile(cfg))); err != nil {
			return err
		}
	}
	if err := app.KeepPrices(cfg, text); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "kept as %s; a gateway that runs takes it up at its next start or reload\n", app.PriceFile(cfg))
	return err
}
