package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	adminapi "sluice/internal/admin"
	"sluice/internal/app"
	"sluice/internal/audit"
	"sluice/internal/control"
	"sluice/internal/flags"
)

const auditHelp = `Read the log of what people did to the gateway, take it away, and tell whether somebody changed it.

    sluice audit list --act 'keys.*' --from yesterday
    sluice audit keys                                 the public key: give it to whoever verifies
    sluice audit export --output log.jsonl
    sluice audit verify log.jsonl --key sluice-audit:MCow...

verify needs the file and the public key only: no gateway, no configuration, no network.`

// An auditCommand works on the audit log, at a gateway or at the store.
type auditCommand struct {
	desk
	filter       map[string]*string
	limit        int
	organisation string
	sealed       bool
	output       string
	why          string
	yes, fresh   bool
}

// audit is the commands of the audit log.
func (p *program) audit() *cobra.Command {
	group := p.group("audit", "Read the log of what people did, take it away, and verify it.")
	group.Long = auditHelp
	a := new(auditCommand)
	add := func(use, short string, least int, more func(*pflag.FlagSet), run func(context.Context, *streams, string) error) *cobra.Command {
		c := p.deskCommand(use, short, &a.desk, least, least, more, run)
		group.AddCommand(c)
		return c
	}
	list := add("list", "List what was done, refused or tried, the newest first.", 0, a.listFlags, a.runList)
	list.Flags().Lookup("json").Usage = "Print JSON, a line for each entry, with the object before and after."
	add("export", "Take the log away as JSON lines, for audit verify. It is an act of its own, and in the log.", 0, a.exportFlags, a.runExport).
		Flags().Lookup("json").Hidden = true // it is JSON anyway
	group.AddCommand(p.auditVerify())
	required(add("redact SUBJECT --why TEXT", "Make unreadable what the log has about somebody, for good. The log stays whole.", 1, a.redactFlags, a.runRedact), "why")
	add("keys", "Print the public keys that verify the log, or draw a private one.", 0, func(f *pflag.FlagSet) {
		f.BoolVar(&a.fresh, "new", false, "Draw a private key for audit.key of the configuration; it is printed, and kept nowhere.")
	}, a.runKeys)
	return group
}

func (a *auditCommand) listFlags(f *pflag.FlagSet) {
	a.filter = map[string]*string{}
	add := func(name, usage string) { a.filter[name] = f.String(name, "", usage) }
	add("act", "Only these acts, by a `GLOB`: keys.*, *.delete.")
	add("actor", "Only what this one did: the `ID` of an account or token, or operator, unknown.")
	add("object", "Only what was done to the object with this `ID`.")
	add("result", "Only what was `done, refused or failed`.")
	add("organisation", "Only the chain of this organisation, by `NAME` or id; - is the gateway's own.")
	add("from", "From this `TIME` on: today, yesterday, this-month, last-month, 2026-11, 2026-11-30 or 2026-11-30T18:00:00Z.")
	add("until", "Until this `TIME`; a day or month is in between.")
	add("zone", "Time `ZONE` of days and months, such as Europe/Berlin; UTC when left out.")
	f.IntVar(&a.limit, "limit", 50, "At most `N` entries.")
	add("after", "Go on where an earlier list ended, at the `CURSOR` that it gave.")
}

func (a *auditCommand) runList(ctx context.Context, std *streams, _ string) error {
	if a.limit < 1 {
		return errors.New("--limit: want a number from 1")
	}
	q := url.Values{}
	for name, v := range a.filter {
		if *v != "" {
			q.Set(name, *v)
		}
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	if !a.json {
		fmt.Fprintln(w, "TIME (UTC)\tACTOR\tFROM\tACT\tOBJECT\tRESULT\tORGANISATION\tSAID")
	}
	for left := a.limit; left > 0; {
		q.Set("limit", strconv.Itoa(min(left, 500)))
		var page audit.Page
		if err := a.call(ctx, std, "/admin/audit?"+q.Encode(), nil, &page); err != nil {
			return err
		}
		for i := range page.Data {
			if err := a.print(std.out, w, &page.Data[i]); err != nil {
				return err
			}
		}
		left -= len(page.Data)
		q.Set("after", page.Next)
		if page.Next == "" {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if next := q.Get("after"); next != "" {
		fmt.Fprintf(std.err, "There are more: --after %s goes on.\n", next)
	}
	return nil
}

func (a *auditCommand) print(out, w io.Writer, v *audit.View) error {
	if a.json {
		return json.NewEncoder(out).Encode(v)
	}
	said := strings.Join(strings.Fields(v.Why+" "+v.Detail), " ")
	if v.Redacted {
		said = "(redacted)"
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.At.UTC().Format(time.DateTime), plain(or(v.Actor.Name, strings.TrimSpace(v.Actor.Kind+" "+v.Actor.ID))),
		plain(or(v.Actor.From, "-")), plain(v.Act), plain(or(strings.TrimSpace(v.Object.Kind+" "+or(v.Object.Name, v.Object.ID)), "-")), v.Result,
		plain(or(v.Organisation, "-")), plain(or(said, "-")))
	return err
}

func (a *auditCommand) exportFlags(f *pflag.FlagSet) {
	flags.Path(f, &a.output, "output", "o", "Where it goes; standard output when left out. There it is whole, or not at all.")
	f.StringVar(&a.organisation, "organisation", "", "Only the chain of this organisation, by `NAME` or id; - is the gateway's own. Of others only hashes are told.")
	f.BoolVar(&a.sealed, "sealed", false, "Leave out what is personal, and the keys to it.")
}

func (a *auditCommand) runExport(ctx context.Context, std *streams, _ string) error {
	q := url.Values{}
	if a.organisation != "" {
		q.Set("organisation", a.organisation)
	}
	if a.sealed {
		q.Set("sealed", "true")
	}
	path := "/admin/audit/export?" + q.Encode()
	if a.output == "" || a.output == "-" {
		return a.copy(ctx, std, path, std.out)
	}
	f, err := os.CreateTemp(filepath.Dir(a.output), filepath.Base(a.output)+".*") // 0600
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone when all went well
	err = a.copy(ctx, std, path, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), a.output)
	}
	return err
}

func (a *auditCommand) redactFlags(f *pflag.FlagSet) {
	f.StringVar(&a.why, "why", "", "The reason, a `TEXT` that stays in the log.")
	f.BoolVarP(&a.yes, "yes", "y", false, "Do not ask.")
}

func (a *auditCommand) runRedact(ctx context.Context, std *streams, subject string) error {
	if !a.yes {
		talk := std.out
		if a.json {
			talk = std.err
		}
		if err := confirmed(talk, fmt.Sprintf("What the audit log says about %s becomes unreadable, and no backup of the keys is kept. Go on?", plain(subject))); err != nil {
			return err
		}
	}
	var r control.Redaction
	if err := a.call(ctx, std, "/admin/audit/redact", adminapi.Redact{Subject: subject, Why: a.why}, &r); err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, r)
	}
	_, err := fmt.Fprintf(std.out, "Nobody can read any more what the log has about %s: keys that were destroyed: %d.\n", plain(r.Subject), r.Keys)
	return err
}

func (a *auditCommand) runKeys(ctx context.Context, std *streams, _ string) error {
	if a.fresh {
		return a.draw(std)
	}
	var k control.AuditKeys
	if err := a.call(ctx, std, "/admin/audit/keys", nil, &k); err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, k)
	}
	for _, key := range k.Keys {
		fmt.Fprintln(std.out, plain(key))
	}
	return nil
}

// draw prints a new private key. Its public half goes where it does not get in the way.
func (a *auditCommand) draw(std *streams) error {
	seed := audit.NewSeed()
	s, err := audit.NewSigner(seed)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(std.out, struct {
			Private string `json:"private"`
			Public  string `json:"public"`
		}{seed, s.Public().String()})
	}
	fmt.Fprintln(std.out, seed)
	fmt.Fprintf(std.err, "Give it to every replica as audit.key. Its public key is %s\n", s.Public())
	return nil
}

// An auditVerify is audit verify.
type auditVerify struct {
	config, anchor string
	keys           []string
	store, json    bool
}

func (p *program) auditVerify() *cobra.Command {
	v := new(auditVerify)
	c := p.command("verify FILE|--store", "Tell whether an export, or the log in the store, is as gateways wrote it.", func(f *pflag.FlagSet) {
		f.StringArrayVar(&v.keys, "key", nil, "The public `KEY`, as sluice audit keys prints it. Once for each key that signed.")
		flags.File(f, &v.anchor, "anchor", "", "Hold this against it: the file that audit.anchor names, or a gateway's log in JSON.")
		f.BoolVar(&v.store, "store", false, "Verify the log in the store that --config names; its key is taken when none is given.")
		flags.Path(f, &v.config, "config", "c", "Configuration that names the store; ./sluice.yaml where there is one.")
		flags.Env(f, "config", "SLUICE_CONFIG")
		f.BoolVar(&v.json, "json", false, "Print JSON.")
	}, nil)
	c.Long = c.Short + " FILE is an export, - is standard input; beside it only the public key is needed. Nothing is changed. The exit code is 3 when something is wrong."
	c.Args = arguments(0, 1)
	c.RunE = func(_ *cobra.Command, args []string) error {
		switch {
		case v.store == (len(args) == 1):
			return errors.New("say what to verify: FILE or --store")
		case !v.store && len(v.keys) == 0:
			return errors.New("--key is missing: the public key, from whoever runs the gateway and not from the file")
		}
		p.run = func(ctx context.Context) error { return v.run(ctx, p.std, append(args, "")[0]) }
		return nil
	}
	return c
}

func (v *auditVerify) run(ctx context.Context, std *streams, file string) error {
	var o audit.VerifyOptions
	for _, text := range v.keys {
		k, err := audit.ParsePublicKey(text)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		o.Keys = append(o.Keys, k)
	}
	if v.anchor != "" {
		f, err := os.Open(v.anchor)
		if err != nil {
			return fmt.Errorf("--anchor: %w", err)
		}
		defer f.Close()
		if o.Anchors, err = audit.ReadAnchors(f); err != nil {
			return fmt.Errorf("--anchor: %w", err)
		}
		if len(o.Anchors) == 0 {
			return fmt.Errorf("--anchor: %s has no checkpoint", v.anchor)
		}
	}
	r, err := v.verify(ctx, file, o)
	if err != nil {
		return err
	}
	if v.json {
		err = printJSON(std.out, r)
	} else {
		why := "for the file has no keys to them"
		if v.store {
			why = "as --store opens none (verify an export for that)"
		}
		err = printReport(std.out, r, why)
	}
	if err == nil && !r.OK() {
		err = faults(fmt.Sprintf("the audit log is not as gateways wrote it; findings: %d", len(r.Findings)+r.More))
	}
	return err
}

func (v *auditVerify) verify(ctx context.Context, file string, o audit.VerifyOptions) (*audit.Report, error) {
	switch {
	case v.store:
		return app.VerifyStore(ctx, app.Options{ConfigPath: configPath(v.config), Getenv: os.Getenv}, o)
	case file == "-":
		return audit.VerifyFile(os.Stdin, o)
	}
	f, err := os.Open(flags.Absolute(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return audit.VerifyFile(f, o)
}

// printReport writes what a verification found, for people. why says why sealed parts were not opened.
func printReport(out io.Writer, r *audit.Report, why string) error {
	var b strings.Builder
	for i := range r.Findings {
		b.WriteString(plain(r.Findings[i].String()) + "\n")
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d findings more\n", r.More)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Chains) > 0 {
		fmt.Fprintln(w, "CHAIN\tENTRIES\tLAST\tMADE (UTC)")
	}
	for i := range r.Chains {
		c := &r.Chains[i]
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", plain(or(c.Chain, "- (the gateway's own)")), c.Entries, c.Seq, c.At.Format(time.DateTime))
	}
	_ = w.Flush() // into a Builder
	if r.Hidden > 0 {
		fmt.Fprintf(&b, "%d chains of others are told of by hashes only\n", r.Hidden)
	}
	fmt.Fprintf(&b, "%d checkpoints", r.Checkpoints)
	if r.Checkpoints > 0 {
		fmt.Fprintf(&b, ", the last, number %d, of %s UTC", r.Last.Number, r.Last.At.Format(time.DateTime))
	}
	fmt.Fprintf(&b, "; %d of them in the anchor\n", r.Anchored)
	if r.Readable > 0 {
		fmt.Fprintf(&b, "%s opened with the keys in the file: they say what is told beside them\n", count(r.Readable, "sealed part"))
	}
	if r.Sealed > 0 {
		fmt.Fprintf(&b, "%s not opened, %s: the chain holds their bytes, and what they say was not looked at\n", count(r.Sealed, "sealed part"), why)
	}
	if r.Waiting > 0 {
		fmt.Fprintf(&b, "%d entries wait for the next checkpoint\n", r.Waiting)
	}
	if r.OK() {
		b.WriteString("nothing is wrong: it is as the holder of the private key stated it, up to the last checkpoint\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
