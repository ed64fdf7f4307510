package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/control"
	"sluice/internal/flags"
	"sluice/internal/llm"
)

const adminHelp = `Make an owner where nobody can sign in any more, or nobody could yet.

This works on the store itself, whether a gateway runs or not: whoever has the store and the pepper beside it may do everything anyway. It prints a one-time link, by which the owner sets a password: sluice accounts redeem.`

// admin is what whoever has the store does without a gateway.
func (p *program) admin() *cobra.Command {
	o := new(createOwnerCommand)
	c := p.group("admin", "Make an owner, on the store itself.")
	c.Long = adminHelp
	create := p.command("create-owner ADDRESS", "Invite an owner, or let one who forgot the password set another.", o.flags, nil)
	create.Long, create.Args = create.Short+"\n\n"+adminHelp, arguments(1, 1)
	create.RunE = func(_ *cobra.Command, args []string) error {
		p.run = func(ctx context.Context) error { return o.run(ctx, p.std, args[0]) }
		return nil
	}
	c.AddCommand(create)
	return c
}

type createOwnerCommand struct {
	config      string
	local, json bool
}

func (c *createOwnerCommand) flags(f *pflag.FlagSet) {
	flags.Path(f, &c.config, "config", "c", "Configuration that names the store; ./sluice.yaml where there is one.")
	flags.Env(f, "config", "SLUICE_CONFIG")
	f.BoolVar(&c.local, "local", false, "Make the store where there is none yet.")
	f.BoolVar(&c.json, "json", false, "Print JSON.")
}

func (c *createOwnerCommand) run(ctx context.Context, std *streams, address string) error {
	in, at, err := app.CreateOwner(ctx, app.Options{ConfigPath: configPath(c.config), Getenv: os.Getenv}, address, c.local)
	if err != nil {
		return asAnswered(err)
	}
	if c.json {
		return printJSON(std.out, in)
	}
	fmt.Fprintf(std.out, "The owner %s is in the store, %s.\n", in.Account.Email, at)
	tellLink(std.out, in)
	return nil
}

// asAnswered tells an error of an act that was done here as a gateway would.
func asAnswered(err error) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Kind == llm.KindInternal {
		return err
	}
	a := &answered{Status: http.StatusBadRequest, Code: string(e.Kind), Detail: e.Msg, text: e.Msg}
	if e.Kind == llm.KindConflict {
		a.Status = http.StatusConflict
	}
	for _, p := range e.Problems {
		a.text += "; " + p.At + " " + p.Msg
		a.Errors = append(a.Errors, fault{Pointer: p.At, Detail: p.Msg})
	}
	return a
}

// tellLink shows a one-time link, in words that nobody can miss.
func tellLink(out io.Writer, in *control.Invited) {
	fmt.Fprintf(out, "\n    %s\n\nThis is the only time that the link is shown. It works once, until %s: sluice accounts redeem asks for it and for a password.\n", in.Token, moment(in.Expires))
}

const accountsHelp = `Invite, see and change the people who manage the gateway.

An account has one role: owner, admin, operator, auditor or member (docs/accounts.md tells what each may do). It holds for the whole gateway, or within one organisation or team; a member's is a user.

    sluice accounts create bob@example.org --role operator
    sluice accounts reset bob@example.org

Both answer with a one-time link, by which its owner sets a password: sluice accounts redeem. No command takes a password or a token on its line, where others can read it.`

type accountsCommand struct {
	desk

	name, email, role, expires string
	realm                      control.RealmChange
	unbounded                  bool
	scopes                     []string
	limit                      int
}

// act is a command of a desk that takes up to most arguments, least at least.
func (p *program) act(d *desk, use, short string, least, most int, flags func(*pflag.FlagSet), run func(context.Context, *streams, []string) error) *cobra.Command {
	c := p.command(use, short, flags, nil)
	c.Args = arguments(least, most)
	c.RunE = func(_ *cobra.Command, args []string) error {
		p.run = func(ctx context.Context) error { return d.close(run(ctx, p.std, args)) }
		return nil
	}
	return c
}

func (p *program) accounts() *cobra.Command {
	a := &accountsCommand{desk: desk{creates: true}}
	d := &a.desk
	c := p.act(d, "accounts", "See and change the people who manage the gateway.", 0, 0, a.listFlags, a.runList)
	c.Long = accountsHelp
	d.flags(c.PersistentFlags())
	c.AddCommand(
		p.act(d, "list", "List them.", 0, 0, a.listFlags, a.runList),
		p.act(d, "show ACCOUNT", "Show an account, by its e-mail address or id.", 1, 1, nil, a.runShow),
		p.act(d, "create ADDRESS --role ROLE", "Make an account, and show the one-time link by which its owner sets a password.", 1, 1, a.createFlags, a.runCreate),
		p.act(d, "update ACCOUNT", "Change an account. What is not said stays; another role or realm ends its sessions.", 1, 1, a.updateFlags, a.runUpdate),
		p.act(d, "disable ACCOUNT", "Let nobody sign in to an account any more, and end its sessions.", 1, 1, nil, a.runAct(http.MethodPost, "disable", "%s is disabled; its sessions are over.\n")),
		p.act(d, "enable ACCOUNT", "Let its owner sign in to an account again.", 1, 1, nil, a.runAct(http.MethodPost, "enable", "%s is enabled.\n")),
		p.act(d, "reset ACCOUNT", "Show a one-time link by which an account's owner sets another password. Its one-time codes go when it is used.", 1, 1, nil, a.runReset),
		p.act(d, "delete ACCOUNT", "Remove an account, with its sessions and the tokens it made.", 1, 1, nil, a.runAct(http.MethodDelete, "", "%s is gone.\n")),
		p.act(d, "redeem", "Set your password by a one-time link, which is asked for.", 0, 0, a.redeemFlags, a.runRedeem),
	)
	for _, sub := range c.Commands() {
		if sub.Name() == "create" {
			required(sub, "role")
		}
	}
	return c
}

func (a *accountsCommand) listFlags(f *pflag.FlagSet) {
	f.StringVar(&a.realm.Organisation, "organisation", "", "Only those of this organisation, by `NAME` or id.")
	f.IntVar(&a.limit, "limit", 1000, "`N` to list at most.")
}

func (a *accountsCommand) realmFlags(f *pflag.FlagSet) {
	f.StringVar(&a.realm.Organisation, "organisation", "", "The organisation that bounds the role, by `NAME` or id; of a team or a user the one that it is in, default when left out.")
	f.StringVar(&a.realm.Team, "team", "", "The team that bounds the role, by `NAME` or id.")
	f.StringVar(&a.realm.User, "user", "", "The user whose keys a member has, by `NAME` or id.")
}

const roleWords = "The `ROLE`: owner, admin, operator, auditor or member."

func (a *accountsCommand) createFlags(f *pflag.FlagSet) {
	f.StringVar(&a.role, "role", "", roleWords)
	f.StringVar(&a.name, "name", "", "What people call it, a `NAME`; the e-mail address when left out.")
	a.realmFlags(f)
}

func (a *accountsCommand) updateFlags(f *pflag.FlagSet) {
	f.StringVar(&a.role, "role", "", roleWords)
	f.StringVar(&a.name, "name", "", "Another `NAME`.")
	f.StringVar(&a.email, "email", "", "Another `ADDRESS` to sign in with.")
	a.realmFlags(f)
	f.BoolVar(&a.unbounded, "whole-gateway", false, "Take the bounds of the role away.")
}

func accountAt(ref string, act ...string) string {
	at := "/admin/accounts/" + url.PathEscape(ref)
	for _, a := range act {
		at += "/" + a
	}
	return at
}

func (a *accountsCommand) runList(ctx context.Context, std *streams, _ []string) error {
	all, more, err := listPages[control.AccountView](ctx, &a.desk, std, "/admin/accounts", a.realm.Organisation, a.limit)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, all)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "E-MAIL\tNAME\tROLE\tREALM\tSTATE\tONE-TIME CODES\tID")
	for i := range all {
		v := &all[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", or(v.Email, "-"), v.Name, v.Role, realmWords(v.Realm), accountState(v), yes(v.TOTP), v.ID)
	}
	return listEnds(std, w, more)
}

// listEnds ends a table of a list, and says whether there is more.
func listEnds(std *streams, w *tabwriter.Writer, more bool) error {
	if err := w.Flush(); err != nil {
		return err
	}
	if more {
		fmt.Fprintln(std.err, "There are more: --limit raises how many are listed.")
	}
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func realmWords(r control.RealmView) string {
	if r.Kind == "" {
		return "the whole gateway"
	}
	return string(r.Kind) + " " + r.ID
}

func accountState(v *control.AccountView) string {
	switch {
	case v.Disabled:
		return "disabled"
	case !v.Password && v.Identity == "":
		return "invited"
	}
	return "active"
}

func (a *accountsCommand) runShow(ctx context.Context, std *streams, args []string) error {
	var v control.AccountView
	if err := a.call(ctx, std, accountAt(args[0]), nil, &v); err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, v)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	for _, l := range [][2]string{
		{"e-mail", or(v.Email, "-")},
		{"name", v.Name},
		{"id", v.ID},
		{"role", string(v.Role)},
		{"realm", realmWords(v.Realm)},
		{"state", accountState(&v)},
		{"password", yes(v.Password)},
		{"one-time codes", yes(v.TOTP)},
		{"signs in at", or(v.Identity, "-")},
		{"created", moment(v.Created)},
		{"made by", or(v.Maker, "-")},
	} {
		fmt.Fprintf(w, "%s\t%s\n", l[0], l[1])
	}
	return w.Flush()
}

func (a *accountsCommand) runCreate(ctx context.Context, std *streams, args []string) error {
	var in control.Invited
	fresh := control.NewAccount{Name: a.name, Email: args[0], Role: control.Role(a.role), Realm: a.realm}
	if err := a.call(ctx, std, "/admin/accounts", fresh, &in); err != nil {
		return err
	}
	return a.invited(std, &in, "Made the account %s, whose role is %s.\n")
}

func (a *accountsCommand) invited(std *streams, in *control.Invited, said string) error {
	if a.json {
		return printJSON(std.out, in)
	}
	fmt.Fprintf(std.out, said, in.Account.Email, in.Account.Role)
	tellLink(std.out, in)
	return nil
}

func (a *accountsCommand) runReset(ctx context.Context, std *streams, args []string) error {
	var in control.Invited
	if err := a.call(ctx, std, accountAt(args[0], "reset"), struct{}{}, &in); err != nil {
		return err
	}
	return a.invited(std, &in, "%s, whose role is %s, may set another password. The old one works until then.\n")
}

func (a *accountsCommand) runUpdate(ctx context.Context, std *streams, args []string) error {
	var was, v control.AccountView
	if err := a.call(ctx, std, accountAt(args[0]), nil, &was); err != nil {
		return err
	}
	var ch control.AccountUpdate
	text(&ch.Name, a.name)
	text(&ch.Email, a.email)
	if a.role != "" {
		ch.Role = control.Some(control.Role(a.role))
	}
	if a.unbounded || a.realm != (control.RealmChange{}) {
		ch.Realm = control.Some(a.realm)
	}
	if err := a.ask(ctx, std, ask{http.MethodPatch, accountAt(was.ID), ch, versioned(was.Version)}, &v); err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, v)
	}
	_, err := fmt.Fprintf(std.out, "Changed the account %s: %s, %s.\n", or(v.Email, v.ID), v.Role, realmWords(v.Realm))
	return err
}

// runAct runs an act that takes nothing.
func (a *accountsCommand) runAct(method, act, said string) func(context.Context, *streams, []string) error {
	return func(ctx context.Context, std *streams, args []string) error {
		q := ask{method: method, path: accountAt(args[0])}
		if act != "" {
			q.path, q.in = accountAt(args[0], act), struct{}{}
		}
		var v control.AccountView
		if err := a.ask(ctx, std, q, &v); err != nil {
			return err
		}
		if a.json {
			return printJSON(std.out, v)
		}
		_, err := fmt.Fprintf(std.out, said, "The account "+or(v.Email, v.ID))
		return err
	}
}

// listPages reads a list, page by page.
func listPages[T any](ctx context.Context, d *desk, std *streams, path, org string, limit int) (all []T, more bool, err error) {
	all = []T{}
	q := url.Values{}
	if org != "" {
		q.Set("organisation", org)
	}
	for {
		var page struct {
			Data []T
			Next string
		}
		if err := d.call(ctx, std, path+"?"+q.Encode(), nil, &page); err != nil {
			return nil, false, err
		}
		all = append(all, page.Data...)
		if len(all) > limit {
			return all[:limit], true, nil
		}
		if page.Next == "" {
			return all, false, nil
		}
		q.Set("after", page.Next)
	}
}

// since tells when something was, "-" where it never was.
func since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return moment(t)
}
