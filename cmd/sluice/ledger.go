package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	adminapi "sluice/internal/admin"
	"sluice/internal/app"
	"sluice/internal/config"
	"sluice/internal/flags"
	accounts "sluice/internal/usage"
)

// ledger is the commands of the books.
func (p *program) ledger() *cobra.Command {
	group := p.group("ledger", "Look at single calls, and check that the books are right.")
	l := new(listCommand)
	list := p.command("list", "List calls, the latest first, or show one with all that is known of it.", l.flags, func(ctx context.Context, std *streams) error { return l.close(l.run(ctx, std)) })
	v := new(verifyCommand)
	verify := p.command("verify", "Check the write-ahead log of a gateway, also while it runs.", v.flags, func(_ context.Context, std *streams) error { return v.run(std) })
	verify.Long = verify.Short + " Every byte is covered by a checksum, or has to be zero. Nothing is changed. The exit code is 3 when there is damage."
	r := new(recomputeCommand)
	recompute := p.command("recompute", "Add all rows up anew, and hold against them the sums of reports and the counters of budgets.", r.flags, func(ctx context.Context, std *streams) error { return r.close(r.run(ctx, std)) })
	recompute.Long = recompute.Short + " Calls may go on meanwhile. Counters are those of the gateway that is asked; without one only sums are looked at. The exit code is 3 when something is wrong and was not mended."
	group.AddCommand(list, verify, recompute)
	return group
}

type listCommand struct {
	desk
	selection
	request, after string
	limit          int
}

func (l *listCommand) flags(f *pflag.FlagSet) {
	f.StringVar(&l.request, "request", "", "Show the call with this request `ID` (X-Request-Id), with all that is known of it.")
	l.selection.flags(f, "The beginning when left out.", "Now when left out.")
	f.IntVar(&l.limit, "limit", 50, "At most `N` calls.")
	f.StringVar(&l.after, "after", "", "Go on where an earlier list ended, at the `CURSOR` that it gave.")
	l.desk.flags(f)
	f.Lookup("json").Usage = "Print JSON, a line for each call."
}

// rowsAtOnce is how many rows a page has at most.
const rowsAtOnce = 1000

func (l *listCommand) run(ctx context.Context, std *streams) error {
	if l.limit < 1 {
		return errors.New("--limit: want a number from 1")
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	if !l.json && l.request == "" {
		fmt.Fprintln(w, "CHARGED (UTC)\tREQUEST\tKEY\tMODEL\tPROVIDER\tSTATUS\tINPUT\tOUTPUT\tCOST\tTOOK\tMARKS")
	}
	next := l.after
	for left := l.limit; left > 0; {
		var page adminapi.Rows
		q := l.query(map[string]string{"request": l.request, "after": next, "limit": whole(min(left, rowsAtOnce))})
		if err := l.call(ctx, std, "/admin/ledger?"+q, nil, &page); err != nil {
			return err
		}
		if l.request != "" && len(page.Data) == 0 {
			return fmt.Errorf("no call %s is in the ledger; one that ended a moment ago gets there within a second", plain(l.request))
		}
		if err := l.print(std.out, w, page.Data); err != nil {
			return err
		}
		left -= len(page.Data)
		if next = page.Next; next == "" {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if next != "" && l.request == "" {
		fmt.Fprintf(std.err, "There are more: --after %s goes on.\n", next)
	}
	return nil
}

func (l *listCommand) print(out io.Writer, w *tabwriter.Writer, rows []adminapi.Row) error {
	for i := range rows {
		r := &rows[i]
		switch {
		case l.json:
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return err
			}
		case l.request != "":
			if err := printRow(w, r); err != nil {
				return err
			}
		default:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t$%s\t%s\t%s\n", r.Charged.UTC().Format(time.DateTime), plain(r.RequestID), plain(r.Key), plain(r.Model),
				plain(or(r.Provider, "-")), statusOf(r), tokensOf(r, "input"), tokensOf(r, "output"), r.Cost, tookOf(r), or(strings.Join(marksOf(r), ","), "-"))
		}
	}
	return nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func statusOf(r *adminapi.Row) string {
	status := "-"
	if r.Status > 0 {
		status = fmt.Sprint(r.Status)
	}
	return strings.TrimSpace(status + " " + plain(r.Error))
}

func tokensOf(r *adminapi.Row, kind string) string {
	if n, ok := r.Tokens[kind]; ok {
		return fmt.Sprint(n)
	}
	return "-"
}

func tookOf(r *adminapi.Row) string {
	return (time.Duration(r.Total) * time.Microsecond).Round(time.Millisecond).String()
}

// marksOf is what is not as usual.
func marksOf(r *adminapi.Row) (marks []string) {
	for _, m := range []struct {
		is   bool
		word string
	}{{r.Stream, "stream"}, {r.Estimated, "estimated"}, {r.Partial, "partial"}, {r.Fallback != "", "fallback"}, {r.Cache != "", "cache"}, {r.Attempts > 1, "retried"}} {
		if m.is {
			marks = append(marks, m.word)
		}
	}
	return marks
}

// printRow writes all that is known of a call.
func printRow(w *tabwriter.Writer, r *adminapi.Row) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	if _, err := d.Token(); err != nil { // members in the order of the type
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var v any
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		n := json.NewDecoder(strings.NewReader(string(raw)))
		n.UseNumber()
		if err := n.Decode(&v); err != nil {
			return err
		}
		fmt.Fprintf(w, "%v\t%s\n", name, plain(shown(v)))
	}
	return nil
}

func shown(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+" "+shown(v[name]))
		}
		return or(strings.Join(parts, ", "), "-")
	case []any:
		var parts []string
		for _, one := range v {
			parts = append(parts, shown(one))
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(v)
}

type verifyCommand struct {
	dir, config string
	json        bool
}

func (v *verifyCommand) flags(f *pflag.FlagSet) {
	flags.Path(f, &v.dir, "dir", "", "Folder of the log. When left out, that of the configuration.")
	flags.Path(f, &v.config, "config", "c", "Configuration, for the folder of the log; ./sluice.yaml where there is one.")
	flags.Env(f, "config", "SLUICE_CONFIG")
	f.BoolVar(&v.json, "json", false, "Print JSON.")
}

func (v *verifyCommand) run(std *streams) error {
	if v.dir == "" {
		cfg, err := loadConfig(v.config)
		if err != nil {
			return err
		}
		v.dir = app.LedgerDir(cfg)
	}
	check, err := accounts.Verify(v.dir)
	if err == nil && check.Files+check.Spares == 0 {
		err = fmt.Errorf("there is no log in %s", v.dir)
	}
	if err != nil {
		return err
	}
	if v.json {
		err = printJSON(std.out, check.View())
	} else {
		check.Write(std.out)
	}
	if err == nil && !check.OK() {
		err = faults("the log is damaged")
	}
	return err
}

// loadConfig reads the configuration that a command is told of, or the usual one. The store may have what it lacks.
func loadConfig(named string) (*config.Config, error) {
	o := app.ConfigOptions(context.Background(), os.Getenv)
	o.Open = true
	path := configPath(named)
	if path == "" {
		return config.Default(o)
	}
	return config.Load(path, o)
}

type recomputeCommand struct {
	desk
	fix bool
}

func (r *recomputeCommand) flags(f *pflag.FlagSet) {
	f.BoolVar(&r.fix, "fix", false, "Make sums right, in one transaction, and have counters that are wrong counted anew: budgets of their organisations wait for two seconds then.")
	r.desk.flags(f)
}

func (r *recomputeCommand) run(ctx context.Context, std *streams) error {
	r.patience = time.Hour
	var out adminapi.Recounted
	if err := r.call(ctx, std, "/admin/ledger/recompute", adminapi.Recount{Fix: r.fix}, &out); err != nil {
		return err
	}
	var err error
	if r.json {
		err = printJSON(std.out, out)
	} else {
		r.print(std.out, &out)
	}
	if wrong := out.Sums.Wrong + out.Counters.Wrong; err == nil && wrong > 0 && !r.fix {
		err = faults(fmt.Sprintf("%d sums and counters are not what the rows say", wrong))
	}
	return err
}

func (r *recomputeCommand) print(out io.Writer, c *adminapi.Recounted) {
	if !c.Oldest.IsZero() {
		fmt.Fprintf(out, "rows are kept since %s; what is older cannot be looked at\n", c.Oldest.Format(time.DateOnly))
	}
	fmt.Fprintf(out, "sums: %d wrong\n", c.Sums.Wrong)
	for i := range c.Sums.List {
		s := &c.Sums.List[i]
		fmt.Fprintf(out, "  %s of %s, organisation %s, key %s, model %s at %s: %+d calls, %+d tokens, $%s are missing\n    cause: %s\n    cure: %s\n",
			s.Span, s.Start.Format("2006-01-02 15:04"), plain(s.Organisation), plain(s.Key), plain(s.Model), plain(or(s.Provider, "no provider")), s.Calls, s.Tokens, s.Cost, s.Cause, s.Cure)
	}
	if c.Sums.Mended {
		fmt.Fprintln(out, "  they were made right")
	}
	if r.local {
		fmt.Fprintln(out, "counters: those of a running gateway only; none was asked")
		return
	}
	n := &c.Counters
	fmt.Fprintf(out, "counters: %d are right, %d wrong, %d cannot be told, %d not begun\n", n.Checked-n.Wrong, n.Wrong, n.Unknown, n.Cold)
	for i := range n.List {
		w := &n.List[i]
		fmt.Fprintf(out, "  %s, rule %s, %s until %s: spent %s %s, the rows say %s; held %s\n    cause: %s\n    cure: %s\n",
			plain(w.Subject), plain(w.Rule), w.From.Format(time.DateTime), w.Until.Format(time.DateTime), w.Spent, w.Unit, or(w.Rows, "nothing yet"), w.Held, w.Cause, w.Cure)
	}
	if len(n.Anew) > 0 {
		fmt.Fprintf(out, "  counted anew: %s\n", plain(strings.Join(n.Anew, ", ")))
	}
}
