package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"sluice/internal/config"
)

// DoctorOptions say what Doctor looks at, and how.
type DoctorOptions struct {
	Options
	Offline  bool                // nothing beyond this machine's files and ports is asked
	Progress func(done, all int) // told after each check, from any goroutine; nil: nobody is
	now      func() time.Time    // time.Now when nil
	root     fs.FS               // where proc and sys are; the machine's own when nil
}

// A State is what came of a check.
type State string

// The states. Only a Problem is one that a gateway cannot well run with.
const (
	Fine    State = "ok"
	Warning State = "warning"
	Problem State = "problem"
	Skipped State = "skipped"
)

// A Finding is what a check has seen. It holds no secret of the configuration.
type Finding struct {
	Check string `json:"check"`
	State State  `json:"state"`
	Seen  string `json:"seen"`
	Cure  string `json:"cure,omitempty"`
}

// A Diagnosis is what Doctor has found.
type Diagnosis struct {
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	Findings []Finding `json:"findings"`
}

// patience is how long one check may take.
const patience = 10 * time.Second

// A patient is what checks look at.
type patient struct {
	o    DoctorOptions
	cfg  *config.Config
	text []byte   // of the configuration, as it was read
	read []string // the files that it names and that were read, the configuration first
}

// A check looks at one thing.
type check struct {
	name string
	afar bool // it asks somebody beyond this machine
	look func(context.Context, *patient) []Finding
}

// checks are all, in the order in which they are told.
var checks = []check{
	{"listeners", false, lookListeners},
	{"data directory", false, lookData},
	{"secret files", false, lookFiles},
	{"disk", false, lookDisk},
	{"store", false, lookStore},
	{"redis", true, lookRedis},
	{"providers", true, lookProviders},
	{"certificate", false, lookCertificate},
	{"prices", false, lookPrices},
	{"time zones", false, lookZones},
	{"open files", false, lookOpenFiles},
	{"memory", false, lookMemory},
	{"settings", false, lookSettings},
}

// Doctor looks for what keeps a gateway with a configuration from running well. It changes nothing, and makes no call that
// costs. A configuration that is wrong is a finding, too.
func Doctor(ctx context.Context, o DoctorOptions) *Diagnosis {
	d, p := new(Diagnosis), newPatient(o)
	err := p.load(ctx)
	if err != nil {
		d.add("configuration", nil, unreadable(err))
		d.add("all else", nil, []Finding{skip("it depends on the configuration")})
		return d
	}
	hidden := p.cfg.AllSecrets()
	d.add("configuration", hidden, []Finding{fine("%s is valid: %d providers, %d models, %d keys",
		cmp.Or(o.ConfigPath, "the embedded one"), len(p.cfg.Providers), len(p.cfg.Models), len(p.cfg.Keys))})
	for i, findings := range p.examine(ctx) {
		d.add(checks[i].name, hidden, findings)
	}
	return d
}

func newPatient(o DoctorOptions) *patient {
	if o.now == nil {
		o.now = time.Now
	}
	if o.root == nil {
		o.root = os.DirFS("/")
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	return &patient{o: o}
}

// load reads the configuration, and remembers what was read with it.
func (p *patient) load(ctx context.Context) (err error) {
	if p.o.ConfigPath == "" {
		p.cfg, err = config.Default(ConfigOptions(ctx, p.o.Getenv))
		return err
	}
	o := ConfigOptions(ctx, p.o.Getenv)
	o.ReadFile = func(name string) ([]byte, error) {
		data, err := os.ReadFile(name)
		if err == nil {
			p.read = append(p.read, name)
			if name == p.o.ConfigPath {
				p.text = data
			}
		}
		return data, err
	}
	p.cfg, err = config.Load(p.o.ConfigPath, o)
	return err
}

func unreadable(err error) (out []Finding) {
	e, ok := errors.AsType[*config.Error](err)
	if !ok {
		return []Finding{problem("name one that can be read: --config FILE", "%s", err)}
	}
	for _, p := range e.Problems {
		out = append(out, problem("correct it; sluice config check tells the same, docs/configuration.md has every field", "%s", p.String()))
	}
	return out
}

// examine runs all checks at once, each with its time.
func (p *patient) examine(ctx context.Context) [][]Finding {
	out := make([][]Finding, len(checks))
	var all sync.WaitGroup
	var mu sync.Mutex // guards done
	done := 0
	for i := range checks {
		c := &checks[i]
		all.Go(func() {
			ctx, stop := context.WithTimeout(ctx, patience)
			defer stop()
			if c.afar && p.o.Offline {
				out[i] = []Finding{skip("--offline")}
			} else {
				out[i] = c.look(ctx, p)
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			p.o.Progress(done, len(checks))
		})
	}
	all.Wait()
	return out
}

// add takes findings in under a check's name, where they have none of their own, without what is hidden.
func (d *Diagnosis) add(name string, hidden []string, findings []Finding) {
	for _, f := range findings {
		f.Check = cmp.Or(f.Check, name)
		f.Seen, f.Cure = without(f.Seen, hidden), without(f.Cure, hidden)
		switch f.State {
		case Problem:
			d.Problems++
		case Warning:
			d.Warnings++
		}
		d.Findings = append(d.Findings, f)
	}
}

// without is a text that repeats no secret, nor the password of one that is a URL.
func without(text string, hidden []string) string {
	for _, secret := range hidden {
		if u, err := url.Parse(secret); err == nil {
			if password, ok := u.User.Password(); ok && password != "" {
				text = strings.ReplaceAll(text, password, "***")
			}
		}
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

func fine(seen string, args ...any) Finding {
	return Finding{State: Fine, Seen: fmt.Sprintf(seen, args...)}
}

func skip(why string) Finding { return Finding{State: Skipped, Seen: why} }

func warn(cure, seen string, args ...any) Finding {
	return Finding{State: Warning, Seen: fmt.Sprintf(seen, args...), Cure: cure}
}

func problem(cure, seen string, args ...any) Finding {
	return Finding{State: Problem, Seen: fmt.Sprintf(seen, args...), Cure: cure}
}

// of gives a finding another name than its check's.
func (f Finding) of(name string) Finding {
	f.Check = name
	return f
}
