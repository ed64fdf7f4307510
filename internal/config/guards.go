package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"sluice/internal/llm"
)

// Guard is what is looked for in calls, and what becomes of it; docs/guardrails.md has the rules. It holds for the models, keys, teams, users and organisations that name it.
type Guard struct {
	// What it is called.
	Name string `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9_-]*$" example:"personal-data"`
	// What becomes of what is found in requests: observe counts it, restore sends a placeholder and puts the value back into the answer, mask sends a placeholder that stays in the answer, block refuses the call. Left out: off.
	Mode string `yaml:"mode" enum:",off,observe,restore,mask,block" example:"restore"`
	// What becomes of what is found in answers: observe counts it, mask puts a placeholder in its place, block ends the answer with an error. Left out: off.
	Answers string `yaml:"answers" enum:",off,observe,mask,block" example:"mask"`
	// Refuse what could not be scanned: where a detector fails, and media and tokens that none reads. Left out, such calls go on and are counted.
	Enforce bool `yaml:"enforce"`
	// With enforce, whether images, sounds, documents and tokens may go unscanned: refuse or allow. Left out: refuse.
	Media string `yaml:"media" enum:",refuse,allow" example:"allow"`
	// It holds for every call.
	Always bool `yaml:"always"`
	// What is looked for, of what is built in (docs/guardrails.md lists it). Left out: all but URL and MAC_ADDRESS; [] means none, only rules, deny and webhook.
	Entities []string `yaml:"entities" example:"EMAIL_ADDRESS"`
	// Findings that are less certain, in percent, do not count. Left out: 50.
	Threshold int `yaml:"threshold" min:"0" max:"100" example:"60"`
	// The same for single types.
	Thresholds []GuardThreshold `yaml:"thresholds"`
	// Types that are refused whatever the mode: those built in, and those of rules, deny and webhook.
	Block []string `yaml:"block" example:"SECRET"`
	// Patterns of your own.
	Rules []GuardRule `yaml:"rules"`
	// Words of your own.
	Deny []GuardList `yaml:"deny"`
	// Texts that are no finding, whatever their case.
	Allow []string `yaml:"allow" example:"support@example.com"`
	// A service that looks, too.
	Webhook GuardWebhook `yaml:"webhook"`

	// Stored tells that it is one of the store's.
	Stored bool `yaml:"-"`
}

// GuardThreshold is how certain a finding of one type must be.
type GuardThreshold struct {
	// The type.
	Type string `yaml:"type" required:"true" example:"PHONE_NUMBER"`
	// Percent.
	Percent int `yaml:"percent" required:"true" min:"1" max:"100" example:"80"`
}

// GuardRule finds what a pattern matches within a line.
type GuardRule struct {
	// What it is called.
	Name string `yaml:"name" required:"true" example:"employee"`
	// What its findings are: upper case letters, digits and _. It is in placeholders, records and metrics.
	Type string `yaml:"type" required:"true" example:"EMPLOYEE_ID"`
	// An RE2 expression.
	Pattern string `yaml:"pattern" required:"true" example:"\\bE-[0-9]{6}\\b"`
	// How certain a match is, in percent. Left out: 85.
	Score int `yaml:"score" min:"0" max:"100" example:"40"`
	// Words that add 35 percent when they stand before the match.
	Context []string `yaml:"context" example:"staff"`
}

// GuardList finds words and phrases, whatever their case, where they stand as whole words.
type GuardList struct {
	// What it is called.
	Name string `yaml:"name" required:"true" example:"projects"`
	// What its findings are: upper case letters, digits and _.
	Type string `yaml:"type" required:"true" example:"PROJECT"`
	// The words.
	Words []string `yaml:"words" example:"blue heron"`
}

// GuardWebhook is a service that gets the texts of calls and tells what it found.
type GuardWebhook struct {
	// Where it is. Left out: there is none.
	URL llm.Secret `yaml:"url" example:"https://analyzer.internal/analyze"`
	// What it speaks: presidio (the analyzer's POST /analyze) or sluice (docs/guardrails.md). Left out: sluice.
	Form string `yaml:"form" enum:",sluice,presidio" example:"presidio"`
	// The language that presidio is told. Left out: en.
	Language string `yaml:"language" example:"de"`
	// What the POST is signed with, at least 32 characters: the header X-Sluice-Signature holds t=TIME,v1=HEX, an HMAC-SHA-256 of TIME, a point and the body. Left out: it is not signed.
	Secret llm.Secret `yaml:"secret" example:"${GUARD_SECRET}"`
	// Longest time that it may take. Left out: 2s.
	Timeout time.Duration `yaml:"timeout" example:"500ms"`
	// Private, loopback or otherwise special address ranges it may be in. All others of that sort are refused when dialled.
	AllowPrivate []netip.Prefix `yaml:"allow_private" example:"10.20.0.0/16"`
}

// guardType is what a type of findings may be called: it stands in placeholders and in labels of metrics.
var guardType = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,39}$`)

// Bounds of what one guard may look for: all of it is looked for in every text.
const (
	mostGuardRules = 200
	mostGuardWords = 20_000
)

func (d *decoder) guards(c *Config) {
	names := make(map[string]int)
	for i := range c.Guards {
		g, path := &c.Guards[i], index("guards", i)
		d.unique(names, path+".name", g.Name, i, "guards")
		own := make(map[string]int)
		if len(g.Rules) > mostGuardRules {
			d.fail(path+".rules", "has %d entries; %d are allowed", len(g.Rules), mostGuardRules)
		}
		for j := range g.Rules {
			r, at := &g.Rules[j], index(path+".rules", j)
			d.unique(own, at+".name", r.Name, j, "rules and deny")
			d.guardType(at+".type", r.Type)
			if _, err := regexp.Compile(r.Pattern); err != nil {
				d.fail(at+".pattern", "is no RE2 expression: %s", err)
			}
		}
		words := 0
		for j := range g.Deny {
			l, at := &g.Deny[j], index(path+".deny", j)
			d.unique(own, at+".name", l.Name, j, "rules and deny")
			d.guardType(at+".type", l.Type)
			if words += len(l.Words); len(l.Words) == 0 || words > mostGuardWords {
				d.fail(at+".words", "must have at least one word, and all lists of a guard together at most %d", mostGuardWords)
			}
		}
		for j := range g.Thresholds {
			d.guardType(index(path+".thresholds", j)+".type", g.Thresholds[j].Type)
		}
		for j, kind := range g.Block {
			d.guardType(index(path+".block", j), kind)
		}
		d.guardWebhook(path+".webhook", &g.Webhook)
		if g.Entities != nil && len(g.Entities) == 0 && len(g.Rules) == 0 && len(g.Deny) == 0 && g.Webhook.URL == "" {
			d.fail(path+".entities", "is empty, and there is nothing else to look for: name some, or give rules, deny or webhook")
		}
		if d.opts.Guard != nil && !d.failed(path) {
			if err := d.opts.Guard(g); err != nil {
				d.fail(path, "%s", err)
			}
		}
	}
	for i := range c.Models {
		d.knownGuards(c, index("models", i)+".guards", c.Models[i].Guards)
	}
	for i := range c.Keys {
		d.knownGuards(c, index("keys", i)+".guards", c.Keys[i].Guards)
	}
}

// failed tells whether anything at or below a path has a problem.
func (d *decoder) failed(path string) bool {
	for at := range d.bad {
		if strings.HasPrefix(at, path) {
			return true
		}
	}
	return false
}

func (d *decoder) guardType(path, name string) {
	if name != "" && !guardType.MatchString(name) {
		d.fail(path, "is %s: must be up to 40 upper case letters, digits and _, the first a letter", d.said(path))
	}
}

func (d *decoder) guardWebhook(path string, w *GuardWebhook) {
	if w.URL == "" {
		if w.Form != "" || w.Secret != "" || w.Timeout != 0 || w.Language != "" || len(w.AllowPrivate) > 0 {
			d.fail(path+".url", "is missing: the other fields of webhook only add to it")
		}
		return
	}
	d.webURL(path+".url", string(w.URL))
	if why := Weak(string(w.Secret)); w.Secret != "" && why != "" {
		d.fail(path+".secret", "%s: make one by: openssl rand -hex 32", why)
	}
	if w.Timeout < 0 || w.Timeout > time.Minute {
		d.fail(path+".timeout", "must be at most 1m: the call waits for it")
	}
}

func (d *decoder) knownGuards(c *Config, path string, names []string) {
	known := make([]string, len(c.Guards))
	for i := range c.Guards {
		known[i] = c.Guards[i].Name
	}
	for i, name := range names {
		if !slices.Contains(known, name) {
			d.absent(index(path, i), "is %s, which guards does not have%s", d.said(index(path, i)), meant(name, known))
		}
	}
}

// GuardsOf are the guards that hold for calls of an entry of models: its own, those of the entries that it stands for, and those
// of all that it may fall back to, so that no way around leads past one.
func (c *Config) GuardsOf(name string) []string {
	var guards []string
	seen := map[string]bool{}
	var follow func(name string)
	follow = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		m, ok := c.entry(name)
		if !ok {
			return
		}
		guards = append(guards, m.Guards...)
		if m.alias() {
			follow(m.Model)
		}
		for _, list := range [][]string{m.Fallback, m.FallbackContext, m.FallbackContent} {
			for _, next := range list {
				follow(next)
			}
		}
	}
	follow(name)
	slices.Sort(guards)
	return slices.Compact(guards)
}
