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

	"github.com/alecthomas/kong"

	"sluice/internal/app"
	"sluice/internal/bench"
	"sluice/internal/config"
	"sluice/internal/mock"
)

// Exit codes, as docs/configuration.md lists them.
const (
	exitFailed = 1 // the command ran and failed
	exitUsage  = 2 // the command line or the configuration is wrong
)

type commands struct {
	Serve     serveCommand      `cmd:"" help:"Run the gateway. Without a configuration it serves a built-in fake upstream, and the providers whose API keys are in the environment."`
	Config    configCommands    `cmd:"" help:"Check a configuration, or describe what it may say."`
	Explain   explainCommand    `cmd:"" help:"Tell which deployments a request would go to, in which order and why, without calling anybody."`
	Upstreams upstreamsCommands `cmd:"" help:"See how the deployments of a running gateway fare, and drain, disable, enable or reset one."`
	Mock      mock.Command      `cmd:"" help:"Run the scripted fake upstream on its own, to test clients and gateways against faults."`
	Bench     bench.Command     `cmd:"" help:"Measure speed and memory, beside a bare reverse proxy in the same run."`
	Version   versionCommand    `cmd:"" help:"Tell the version."`
}

type serveCommand struct {
	Config string `short:"c" type:"path" placeholder:"FILE" env:"SLUICE_CONFIG" help:"Configuration, usually sluice.yaml. Without it the embedded defaults hold, or ./sluice.yaml where there is one."`
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, std *streams) error {
	path := c.Config
	if path == "" {
		if _, err := os.Stat("sluice.yaml"); err == nil {
			path = "sluice.yaml"
		}
	}
	return app.Serve(ctx, app.Options{ConfigPath: path, Getenv: os.Getenv, Stdout: std.out, Stderr: std.err})
}

type configCommands struct {
	Check  checkCommand  `cmd:"" help:"Read a configuration as serve would and tell everything that is wrong with it."`
	Schema schemaCommand `cmd:"" help:"Print the JSON Schema of sluice.yaml, for editors."`
}

type checkCommand struct {
	File string `arg:"" optional:"" default:"sluice.yaml" type:"path" help:"The file to check."`
}

// Run implements the command.
func (c *checkCommand) Run(std *streams) error {
	cfg, err := config.Load(c.File, config.Options{Getenv: os.Getenv, Kinds: app.Kinds()})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s is valid: %d providers, %d models, %d keys\n", c.File, len(cfg.Providers), len(cfg.Models), len(cfg.Keys))
	return err
}

type schemaCommand struct{}

// Run implements the command.
func (schemaCommand) Run(std *streams) error {
	_, err := std.out.Write(config.Schema())
	return err
}

type versionCommand struct{}

// Run implements the command.
func (versionCommand) Run(std *streams) error {
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

// lastWord is the name of a command without its arguments.
func lastWord(command string) string {
	words := strings.Fields(command)
	for len(words) > 1 && strings.HasPrefix(words[len(words)-1], "<") {
		words = words[:len(words)-1]
	}
	return words[len(words)-1]
}

func run(args []string, stdout, stderr io.Writer) int {
	var cmd commands
	parser, err := kong.New(&cmd,
		kong.Name("sluice"),
		kong.Description("Sluice is an LLM gateway: clients speak the OpenAI, Anthropic or Gemini API to it, and it calls whichever provider serves the model.\n\nStart with: sluice serve"),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Writers(stdout, stderr),
	)
	if err != nil {
		fmt.Fprintln(stderr, "sluice:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(stderr, "sluice:", err)
		fmt.Fprintln(stderr, "Run sluice --help for what there is.")
		return exitUsage
	}
	ctx := context.Background()
	if k.Command() != "serve" { // serve handles signals itself: it drains
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(&streams{stdout, stderr})
	k.Bind(operation(lastWord(k.Command())))
	if err := k.Run(); err != nil {
		fmt.Fprintln(stderr, "sluice:", err)
		if _, ok := errors.AsType[*config.Error](err); ok {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}
