package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	adminapi "sluice/internal/admin"
)

// A selection is which calls are meant, in the words of the admin listener's queries.
type selection struct{ values map[string]*string }

func (s *selection) flags(f *pflag.FlagSet, from, until string) {
	s.values = map[string]*string{}
	add := func(name, usage string) { s.values[name] = f.String(name, "", usage) }
	add("from", "From this `TIME` on: today, yesterday, this-month, last-month, 2026-11, 2026-11-30 or 2026-11-30T18:00:00Z. "+from)
	add("until", "Until this `TIME`; a day or month is in between. "+until)
	add("zone", "Time `ZONE` of days and months, such as Europe/Berlin; UTC when left out.")
	add("organisation", "Only calls of this organisation, by `ID`.")
	add("team", "Only calls of this team, by `ID`.")
	add("user", "Only calls of this user, by `ID`.")
	add("key", "Only calls with this key, by its public part or `ID`.")
	add("project", "Only calls of this `PROJECT`.")
	add("tag", "Only calls with this `TAG`.")
	add("model", "Only calls of these `MODELS`, as clients say them; * stands for anything, commas part several.")
	add("provider", "Only calls that this `PROVIDER` answered.")
}

// query is the selection as a query has it, with more.
func (s *selection) query(more map[string]string) string {
	q := url.Values{}
	for name, v := range s.values {
		if *v != "" {
			q.Set(name, *v)
		}
	}
	for name, v := range more {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q.Encode()
}

type usageCommand struct {
	desk
	selection
	by         string
	top, limit int
	csv        bool
}

const usageHelp = `Tell what was used: calls, tokens and money.

    sluice usage                                      this month, in one line
    sluice usage --by team,model --from last-month --until last-month
    sluice usage --by key --top 10 --from today
    sluice usage --by day --zone Europe/Berlin --model 'gpt-5*' --csv > usage.csv

Amounts are US dollars, exact to the nano-dollar. Cached tokens are part of the input.`

func (p *program) usage() *cobra.Command {
	u := new(usageCommand)
	c := p.command("usage", "Tell what was used: calls, tokens and money.", u.flags, func(ctx context.Context, std *streams) error { return u.close(u.run(ctx, std)) })
	c.Long = usageHelp
	c.MarkFlagsMutuallyExclusive("csv", "json")
	c.MarkFlagsMutuallyExclusive("top", "limit")
	return c
}

func (u *usageCommand) flags(f *pflag.FlagSet) {
	f.StringVar(&u.by, "by", "", "A line for each of these `WORDS`, commas between: hour, day, month, organisation, team, user, key, project, model, provider.")
	u.selection.flags(f, "The month when left out.", "Now when left out.")
	f.IntVar(&u.top, "top", 0, "Only the `N` lines that cost most, the dearest first.")
	f.IntVar(&u.limit, "limit", 0, "At most `N` lines, in their order; 1000 when left out.")
	f.BoolVar(&u.csv, "csv", false, "Print CSV, for spreadsheets: a cell that one would take for a formula begins with an apostrophe.")
	u.desk.flags(f)
}

func (u *usageCommand) run(ctx context.Context, std *streams) error {
	u.patience = time.Minute
	var out adminapi.Usage
	q := u.query(map[string]string{"by": u.by, "top": whole(u.top), "limit": whole(u.limit)})
	if err := u.call(ctx, std, "/admin/usage?"+q, nil, &out); err != nil {
		return err
	}
	switch {
	case u.json:
		return printJSON(std.out, out)
	case u.csv:
		return writeCSV(std.out, &out)
	}
	return printUsage(std.out, &out)
}

// whole is a number as a query has it; "": it was not said.
func whole(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// cells are what a line is by, in the order in which it was asked.
func cells(l *adminapi.Line, by []string, zone *time.Location) []string {
	out := make([]string, len(by))
	for i, word := range by {
		var v *string
		switch word {
		case "hour":
			out[i] = l.At.In(zone).Format("2006-01-02 15:04")
		case "day":
			out[i] = l.At.In(zone).Format(time.DateOnly)
		case "month":
			out[i] = l.At.In(zone).Format("2006-01")
		case "org":
			v = l.Organisation
		case "team":
			v = l.Team
		case "user":
			v = l.User
		case "key":
			v = l.Key
		case "project":
			v = l.Project
		case "model":
			v = l.Model
		case "provider":
			v = l.Provider
		}
		if v != nil {
			out[i] = *v
		}
	}
	return out
}

func zoneOf(u *adminapi.Usage) *time.Location {
	if zone, err := time.LoadLocation(u.Zone); err == nil {
		return zone
	}
	return time.UTC
}

// printUsage writes a report for people.
func printUsage(out io.Writer, u *adminapi.Usage) error {
	zone := zoneOf(u)
	const minutes = "2006-01-02 15:04"
	fmt.Fprintf(out, "from %s until %s, %s\n", u.From.In(zone).Format(minutes), u.Until.In(zone).Format(minutes), u.Zone)
	heads := append([]string{}, u.By...)
	if len(heads) == 0 {
		heads = []string{""}
	}
	var lines [][]string
	line := func(names []string, t *adminapi.Totals) {
		cells := append([]string{}, names...)
		for _, n := range []int64{t.Calls, t.Failed, t.Input, t.CacheRead, t.Output} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		if cells = append(cells, "$"+t.Cost); u.Total.Cached > 0 {
			cells = append(cells, strconv.FormatInt(t.Cached, 10), "$"+t.Saved)
		}
		lines = append(lines, cells)
	}
	names := append(heads[:len(heads):len(heads)], "calls", "failed", "input", "cached", "output", "cost")
	if u.Total.Cached > 0 { // the cache of answers has given some
		names = append(names, "hits", "saved")
	}
	lines = append(lines, strings.Split(strings.ToUpper(strings.Join(names, "\t")), "\t"))
	last := make([]string, len(heads))
	if len(u.By) > 0 {
		for i := range u.Lines {
			names := cells(&u.Lines[i], u.By, zone)
			for j := range names {
				names[j] = plain(or(names[j], "-"))
			}
			line(names, &u.Lines[i].Totals)
		}
		if u.Others != nil {
			last[0] = "others"
			line(last, u.Others)
		}
	}
	last[0] = "total"
	line(last, &u.Total)
	return writeTable(out, lines, len(heads))
}

// writeTable aligns so many columns at their left, and the numbers after them at their right.
func writeTable(out io.Writer, lines [][]string, texts int) error {
	widths := make([]int, len(lines[0]))
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, cells := range lines {
		for i, cell := range cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < texts {
				cell += pad
			} else {
				cell = pad + cell
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(cell)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// writeCSV writes a report's lines for programs, spreadsheets among them.
func writeCSV(out io.Writer, u *adminapi.Usage) error {
	w := csv.NewWriter(out)
	zone := zoneOf(u)
	names := append([]string{}, u.By...)
	_ = w.Write(append(names, "calls", "failed", "estimated", "cached", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_usd", "saved_usd"))
	for i := range u.Lines {
		t := &u.Lines[i].Totals
		record := cells(&u.Lines[i], u.By, zone)
		for j := range record {
			record[j] = defused(record[j])
		}
		for _, n := range []int64{t.Calls, t.Failed, t.Estimated, t.Cached, t.Input, t.CacheRead, t.CacheWrite, t.Output, t.Reasoning} {
			record = append(record, strconv.FormatInt(n, 10))
		}
		_ = w.Write(append(record, t.Cost, t.Saved))
	}
	w.Flush()
	return w.Error()
}

// defused is a text that no spreadsheet takes for a formula: names of models are what clients say.
func defused(text string) string {
	if strings.IndexAny(text, "=+-@\t\r\n") == 0 {
		return "'" + text
	}
	return text
}

// plain is a text of somebody else's that does nothing to a terminal.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
