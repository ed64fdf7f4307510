package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/flags"
)

const settingsHelp = `Check the configuration file, and change the settings of the store beside it.

The file says how this machine serves; providers, models, prices and rules may also stand in the store, where they change while the gateway runs, on all replicas within a second. What the file has is read-only in the store.

    sluice config show > settings.yaml      what is there; *** stands for secrets
    sluice config plan settings.yaml        what would change
    sluice config apply settings.yaml       show that, ask, and do it
    sluice config history
    sluice config rollback 7

A secret in the document is plain (it is sealed before it is stored), a reference that secrets.references of the file allows, or *** to leave what is there.`

// A settingsCommand works on the settings of the store: the objects of the configuration that are kept there.
type settingsCommand struct {
	desk
	base   int64
	why    string
	yes    bool
	limit  int
	before string
	whole  bool
}

// patience is for an answer to a change: what a document refers to in Vault is read before it is stored.
const settingsPatience = time.Minute

// configuration is the commands of the file and of the settings of the store.
func (p *program) configuration() *cobra.Command {
	conf := p.group("config", "Check the configuration file, and change the settings of the store beside it.")
	conf.Long = settingsHelp
	checks := new(checkCommand)
	check := p.command("check [FILE]", "Read a configuration as serve would and tell everything that is wrong with it.",
		func(f *pflag.FlagSet) { f.BoolVar(&checks.json, "json", false, "Print JSON.") }, nil)
	check.Long = check.Short + " FILE is sluice.yaml when left out."
	check.Args = arguments(0, 1)
	check.RunE = func(_ *cobra.Command, args []string) error {
		file := append(args, "sluice.yaml")[0]
		p.run = func(ctx context.Context) error { return checks.run(ctx, p.std, file) }
		return nil
	}
	conf.AddCommand(check)
	conf.AddCommand(p.command("schema", "Print the JSON Schema of sluice.yaml, for editors.", nil, func(_ context.Context, std *streams) error { return printSchema(std) }))

	s := &settingsCommand{desk: desk{creates: true}}
	s.patience = settingsPatience
	add := func(use, short string, least, most int, more func(*pflag.FlagSet), run func(context.Context, *streams, string) error) {
		conf.AddCommand(p.deskCommand(use, short, &s.desk, least, most, more, run))
	}
	add("plan FILE", "Tell what a document would change in the settings. Nothing is changed.", 1, 1, nil, s.runPlan)
	add("apply FILE", "Make a document the settings from now on: show what it changes, ask, and do it.", 1, 1, s.applyFlags, s.runApply)
	add("show [REVISION]", "Print the document of the newest revision of the settings, or of another.", 0, 1,
		func(f *pflag.FlagSet) {
			f.BoolVar(&s.whole, "whole", false, "Print the whole configuration that holds instead: of the file, the store and the defaults.")
		}, s.runShow)
	add("history", "List the revisions of the settings, the newest first.", 0, 0, s.historyFlags, s.runHistory)
	add("rollback REVISION", "Make the content of an earlier revision the settings again: show what it changes, ask, and do it.", 1, 1, s.changeFlags, s.runRollback)
	add("status", "Show which revision of the settings each replica runs on.", 0, 0, nil, s.runStatus)
	return conf
}

func (s *settingsCommand) changeFlags(f *pflag.FlagSet) {
	f.BoolVarP(&s.yes, "yes", "y", false, "Do not ask.")
	f.StringVar(&s.why, "why", "", "A `TEXT` for the history and the audit log.")
}

func (s *settingsCommand) applyFlags(f *pflag.FlagSet) {
	f.Int64Var(&s.base, "base", -1, "Only if revision `N` is still the newest: the one that an earlier plan was made of, 0 for none. Left out, the one that is shown.")
	s.changeFlags(f)
}

func (s *settingsCommand) historyFlags(f *pflag.FlagSet) {
	f.IntVar(&s.limit, "limit", 50, "At most `N` revisions.")
	f.StringVar(&s.before, "after", "", "Go on after this `REVISION`, with older ones.")
}

// document reads the document that is to be applied.
func document(path string) (string, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(io.LimitReader(os.Stdin, maxAnswer))
	} else {
		text, err = os.ReadFile(flags.Absolute(path))
	}
	return string(text), err
}

// proposed is a document, and what it would change.
func (s *settingsCommand) proposed(ctx context.Context, std *streams, path string) (text string, plan *control.Plan, err error) {
	if text, err = document(path); err == nil {
		plan, err = s.plan(ctx, std, control.Proposal{Document: text})
	}
	return text, plan, err
}

func (s *settingsCommand) runPlan(ctx context.Context, std *streams, path string) error {
	_, plan, err := s.proposed(ctx, std, path)
	if err != nil {
		return err
	}
	if s.json {
		return printJSON(std.out, plan)
	}
	return printSettings(std.out, plan)
}

func (s *settingsCommand) plan(ctx context.Context, std *streams, in control.Proposal) (*control.Plan, error) {
	plan := new(control.Plan)
	return plan, s.call(ctx, std, "/admin/config/plan", in, plan)
}

func (s *settingsCommand) runApply(ctx context.Context, std *streams, path string) error {
	text, plan, err := s.proposed(ctx, std, path)
	if err != nil {
		return err
	}
	if s.base >= 0 && s.base != plan.Base {
		return &answered{Status: http.StatusConflict, Code: "conflict", text: fmt.Sprintf("the settings are at revision %d, not at %d any more: plan again", plan.Base, s.base)}
	}
	return s.change(ctx, std, plan, "/admin/config/apply", control.Application{Document: text, Base: &plan.Base, Why: s.why})
}

func (s *settingsCommand) runRollback(ctx context.Context, std *streams, number string) error {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no revision: sluice config history lists them", number)
	}
	plan, err := s.plan(ctx, std, control.Proposal{Revision: n})
	if err != nil {
		return err
	}
	return s.change(ctx, std, plan, "/admin/config/rollback", control.Rollback{Revision: n, Why: s.why})
}

// change shows a plan, asks, and does it.
func (s *settingsCommand) change(ctx context.Context, std *streams, plan *control.Plan, path string, in any) error {
	talk := std.out
	if s.json {
		talk = std.err
	}
	if !s.json || !s.yes {
		if err := printSettings(talk, plan); err != nil {
			return err
		}
	}
	if len(plan.Changes) > 0 && !s.yes {
		if err := confirmed(talk, "Make these changes, on all replicas?"); err != nil {
			return err
		}
	}
	var done control.Applied
	if err := s.call(ctx, std, path, in, &done); err != nil {
		return err
	}
	switch {
	case s.json:
		return printJSON(std.out, done)
	case len(done.Changes) == 0:
		return nil
	}
	_, err := fmt.Fprintf(std.out, "This is revision %d now. Replicas take it up within a second: sluice config status.\n", done.Revision)
	return err
}

// confirmed asks whoever is at the terminal.
func confirmed(out io.Writer, question string) error {
	fmt.Fprintf(out, "%s Type yes: ", question)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(answer) == "yes" {
		return nil
	}
	fmt.Fprintln(out)
	if err != nil {
		return errors.New("nobody said yes, so nothing was changed: --yes says it on the command line")
	}
	return errors.New("nothing was changed")
}

// signs are what the lines of a change begin with.
var signs = map[string]string{"added": "+", "changed": "~", "removed": "-", "moved": ">"}

// printSettings writes what a plan changes, for people.
func printSettings(out io.Writer, plan *control.Plan) error {
	if len(plan.Changes) == 0 {
		_, err := fmt.Fprintf(out, "Nothing changes: the settings are so already, at revision %d.\n", plan.Base)
		return err
	}
	var b strings.Builder
	writeChanges(&b, plan.Changes)
	fmt.Fprintf(&b, "%s, from revision %d\n", count(len(plan.Changes), "change"), plan.Base)
	_, err := io.WriteString(out, b.String())
	return err
}

// count is a number of things, with their word for one.
func count[N int | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", one, "s")
}

func writeChanges(b *strings.Builder, changes []config.ObjectChange) {
	for i := range changes {
		ch := &changes[i]
		fmt.Fprintf(b, "%s %s\n", signs[ch.What], plain(ch.String()))
		for _, f := range ch.Fields {
			name, was, is := plain(f.Field), plain(f.Before), plain(f.After)
			switch {
			case was == "":
				fmt.Fprintf(b, "    + %s: %s\n", name, is)
			case is == "":
				fmt.Fprintf(b, "    - %s: %s\n", name, was)
			default:
				fmt.Fprintf(b, "    ~ %s: %s -> %s\n", name, was, is)
			}
		}
	}
}

func (s *settingsCommand) runShow(ctx context.Context, std *streams, number string) error {
	if s.whole {
		var v control.ConfigView
		if err := s.call(ctx, std, "/admin/config", nil, &v); err != nil {
			return err
		}
		if s.json {
			return printJSON(std.out, v)
		}
		_, err := io.WriteString(std.out, v.Document)
		return err
	}
	var r control.RevisionDetails
	if err := s.call(ctx, std, "/admin/config/revisions/"+url.PathEscape(cmp.Or(number, "newest")), nil, &r); err != nil {
		return err
	}
	if s.json {
		return printJSON(std.out, r)
	}
	about := "# There are no settings in the store yet."
	if r.Number > 0 {
		about = fmt.Sprintf("# Revision %d, %s by %s: %s", r.Number, r.At.UTC().Format(time.RFC3339), plain(r.By), plain(r.Act))
		if r.Why != "" {
			about += " (" + plain(r.Why) + ")"
		}
	}
	_, err := fmt.Fprintf(std.out, "%s\n%s", about, r.Document)
	return err
}

func (s *settingsCommand) runHistory(ctx context.Context, std *streams, _ string) error {
	list := []control.RevisionView{}
	q := url.Values{"limit": {strconv.Itoa(min(s.limit, 500))}}
	next := s.before
	for len(list) < s.limit {
		var page control.Page[control.RevisionView]
		if next != "" {
			q.Set("after", next)
		}
		if err := s.call(ctx, std, "/admin/config/history?"+q.Encode(), nil, &page); err != nil {
			return err
		}
		list = append(list, page.Data...)
		if next = page.Next; next == "" {
			break
		}
	}
	list = list[:min(len(list), s.limit)]
	if s.json {
		return printJSON(std.out, list)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "REVISION\tMADE (UTC)\tBY\tACT\tOF\tWHY")
	for i := range list {
		r := &list[i]
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", r.Number, r.At.UTC().Format(time.DateTime), plain(or(r.By, "-")), plain(r.Act), r.Based, plain(or(r.Why, "-")))
	}
	return w.Flush()
}

func (s *settingsCommand) runStatus(ctx context.Context, std *streams, _ string) error {
	var v control.ConfigView
	if err := s.call(ctx, std, "/admin/config", nil, &v); err != nil {
		return err
	}
	if s.json {
		return printJSON(std.out, struct {
			Newest   int64                 `json:"newest"`
			Replicas []control.ReplicaView `json:"replicas"`
		}{v.Newest, v.Replicas})
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "REPLICA\tREVISION\tREFUSED\tSEEN (UTC)\tPROBLEM")
	for i := range v.Replicas {
		r := &v.Replicas[i]
		refused := "-"
		if r.Refused > 0 {
			refused = fmt.Sprint(r.Refused)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", plain(r.ID), r.Revision, refused, r.Seen.UTC().Format(time.DateTime), plain(or(r.Problem, "-")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "the newest revision is %d\n", v.Newest)
	return err
}

// A secretsCommand gives the secrets of the store other keys.
type secretsCommand struct {
	desk
	kek string
}

const rotateHelp = `Seal all secrets of the store under a new key, while the gateway goes on.

    sluice secrets rotate                 another key of the store, at the gateway
    sluice secrets rotate --kek new.yaml  another key-encryption key, at the store

With --kek the secrets stay under their keys, and these are wrapped by the key-encryption key that new.yaml names (secrets.key, secrets.command, or the file secrets.key of its data directory) instead of the one that --config names. It works on the store itself. Gateways that run go on, but take no new secrets; start each anew with new.yaml.`

func (p *program) secrets() *cobra.Command {
	group := p.group("secrets", "Give the secrets of the store other keys.")
	s := new(secretsCommand)
	c := p.command("rotate", "Seal all secrets of the store under a new key, while the gateway goes on.", func(f *pflag.FlagSet) {
		flags.File(f, &s.kek, "kek", "", "Configuration that names another key-encryption key, which is to hold from now on.")
		s.flags(f)
	}, func(ctx context.Context, std *streams) error { return s.close(s.run(ctx, std)) })
	c.Long = rotateHelp
	group.AddCommand(c)
	return group
}

func (s *secretsCommand) run(ctx context.Context, std *streams) error {
	if s.kek != "" {
		return s.rewrap(ctx, std)
	}
	s.patience = 10 * time.Minute
	var r control.Rotated
	if err := s.call(ctx, std, "/admin/secrets/rotate", struct{}{}, &r); err != nil {
		return err
	}
	if s.json {
		return printJSON(std.out, r)
	}
	_, err := fmt.Fprintf(std.out, "%d secrets are sealed under the new key %d; old keys that were destroyed: %d.\n", r.Resealed, r.Key, r.Retired)
	return err
}

func (s *secretsCommand) rewrap(ctx context.Context, std *streams) error {
	at, kek, err := app.RewrapSecrets(ctx, app.Options{ConfigPath: configPath(s.config), Getenv: os.Getenv}, s.kek)
	if err != nil {
		return err
	}
	if s.json {
		return printJSON(std.out, struct {
			Store string `json:"store"`
			KEK   string `json:"key_encryption_key"`
		}{at, kek})
	}
	_, err = fmt.Fprintf(std.out, "The keys of the store, %s, are wrapped by another key-encryption key (%s). Start each gateway anew with %s.\n", at, kek, s.kek)
	return err
}
