package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/flags"
)

const doctorHelp = `Look for what keeps a gateway from running well: its configuration, addresses, files, disk, store, Redis, providers, certificate, clocks, limits of the machine, and settings that are not safe. Each finding comes with its cure.

Run it as the user that runs the gateway, beside a gateway that runs or before the first start. It changes nothing, migrates nothing, and makes no call that costs: providers are asked for their list of models. Redis runs its scripts once, on keys that are removed again.

The exit code is 3 when there is a problem; warnings alone leave it 0.`

type doctorCommand struct {
	config        string
	offline, json bool
}

func (p *program) doctor() *cobra.Command {
	d := new(doctorCommand)
	c := p.command("doctor", "Look for what keeps a gateway from running well.", d.flags, d.run)
	c.Long = doctorHelp
	return c
}

func (d *doctorCommand) flags(f *pflag.FlagSet) {
	flags.Path(f, &d.config, "config", "c", "Configuration to look at; ./sluice.yaml where there is one.")
	flags.Env(f, "config", "SLUICE_CONFIG")
	f.BoolVar(&d.offline, "offline", false, "Ask nobody beyond this machine: neither PostgreSQL, Redis nor providers.")
	f.BoolVar(&d.json, "json", false, "Print JSON.")
}

func (d *doctorCommand) run(ctx context.Context, std *streams) error {
	o := app.DoctorOptions{Options: app.Options{ConfigPath: configPath(d.config), Getenv: os.Getenv}, Offline: d.offline}
	if f, ok := std.err.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		o.Progress = func(done, all int) { fmt.Fprintf(f, "\r\x1b[K%d of %d checks", done, all) }
	}
	found := app.Doctor(ctx, o)
	if o.Progress != nil {
		fmt.Fprint(std.err, "\r\x1b[K")
	}
	var err error
	if d.json {
		err = printJSON(std.out, found)
	} else {
		err = printDiagnosis(std.out, found)
	}
	if err == nil && found.Problems > 0 {
		err = faults(fmt.Sprintf("%d problems, %d warnings", found.Problems, found.Warnings))
	}
	return err
}

func printDiagnosis(out io.Writer, d *app.Diagnosis) error {
	column := 0
	for i := range d.Findings {
		column = max(column, len(d.Findings[i].Check))
	}
	for i := range d.Findings {
		f := &d.Findings[i]
		fmt.Fprintf(out, "%-8s %-*s  %s\n", f.State, column, plain(f.Check), plain(f.Seen))
		if f.Cure != "" {
			fmt.Fprintf(out, "%*s  cure: %s\n", 9+column, "", plain(f.Cure))
		}
	}
	_, err := fmt.Fprintf(out, "%d problems, %d warnings\n", d.Problems, d.Warnings)
	return err
}
