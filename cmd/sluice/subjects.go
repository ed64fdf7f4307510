package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/internal/control"
	"sluice/internal/quota"
	"sluice/internal/rules"
)

// A subject is the view of a record of any kind.
type subject struct {
	Secret       string             `json:"secret,omitempty"`
	Organisation string             `json:"organisation,omitempty"`
	Team         string             `json:"team,omitempty"`
	User         string             `json:"user,omitempty"`
	Email        string             `json:"email,omitempty"`
	Teams        []string           `json:"teams,omitempty"`
	Rotated      time.Time          `json:"rotated,omitzero"`
	OldEnds      time.Time          `json:"old_key_ends,omitzero"`
	Effective    *control.Effective `json:"effective,omitempty"`
	Standing     *quota.Standing    `json:"standing,omitempty"` // of a running gateway
	control.View
}

// tellSecret shows a key, in words that nobody can miss.
func (v *subject) tellSecret(out io.Writer, kind string) {
	switch {
	case v.Secret != "":
		fmt.Fprintf(out, "\n    %s\n\nThis is the only time that the key is shown: only its hash is stored. Lost it? sluice keys rotate %s\n", v.Secret, quoted(v.Name))
	case kind == "key":
		fmt.Fprintln(out, "The key is the one that was read; only its hash is stored.")
	}
}

// quoted is a name as a shell takes it.
func quoted(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == "" && !strings.HasPrefix(name, "-") {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

func (d *directoryCommand) printAll(out io.Writer, all []subject, names map[string]string) error {
	slices.SortStableFunc(all, func(a, b subject) int { return cmp.Compare(a.Name, b.Name) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := map[string]string{"key": "\tTEAM\tUSER", "user": "\tTEAMS\tE-MAIL"}[d.kind]
	fmt.Fprintf(w, "NAME\tID%s\tSTATE\tMODELS\tLIMITS\tEXPIRES\n", head)
	for i := range all {
		v := &all[i]
		fmt.Fprintf(w, "%s\t%s", v.Name, v.ID)
		switch d.kind {
		case "key":
			fmt.Fprintf(w, "\t%s\t%s", named(names, v.Team), named(names, v.User))
		case "user":
			fmt.Fprintf(w, "\t%s\t%s", named(names, v.Teams...), cmp.Or(v.Email, "-"))
		}
		fmt.Fprintf(w, "\t%s\t%s\t%s\t%s\n", v.state(), d.models(v.Models), limits(v.Rules), day(v.Expires))
	}
	return w.Flush()
}

// named are the names of ids, or the ids where they are not known.
func named(names map[string]string, ids ...string) string {
	var out []string
	for _, id := range ids {
		if id != "" {
			out = append(out, cmp.Or(names[id], id))
		}
	}
	return cmp.Or(strings.Join(out, ", "), "-")
}

func (v *subject) state() string {
	switch {
	case v.Disabled:
		return "disabled"
	case !v.Expires.IsZero() && v.Expires.Before(time.Now()):
		return "expired"
	}
	return "active"
}

// models tells a list of globs; one that is left out means no model for a key, and no restriction for an owner.
func (d *directoryCommand) models(globs []string) string {
	switch {
	case len(globs) > 0:
		return strings.Join(globs, ", ")
	case globs == nil && d.kind != "key":
		return "-"
	}
	return "none"
}

// limits tells rules in one line.
func limits(list []rules.Rule) string {
	var parts []string
	for i := range list {
		r := &list[i]
		var p []string
		for _, n := range r.Requests {
			p = append(p, n+" requests")
		}
		for _, n := range r.Tokens {
			p = append(p, n+" tokens")
		}
		if r.Parallel > 0 {
			p = append(p, fmt.Sprintf("%d at once", r.Parallel))
		}
		for j := range r.Budgets {
			p = append(p, budget(&r.Budgets[j]))
		}
		line := strings.Join(p, ", ")
		if len(r.Models) > 0 {
			line += " for " + strings.Join(r.Models, " ")
		}
		if len(r.Per) > 0 {
			line += " per " + strings.Join(r.Per, " and ")
		}
		parts = append(parts, line)
	}
	return cmp.Or(strings.Join(parts, "; "), "-")
}

func budget(b *rules.Budget) string {
	s := fmt.Sprintf("%d tokens/%s", b.Tokens, b.Every)
	if b.Dollars != "" {
		s = "$" + b.Dollars + "/" + b.Every
	}
	if b.Mode != "" && b.Mode != "hard" {
		s += " (" + strings.ReplaceAll(b.Mode, "_", " ") + ")"
	}
	for _, o := range b.Overrides {
		amount := fmt.Sprintf("%d tokens", o.Tokens)
		if o.Dollars != "" {
			amount = "$" + o.Dollars
		}
		s += fmt.Sprintf(" [%s from %s until %s]", amount, o.From, o.Until)
	}
	return s
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateOnly)
}

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// printOne shows a record, a line for each thing that it says.
func (d *directoryCommand) printOne(out io.Writer, v *subject, names map[string]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" && value != "-" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	line("name", v.Name)
	line("id", v.ID)
	line("state", v.state())
	line("organisation", v.Organisation)
	line("team", named(names, v.Team))
	line("teams", named(names, v.Teams...))
	line("user", named(names, v.User))
	line("e-mail", v.Email)
	line("models", d.models(v.Models))
	line("endpoints", strings.Join(v.Endpoints, ", "))
	for i := range v.Rules {
		line("rule "+v.Rules[i].Name, limits(v.Rules[i:i+1]))
	}
	line("allow from", strings.Join(v.AllowFrom, ", "))
	line("tags", strings.Join(v.Tags, ", "))
	line("guards", strings.Join(v.Guards, ", "))
	if v.Overrides != nil {
		line("may ask for", cmp.Or(strings.Join(v.Overrides, ", "), "nothing"))
	}
	line("answers kept", v.Cache)
	line("project", v.Project)
	for _, name := range slices.Sorted(maps.Keys(v.Metadata)) {
		line("metadata "+name, v.Metadata[name])
	}
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			line(name, moment(t))
		}
	}
	at("expires", v.Expires)
	at("rotated", v.Rotated)
	at("old key ends", v.OldEnds)
	at("created", v.Created)
	line("made by", v.Maker)
	line("version", fmt.Sprint(v.Version))
	if e := v.Effective; e != nil {
		var lists []string
		for _, globs := range e.Models {
			lists = append(lists, cmp.Or(strings.Join(globs, ", "), "none"))
		}
		fmt.Fprintf(w, "\nwith its owners:\t\n")
		line("  models", strings.Join(lists, "; of these only "))
		line("  endpoints", strings.Join(e.Endpoints, ", "))
		line("  allow from", strings.Join(e.AllowFrom, ", "))
		line("  answers kept", e.Cache)
		for i := range e.Rules {
			kind, id, _ := strings.Cut(e.Rules[i].Subject, ":")
			line("  rule "+e.Rules[i].Name+" of the "+kind+" "+cmp.Or(names[id], id), limits([]rules.Rule{e.Rules[i].Rule}))
		}
		at("  expires", e.Expires)
		if e.Disabled {
			line("  state", "disabled")
		}
	}
	return w.Flush()
}

// printStanding shows how budgets stand. Of one that is counted apart, by what nobody has said which is meant of, only the limit is known.
func printStanding(out io.Writer, st *quota.Standing) error {
	if st == nil || len(st.Budgets) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUDGET\tOF THE\tSPENT\tHELD\tLIMIT\tLEFT\tEVERY\tRESETS")
	for i := range st.Budgets {
		b := &st.Budgets[i]
		name := plain(b.Rule)
		if len(b.Apart) > 0 {
			name += " per " + strings.Join(b.Apart, " and ")
		}
		amount := func(n string) string {
			switch {
			case n == "":
				return "-"
			case b.Unit == "usd":
				return "$" + n
			}
			return n
		}
		resets := moment(b.Until)
		if strings.HasPrefix(b.Every, "rolling") {
			resets = "bit by bit"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, b.Whose, amount(b.Spent), amount(b.Held), amount(b.Limit), amount(b.Remaining), b.Every, resets)
	}
	return w.Flush()
}
