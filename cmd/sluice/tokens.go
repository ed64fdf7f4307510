package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/control"
)

//nolint:gosec // G101: it tells of tokens and has none
const tokensHelp = `Make, see and end the tokens that tools manage the gateway with.

A token is sent as Authorization: Bearer TOKEN; these commands read theirs from SLUICE_ADMIN_TOKEN or --token-file. It may do no more than its maker may at any time, and ends after 90 days unless it says otherwise, 365 at most. --scopes narrows it to acts, such as keys.*; an act that needs a fresh proof (docs/accounts.md) must be named whole. A token makes no tokens: do that on the machine of the gateway, with admin.token, or on the store (--local).`

// tokens are the commands of automation tokens.
func (p *program) tokens() *cobra.Command {
	a := &accountsCommand{desk: desk{creates: true}}
	d := &a.desk
	c := p.act(d, "tokens", "Make, see and end the tokens that tools manage the gateway with.", 0, 0, a.listFlags, a.runTokens)
	c.Long = tokensHelp
	d.flags(c.PersistentFlags())
	c.AddCommand(
		p.act(d, "list", "List them.", 0, 0, a.listFlags, a.runTokens),
		p.act(d, "show TOKEN", "Show a token, by its id.", 1, 1, nil, func(ctx context.Context, std *streams, args []string) error {
			return a.runToken(ctx, std, http.MethodGet, args[0], "")
		}),
		p.act(d, "create NAME", "Make a token, and show it once.", 1, 1, a.tokenFlags, a.runCreateToken),
		p.act(d, "delete TOKEN", "End a token, by its id.", 1, 1, nil, func(ctx context.Context, std *streams, args []string) error {
			return a.runToken(ctx, std, http.MethodDelete, args[0], "The token %s is over.\n")
		}),
	)
	return c
}

func (a *accountsCommand) tokenFlags(f *pflag.FlagSet) {
	f.StringVar(&a.role, "role", "", "The `ROLE`: owner, admin, operator, auditor or member; the maker's when left out.")
	f.StringSliceVar(&a.scopes, "scopes", nil, "What it may do of what the role may, `ACTS` or globs of them: 'keys.*,usage.read'. Left out: all of it that needs no fresh proof.")
	f.StringVar(&a.expires, "expires", "", "`WHEN` it ends: a date (2030-01-31), a time, or a span from now (30d). Left out: 90d.")
	a.realmFlags(f)
}

func (a *accountsCommand) runTokens(ctx context.Context, std *streams, _ []string) error {
	all, more, err := listPages[control.TokenView](ctx, &a.desk, std, "/admin/tokens", a.realm.Organisation, a.limit)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, all)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tROLE\tREALM\tSCOPES\tMADE BY\tEXPIRES\tLAST USED")
	for i := range all {
		v := &all[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Name, v.ID, v.Role, realmWords(v.Realm), or(strings.Join(v.Scopes, ", "), "all"), v.Maker, day(v.Expires), since(v.Used))
	}
	return listEnds(std, w, more)
}

func (a *accountsCommand) runCreateToken(ctx context.Context, std *streams, args []string) error {
	var v control.MadeToken
	fresh := control.NewToken{Name: args[0], Role: control.Role(a.role), Realm: a.realm, Scopes: a.scopes, Expires: a.expires}
	if err := a.call(ctx, std, "/admin/tokens", fresh, &v); err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, v)
	}
	_, err := fmt.Fprintf(std.out, "Made the token %s, id %s, whose role is %s. It ends %s.\n\n    %s\n\nThis is the only time that the token is shown: only its hash is stored.\n",
		v.Name, v.ID, v.Role, moment(v.Expires), v.Secret)
	return err
}

// runToken shows or ends a token.
func (a *accountsCommand) runToken(ctx context.Context, std *streams, method, id, said string) error {
	var v control.TokenView
	if err := a.ask(ctx, std, ask{method: method, path: "/admin/tokens/" + url.PathEscape(id)}, &v); err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, v)
	}
	if said != "" {
		_, err := fmt.Fprintf(std.out, said, v.Name)
		return err
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	for _, l := range [][2]string{
		{"name", v.Name},
		{"id", v.ID},
		{"role", string(v.Role)},
		{"realm", realmWords(v.Realm)},
		{"scopes", or(strings.Join(v.Scopes, ", "), "all")},
		{"made by", v.Maker},
		{"created", moment(v.Created)},
		{"expires", moment(v.Expires)},
		{"last used", since(v.Used)},
	} {
		fmt.Fprintf(w, "%s\t%s\n", l[0], l[1])
	}
	return w.Flush()
}

// sessions are the commands of those who are signed in.
func (p *program) sessions() *cobra.Command {
	a := new(accountsCommand)
	d := &a.desk
	c := p.act(d, "sessions", "See where people are signed in, and sign them out.", 0, 0, a.listFlags, a.runSessions)
	d.flags(c.PersistentFlags())
	c.AddCommand(
		p.act(d, "list [ACCOUNT]", "List the sessions of an account, or of all of them.", 0, 1, a.listFlags, a.runSessions),
		p.act(d, "end ACCOUNT [SESSION]", "End one session of an account, or all of them. They are over everywhere at once.", 1, 2, nil, a.runEnd),
	)
	return c
}

// A placedSession is one, and whose.
type placedSession struct {
	Account string `json:"account"` // the e-mail address, or the id where there is none
	control.SessionView
}

func (a *accountsCommand) runSessions(ctx context.Context, std *streams, args []string) error {
	refs, more := args, false
	if len(args) == 0 {
		var people []control.AccountView
		var err error
		if people, more, err = listPages[control.AccountView](ctx, &a.desk, std, "/admin/accounts", a.realm.Organisation, a.limit); err != nil {
			return err
		}
		for i := range people {
			refs = append(refs, or(people[i].Email, people[i].ID))
		}
	}
	all := []placedSession{}
	for _, ref := range refs {
		list, _, err := listPages[control.SessionView](ctx, &a.desk, std, accountAt(ref, "sessions"), "", 1000)
		if err != nil {
			return err
		}
		for i := range list {
			all = append(all, placedSession{ref, list[i]})
		}
	}
	if a.json {
		return printJSON(std.out, all)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tID\tBY\tBEGAN\tLAST USED\tENDS\tFROM\tBROWSER")
	for i := range all {
		v := &all[i]
		from := "-"
		if v.Address.IsValid() {
			from = v.Address.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.60s\n", plain(v.Account), v.ID, v.Method, moment(v.Created), moment(v.Seen), moment(v.Ends), from, plain(or(v.Agent, "-")))
	}
	return listEnds(std, w, more)
}

func (a *accountsCommand) runEnd(ctx context.Context, std *streams, args []string) error {
	at := accountAt(args[0], "sessions")
	if len(args) > 1 {
		at += "/" + url.PathEscape(args[1])
	}
	var out struct {
		ID    string `json:"id,omitempty"`
		Ended int64  `json:"ended"`
	}
	if err := a.ask(ctx, std, ask{method: http.MethodDelete, path: at}, &out); err != nil {
		return err
	}
	if out.ID != "" {
		out.Ended = 1
	}
	if a.json {
		return printJSON(std.out, out)
	}
	_, err := fmt.Fprintf(std.out, "Ended %d of the sessions of %s.\n", out.Ended, args[0])
	return err
}
