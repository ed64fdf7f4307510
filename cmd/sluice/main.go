// Command sluice is an LLM gateway: one program between applications and the providers of large language
// models. Run it without arguments to learn what it can do.
package main

import (
	"context"
	"fmt"
	"io"
	"log" //nolint:depguard // to silence it
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/config"
	"sluice/internal/flags"
)

type serveCommand struct{ config string }

func (c *serveCommand) flags(f *pflag.FlagSet) {
	flags.Path(f, &c.config, "config", "c", "Configuration, usually sluice.yaml. Without it the embedded defaults hold, or ./sluice.yaml where there is one.")
	flags.Env(f, "config", "SLUICE_CONFIG")
}

func (c *serveCommand) run(ctx context.Context, std *streams) error {
	collectLess(os.Getenv)
	return app.Serve(ctx, app.Options{ConfigPath: configPath(c.config), Getenv: os.Getenv, Stdout: std.out, Stderr: std.err})
}

// configPath is the configuration that is meant: the one that is named, else ./sluice.yaml where there is one.
func configPath(named string) string {
	if named == "" {
		if _, err := os.Stat("sluice.yaml"); err == nil {
			return "sluice.yaml"
		}
	}
	return named
}

// A checkCommand is config check.
type checkCommand struct{ json bool }

// A checked configuration is what it says of one that is valid.
type checked struct {
	File      string `json:"file"`
	Valid     bool   `json:"valid"`
	Providers int    `json:"providers"`
	Models    int    `json:"models"`
	Keys      int    `json:"keys"`
}

func (c *checkCommand) run(ctx context.Context, std *streams, file string) error {
	file = flags.Absolute(file)
	cfg, err := config.Load(file, app.ConfigOptions(ctx, os.Getenv))
	if err != nil {
		return err
	}
	is := checked{File: file, Valid: true, Providers: len(cfg.Providers), Models: len(cfg.Models), Keys: len(cfg.Keys)}
	if c.json {
		return printJSON(std.out, is)
	}
	_, err = fmt.Fprintf(std.out, "%s is valid: %d providers, %d models, %d keys\n", file, is.Providers, is.Models, is.Keys)
	return err
}

func printSchema(std *streams) error {
	_, err := std.out.Write(config.Schema())
	return err
}

type versionCommand struct{ json bool }

func (v *versionCommand) run(_ context.Context, std *streams) error {
	build := app.Build()
	if v.json {
		return printJSON(std.out, build)
	}
	_, err := fmt.Fprintf(std.out, "sluice %s, %s\n", build.Version, build.Go)
	return err
}

// streams are where commands write.
type streams struct{ out, err io.Writer }

func main() {
	// net/http's client writes there when an upstream sends more than it said, with the first bytes of it:
	// content, which no log of ours may hold. Everything of ours goes to log/slog.
	log.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	p := &program{std: &streams{stdout, stderr}}
	root := p.commands()
	root.SetArgs(args)
	root.SetOut(stdout) // where completions go
	root.SetErr(io.Discard)
	chosen, err := root.ExecuteC()
	if err != nil {
		return complain(stderr, &misuse{err}, wantsJSON(chosen, args))
	}
	if p.run == nil { // there was help, and that was all
		return 0
	}
	ctx := context.Background()
	if chosen.Name() != "serve" { // serve handles signals itself: it drains
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	if err := p.run(ctx); err != nil {
		return complain(stderr, err, wantsJSON(chosen, nil))
	}
	return 0
}
