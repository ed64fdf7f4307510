package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/control"
	"sluice/internal/quota"
)

// A directoryCommand works on keys, or on one kind of their owners: through a running gateway, or on the store itself.
type directoryCommand struct {
	desk

	kind string // key, team, user, organisation
	path string // /admin/keys
	noun string // as people write it: a key

	spec     specFlags
	list     control.List
	rotation control.Rotation
	override control.Override
	project  string
	takeOver bool
}

const keysHelp = `Make, see and change the keys that clients call with.

A key belongs to an organisation and, if you like, to a team and a user. It may do what its own limits and those of all its owners allow together; without --models it may use no model.

    sluice keys create ci --models 'gpt-*' --requests 600/minute --budget 500/month
    sluice keys create laptop --team research --user ada --models '*' --expires 90d
    sluice keys list --team research
    sluice keys rotate ci --grace 24h

Only the hash of a key is stored: create and rotate show it, once.`

// directory is the commands of keys and their owners.
func (p *program) directory() []*cobra.Command {
	return []*cobra.Command{
		p.subjects("keys", "key", "a key", "Make, see and change the keys that clients call with.", keysHelp),
		p.subjects("teams", "team", "a team", "See and change teams, whose limits hold for all their keys.", ""),
		p.subjects("users", "user", "a user", "See and change users, whose limits hold for all their keys.", ""),
		p.subjects("organisations", "organisation", "an organisation", "See and change organisations; there is one from the start.", ""),
	}
}

// subjects is the commands of one kind. It lists when nothing else is said.
func (p *program) subjects(name, kind, noun, short, long string) *cobra.Command {
	d := &directoryCommand{desk: desk{creates: true}, kind: kind, path: "/admin/" + name, noun: noun}
	act := func(use, short string, args int, flags func(*pflag.FlagSet), run func(context.Context, *streams, string) error) *cobra.Command {
		c := p.command(use, short, flags, nil)
		c.Args = arguments(args, args)
		c.RunE = func(_ *cobra.Command, args []string) error {
			p.run = func(ctx context.Context) error {
				return d.close(run(ctx, p.std, append(args, "")[0]))
			}
			return nil
		}
		return c
	}
	c := act(name, short, 0, d.listFlags, d.runList)
	c.Long = long
	d.flags(c.PersistentFlags())
	c.AddCommand(act("list", "List them.", 0, d.listFlags, d.runList))
	c.AddCommand(act("show NAME", "Show "+noun+", by its name or id, what limits it, and how its budgets stand.", 1, d.showFlags, d.runShow))
	c.AddCommand(act("create NAME", "Make "+noun+".", 1, d.createFlags, d.runCreate))
	c.AddCommand(act("update NAME", "Change "+noun+". What is not said stays.", 1, d.updateFlags, d.runUpdate))
	if kind == "key" {
		rotate := act("rotate NAME", "Give a key another secret, and show it once. The old one works until the grace has passed.", 1, d.rotateFlags, d.runRotate)
		c.AddCommand(rotate)
	}
	override := act("override NAME --rule RULE --periods N", "Give a budget another amount for the running period and those after it.", 1, d.overrideFlags, d.runOverride)
	required(override, "rule", "periods")
	c.AddCommand(override)
	c.AddCommand(act("disable NAME", "Refuse "+noun+" from now on, with all that belongs to it.", 1, nil, d.runAct("disable", "%s is disabled: it is refused everywhere within a second.\n")))
	c.AddCommand(act("enable NAME", "Take "+noun+" back into service.", 1, nil, d.runAct("enable", "%s is enabled.\n")))
	c.AddCommand(act("delete NAME", "Remove "+noun+" for ever. What it has spent stays in the books.", 1, nil, d.runAct("delete", "%s is gone.\n")))
	return c
}

func (d *directoryCommand) listFlags(f *pflag.FlagSet) {
	if d.kind != "organisation" {
		f.StringVar(&d.list.Organisation, "organisation", "", "Only those of this organisation, by `NAME` or id.")
	}
	if d.kind == "key" || d.kind == "user" {
		f.StringVar(&d.list.Team, "team", "", "Only those of this team, by `NAME` or id.")
	}
	if d.kind == "key" {
		f.StringVar(&d.list.User, "user", "", "Only those of this user, by `NAME` or id.")
	}
	f.IntVar(&d.list.Limit, "limit", 1000, "`N` to list at most.")
}

func (d *directoryCommand) showFlags(f *pflag.FlagSet) {
	if d.kind == "organisation" {
		f.StringVar(&d.project, "project", "", "Tell how the budgets of this `PROJECT` of it stand, instead of those of all.")
	}
}

func (d *directoryCommand) createFlags(f *pflag.FlagSet) {
	d.spec.flags(f, d.kind, false)
	if d.kind != "organisation" {
		f.StringVar(&d.list.Organisation, "organisation", "", "The organisation that it belongs to, by `NAME` or id; default when left out.")
	}
	if d.kind == "key" {
		f.BoolVar(&d.takeOver, "import", false, "Take over a key that was made elsewhere: the whole key is read from standard input.")
	}
}

func (d *directoryCommand) updateFlags(f *pflag.FlagSet) { d.spec.flags(f, d.kind, true) }

func (d *directoryCommand) rotateFlags(f *pflag.FlagSet) {
	f.StringVar(&d.rotation.Grace, "grace", "24h", "`SPAN` in which the old key works, too, such as 24h or 7d; 0 ends it at once. A key from an earlier rotation ends at once.")
}

func (d *directoryCommand) overrideFlags(f *pflag.FlagSet) {
	f.StringVar(&d.override.Rule, "rule", "", "The `NAME` of the rule; that of --budget is limits.")
	f.IntVar(&d.override.Budget, "index", 0, "Which of the rule's budgets, from 0.")
	f.StringVar(&d.override.Dollars, "dollars", "", "The `AMOUNT` for these periods, such as 750.")
	f.Int64Var(&d.override.Tokens, "tokens", 0, "The `AMOUNT` in tokens, for a budget in tokens.")
	f.IntVar(&d.override.Periods, "periods", 0, "For `N` periods; 1 is the running one only.")
}

// at is the path of one record.
func (d *directoryCommand) at(ref string, act ...string) string {
	return strings.Join(append([]string{d.path, url.PathEscape(ref)}, act...), "/")
}

func (d *directoryCommand) runCreate(ctx context.Context, std *streams, name string) error {
	ch, err := d.spec.change(nil)
	if err != nil {
		return err
	}
	ch.Name = control.Some(name)
	org := d.list.Organisation
	var in any
	switch d.kind {
	case "key":
		k := control.NewKey{Organisation: org, KeyChange: d.spec.keyChange(ch)}
		if d.takeOver {
			if k.Key, err = readLine(os.Stdin); err != nil {
				return fmt.Errorf("--import: %w", err)
			}
		}
		in = k
	case "user":
		in = control.NewUser{Organisation: org, UserChange: d.spec.userChange(ch)}
	case "team":
		in = control.NewTeam{Organisation: org, Change: ch}
	default:
		in = control.NewOrganisation{Change: ch}
	}
	var v subject
	if err := d.call(ctx, std, d.path, in, &v); err != nil {
		return err
	}
	if d.json {
		return printJSON(std.out, v)
	}
	fmt.Fprintf(std.out, "Made the %s %s, id %s.\n", d.kind, v.Name, v.ID)
	v.tellSecret(std.out, d.kind)
	if d.kind == "key" && len(v.Models) == 0 {
		fmt.Fprintf(std.out, "It may use no model yet: sluice keys update %s --models 'gpt-*'\n", quoted(v.Name))
	}
	return nil
}

func (d *directoryCommand) runUpdate(ctx context.Context, std *streams, ref string) error {
	var was subject
	if err := d.call(ctx, std, d.at(ref), nil, &was); err != nil {
		return err
	}
	ch, err := d.spec.change(was.Rules)
	if err != nil {
		return err
	}
	var in any = ch
	switch d.kind {
	case "key":
		in = d.spec.keyChange(ch)
	case "user":
		in = d.spec.userChange(ch)
	}
	var v subject
	if err := d.ask(ctx, std, ask{http.MethodPatch, d.at(was.ID), in, versioned(was.Version)}, &v); err != nil {
		return err
	}
	if d.json {
		return printJSON(std.out, v)
	}
	_, err = fmt.Fprintf(std.out, "Changed the %s %s: version %d.\n", d.kind, v.Name, v.Version)
	return err
}

func (d *directoryCommand) runRotate(ctx context.Context, std *streams, ref string) error {
	var v subject
	if err := d.call(ctx, std, d.at(ref, "rotate"), d.rotation, &v); err != nil {
		return err
	}
	if d.json {
		return printJSON(std.out, v)
	}
	fmt.Fprintf(std.out, "The key %s has a new secret.\n", v.Name)
	v.tellSecret(std.out, d.kind)
	if v.OldEnds.IsZero() {
		fmt.Fprintln(std.out, "The old one no longer works.")
	} else {
		fmt.Fprintf(std.out, "The old one works until %s.\n", moment(v.OldEnds))
	}
	return nil
}

func (d *directoryCommand) runOverride(ctx context.Context, std *streams, ref string) error {
	var v subject
	if err := d.call(ctx, std, d.at(ref, "override"), d.override, &v); err != nil {
		return err
	}
	if d.json {
		return printJSON(std.out, v)
	}
	return d.printOne(std.out, &v, nil)
}

// runAct runs an act that takes nothing.
func (d *directoryCommand) runAct(act, said string) func(context.Context, *streams, string) error {
	return func(ctx context.Context, std *streams, ref string) error {
		var v subject
		q := ask{method: http.MethodPost, path: d.at(ref, act), in: struct{}{}}
		if act == "delete" {
			q = ask{method: http.MethodDelete, path: d.at(ref)}
		}
		if err := d.ask(ctx, std, q, &v); err != nil {
			return err
		}
		if d.json {
			return printJSON(std.out, v)
		}
		_, err := fmt.Fprintf(std.out, said, "The "+d.kind+" "+v.Name)
		return err
	}
}

func (d *directoryCommand) runShow(ctx context.Context, std *streams, ref string) error {
	var v subject
	if err := d.call(ctx, std, d.at(ref), nil, &v); err != nil {
		return err
	}
	v.Standing = d.standing(ctx, std, v.ID)
	if d.json {
		return printJSON(std.out, v)
	}
	if err := d.printOne(std.out, &v, d.names(ctx, std)); err != nil {
		return err
	}
	return printStanding(std.out, v.Standing)
}

// standing is how the budgets of a record stand; nil where no gateway counts, or none can say.
func (d *directoryCommand) standing(ctx context.Context, std *streams, id string) *quota.Standing {
	if d.local {
		return nil
	}
	at := d.at(id, "budgets")
	if d.project != "" {
		at = d.at(id, "projects", url.PathEscape(d.project), "budgets")
	}
	var st quota.Standing
	if err := d.call(ctx, std, at, nil, &st); err != nil {
		fmt.Fprintf(std.err, "How the budgets stand cannot be told: %v\n", err)
		return nil
	}
	return &st
}

func (d *directoryCommand) runList(ctx context.Context, std *streams, _ string) error {
	all, more, err := d.all(ctx, std, d.path, d.list)
	if err != nil {
		return err
	}
	if d.json {
		return printJSON(std.out, all)
	}
	if err := d.printAll(std.out, all, d.names(ctx, std)); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(std.err, "There are more: --limit raises how many are listed.\n")
	}
	return nil
}

// all reads a list, page by page.
func (d *directoryCommand) all(ctx context.Context, std *streams, path string, l control.List) (all []subject, more bool, err error) {
	all = []subject{}
	q := url.Values{}
	for name, v := range map[string]string{"organisation": l.Organisation, "team": l.Team, "user": l.User} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for {
		var page struct {
			Data []subject
			Next string
		}
		if err := d.call(ctx, std, path+"?"+q.Encode(), nil, &page); err != nil {
			return nil, false, err
		}
		all = append(all, page.Data...)
		if len(all) > l.Limit {
			return all[:l.Limit], true, nil
		}
		if page.Next == "" {
			return all, false, nil
		}
		q.Set("after", page.Next)
	}
}

// names gives owners' names by their ids. It may lack some.
func (d *directoryCommand) names(ctx context.Context, std *streams) map[string]string {
	names := map[string]string{}
	if d.kind != "key" && d.kind != "user" {
		return names
	}
	for _, path := range []string{"/admin/teams", "/admin/users"} {
		list, _, err := d.all(ctx, std, path, control.List{Limit: 10_000})
		for i := range list {
			if err == nil {
				names[list[i].ID] = list[i].Name
			}
		}
	}
	return names
}

// readLine reads a key, which no command line may hold: others can read those.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line != "" {
		return line, nil
	}
	return "", fmt.Errorf("no key on standard input: %w", err)
}
