package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/mattn/go-isatty"
	"github.com/spf13/pflag"
)

// Command is `sluice bench`: it starts the fake upstream and the targets, measures, and ends them all. Flags sets its
// defaults, and says what each member means.
type Command struct {
	Scenario    []string
	Target      []string
	Compare     bool
	Rounds      int
	Duration    time.Duration
	Connections int
	Rate        float64
	Streams     int
	JSON        string
	Markdown    bool
	Plot        []string
	Check       bool
	NoPin       bool

	// The bare reverse proxy that gateways are compared with is this program too, called by itself.
	ProxyListen string
	ProxyTo     string

	Out  io.Writer // os.Stdout when nil
	Err  io.Writer // os.Stderr when nil
	Self []string  // how to run this program; its own file when nil

	settle time.Duration // that a program gets before its memory is read; a second when 0
}

// Flags defines the command's flags, and fills in what they are when nobody says.
func (c *Command) Flags(f *pflag.FlagSet) {
	f.StringSliceVarP(&c.Scenario, "scenario", "s", nil, "Scenarios (`NAME,...`): small, 2k, 200k, 2m, stream, meter, halfload, slow. Left out: small and stream, or all with --compare.")
	f.StringArrayVarP(&c.Target, "target", "t", nil, "A `TARGET`: sluice (this program), sluice=FILE, pool=N (this program with N deployments behind each name; pool=N:STRATEGY), rules or rules=redis://127.0.0.1:PORT (this program with limits and budgets on every call), unledgered (this program with its ledger off), proxy (a bare reverse proxy), direct (no gateway), nginx, NAME=URL (http on 127.0.0.1 or [::1]; the user part is sent as key), or NAME=COMMAND with {listen} and {upstream}. May be repeated.")
	f.BoolVar(&c.Compare, "compare", false, "Run the targets in turn, round by round, and print the ratios to the proxy. Without --target: sluice, proxy, direct, and nginx if it is installed.")
	f.IntVar(&c.Rounds, "rounds", 0, "Run each scenario `N` times against each target. 0: 5 with --compare, else 1.")
	f.DurationVar(&c.Duration, "duration", 3*time.Second, "Length of a run (`TIME`), after a fifth of it for warming.")
	f.IntVar(&c.Connections, "connections", 0, "Load by `N` connections. 0: the scenario's own.")
	f.Float64Var(&c.Rate, "rate", 0, "Send `N` calls a second whatever becomes of them, and count latency from when each was due. 0: each connection calls again as soon as it is answered.")
	f.IntVar(&c.Streams, "streams", 1000, "Hold `N` streams open in the scenario slow.")
	f.StringVar(&c.JSON, "json", "", "Write everything that was measured as JSON to `FILE`; - is standard output.")
	f.BoolVar(&c.Markdown, "markdown", false, "Print tables in Markdown.")
	f.StringSliceVar(&c.Plot, "plot", nil, "Draw a chart (`FILE,...`); the name ends in .svg or .png.")
	f.BoolVar(&c.Check, "check", false, "End with status 3 if a figure of Sluice is above its bar.")
	f.BoolVar(&c.NoPin, "no-pin", false, "Do not bind load and upstream to one CPU, gateways to another.")
	f.StringVar(&c.ProxyListen, "proxy-listen", "", "")
	f.StringVar(&c.ProxyTo, "proxy-to", "", "")
	f.Lookup("proxy-listen").Hidden = true
	f.Lookup("proxy-to").Hidden = true
}

// Run implements the command.
func (c *Command) Run(ctx context.Context) error {
	if c.ProxyTo != "" {
		return serveProxy(ctx, c.ProxyListen, c.ProxyTo)
	}
	if c.Out == nil {
		c.Out = os.Stdout
	}
	if c.Err == nil {
		c.Err = os.Stderr
	}
	list, err := c.defaults()
	if err != nil {
		return err
	}
	report, err := c.measure(ctx, list)
	if err != nil {
		return err
	}
	if err := c.write(report); err != nil {
		return err
	}
	return c.verdict(report)
}

// defaults fills in what was left out, and checks the rest.
func (c *Command) defaults() ([]scenario, error) {
	if c.settle == 0 {
		c.settle = time.Second
	}
	if c.Rounds == 0 {
		c.Rounds = 1
		if c.Compare {
			c.Rounds = 5
		}
	}
	switch {
	case len(c.Scenario) > 0:
	case c.Compare:
		c.Scenario = scenarioNames()
	default:
		c.Scenario = []string{"small", "stream"}
	}
	if len(c.Target) == 0 {
		c.Target = []string{judged}
		if c.Compare {
			c.Target = []string{judged, baseline, "direct"}
			if _, err := exec.LookPath("nginx"); err == nil {
				c.Target = append(c.Target, "nginx")
			}
		}
	}
	for _, limit := range []struct {
		name             string
		got, least, most float64
	}{
		{"--rounds", float64(c.Rounds), 1, 100},
		{"--duration", c.Duration.Seconds(), 0.05, 600},
		{"--connections", float64(c.Connections), 0, 4096},
		{"--rate", c.Rate, 0, 1e6},
		{"--streams", float64(c.Streams), 1, 10_000},
	} {
		if limit.got < limit.least || limit.got > limit.most {
			return nil, fmt.Errorf("%s is %g: want %g to %g", limit.name, limit.got, limit.least, limit.most)
		}
	}
	for _, p := range c.Plot {
		if e := filepath.Ext(p); e != ".svg" && e != ".png" {
			return nil, fmt.Errorf("--plot %s: want a name in .svg or .png", p)
		}
	}
	var list []scenario
	for _, name := range c.Scenario {
		s, err := findScenario(name)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// measure does all runs. Whatever it started has ended when it returns.
func (c *Command) measure(ctx context.Context, list []scenario) (report *Report, err error) {
	self := c.Self
	if self == nil {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program's file: %w", err)
		}
		self = []string{exe}
	}
	upCPU, gateCPU := -1, -1
	if all := cpus(); len(all) >= 2 && !c.NoPin {
		upCPU, gateCPU = all[0], all[1]
		unbind, err := bindSelf(upCPU)
		if err != nil {
			return nil, err
		}
		defer unbind()
	}
	l, err := openLab(ctx, self, upCPU, gateCPU)
	defer l.close()
	if err != nil {
		return nil, err
	}
	for _, spec := range c.Target {
		if err := l.add(spec); err != nil {
			return nil, err
		}
	}
	s := &session{Command: c, lab: l, report: c.newReport(upCPU, gateCPU)}
	var terminal io.Writer
	if f, ok := c.Err.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		terminal = f
	}
	s.progress = startProgress(terminal, s.estimate(list))
	defer s.progress.stop()
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	for _, sc := range list {
		if err := s.measure(ctx, &sc); err != nil {
			return nil, err
		}
	}
	s.programs()
	s.report.finish()
	s.report.judge()
	return s.report, nil
}

func (c *Command) newReport(upCPU, gateCPU int) *Report {
	cpu, kernel := machine()
	r := &Report{
		Machine: Machine{CPU: cpu, Cores: runtime.NumCPU(), Kernel: kernel, Go: runtime.Version(), Date: time.Now()},
		Method:  Method{Rounds: c.Rounds, Seconds: c.Duration.Seconds(), LoadCPU: upCPU, GateCPU: gateCPU},
	}
	if slices.Contains(c.Target, baseline) && len(c.Target) > 1 {
		r.Method.Baseline = baseline
	}
	return r
}

// write puts the report where it was asked for.
func (c *Command) write(r *Report) error {
	text := r.Text
	if c.Markdown {
		text = r.Markdown
	}
	if c.JSON != "-" {
		if err := text(c.Out); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	if c.JSON != "" {
		data, err := json.Marshal(r, jsontext.Multiline(true))
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		data = append(data, '\n')
		if c.JSON == "-" {
			_, err = c.Out.Write(data)
		} else {
			err = os.WriteFile(c.JSON, data, 0o644) //nolint:gosec // a report is for everybody
		}
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	for _, name := range c.Plot {
		if err := plot(r, name); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return nil
}

func plot(r *Report, name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c := r.chart()
	if filepath.Ext(name) == ".png" {
		return c.writePNG(f)
	}
	return c.writeSVG(f)
}

// ErrAboveBar is in the error of a measurement with --check that went well, but whose figures do not suffice.
var ErrAboveBar = errors.New("bars missed")

// verdict is an error when answers were wrong, or with --check when a bar was missed.
func (c *Command) verdict(r *Report) error {
	if c.Check {
		missed := r.missed()
		if len(r.Bars) == 0 {
			return errors.New("--check: nothing was measured that has a bar")
		}
		if len(missed) > 0 {
			var names []string
			for _, b := range missed {
				names = append(names, b.Name)
			}
			return fmt.Errorf("%d of %d %w: %s", len(missed), len(r.Bars), ErrAboveBar, strings.Join(names, "; "))
		}
	}
	if failures := r.failures(); len(failures) > 0 && !c.Compare {
		return errors.New(strings.TrimSpace(failures[0]))
	}
	return nil
}
