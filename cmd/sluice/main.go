// Command sluice is an LLM gateway: one program between applications and the providers of large language
// models. Run it without arguments to learn what it can do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // to silence it
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/config"
	"sluice/internal/flags"
)

// Exit codes, as docs/configuration.md lists them.
const (
	exitFailed = 1 // the command ran and failed
	exitUsage  = 2 // the command line or the configuration is wrong
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

func checkConfig(ctx context.Context, std *streams, file string) error {
	file = flags.Absolute(file)
	cfg, err := config.Load(file, app.ConfigOptions(ctx, os.Getenv))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s is valid: %d providers, %d models, %d keys\n", file, len(cfg.Providers), len(cfg.Models), len(cfg.Keys))
	return err
}

func printSchema(std *streams) error {
	_, err := std.out.Write(config.Schema())
	return err
}

func printVersion(std *streams) error {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version + ", " + info.GoVersion
	}
	_, err := fmt.Fprintln(std.out, "sluice", version)
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
	chosen, err := root.ExecuteC()
	if err != nil {
		fmt.Fprintln(stderr, "sluice:", strings.TrimSpace(err.Error()))
		fmt.Fprintln(stderr, "Run sluice --help for what there is.")
		return exitUsage
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
		fmt.Fprintln(stderr, "sluice:", err)
		if _, ok := errors.AsType[*config.Error](err); ok {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}
