package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/bench"
	"sluice/internal/mock"
)

// A program is one start of sluice. The command line only chooses what is run, so that one that is wrong ends with
// another code than a command that fails.
type program struct {
	std *streams
	run func(context.Context) error // what was chosen; nil before, and when help was all
}

// commands is everything that sluice can be told to do.
func (p *program) commands() *cobra.Command {
	cobra.EnableCommandSorting = false // the help keeps the order of this page
	root := p.root()

	serve := new(serveCommand)
	c := p.command("serve", "Run the gateway.", serve.flags, serve.run)
	c.Long = c.Short + " Without a configuration it serves a built-in fake upstream, and the providers whose API keys are in the environment."
	root.AddCommand(c)

	root.AddCommand(p.configuration())

	explain := new(explainCommand)
	c = p.command("explain --key NAME --request FILE", "Tell where a request would go, and why, without calling anybody.", explain.flags, explain.run)
	required(c, "key", "request")
	root.AddCommand(c, p.upstreams(), p.cache())
	root.AddCommand(p.objects()...)
	root.AddCommand(p.directory()...)
	root.AddCommand(p.admin(), p.accounts(), p.sessions(), p.tokens())
	root.AddCommand(p.usage(), p.ledger(), p.prices(), p.audit(), p.secrets())

	m := new(mock.Command)
	c = p.command("mock", "Run the fake upstream on its own, to test clients and gateways.", m.Flags, alone(m.Run))
	c.Long = c.Short + "\n\n" + m.Help()
	root.AddCommand(c)

	b := new(bench.Command)
	c = p.command("bench", "Measure speed and memory beside a bare reverse proxy.", b.Flags, alone(b.Run))
	c.MarkFlagsRequiredTogether("proxy-listen", "proxy-to")
	root.AddCommand(c)

	v := new(versionCommand)
	root.AddCommand(p.doctor(), p.completion())
	root.AddCommand(p.command("version", "Tell the version.", func(f *pflag.FlagSet) { f.BoolVar(&v.json, "json", false, "Print JSON.") }, v.run))
	p.teach(root)
	p.complete(root)
	return root
}

// upstreams lists when nothing else is said.
func (p *program) upstreams() *cobra.Command {
	u := new(upstreamsCommand)
	asJSON := func(f *pflag.FlagSet) { f.BoolVar(&u.json, "json", false, "Print JSON.") }
	c := p.command("upstreams", "See how deployments fare; drain, disable, enable or reset one.", asJSON, u.list)
	u.flags(c.PersistentFlags())
	c.AddCommand(p.command("list", "Show the deployments: state, breaker, calls under way, latency, last error.", asJSON, u.list))
	for _, op := range [][2]string{
		{"drain", "Send a deployment no new calls; those under way go on."},
		{"disable", "Take a deployment out of service."},
		{"enable", "Put a deployment back into service."},
		{"reset", "Forget all that speaks against a deployment and its credential."},
	} {
		change := p.command(op[0]+" DEPLOYMENT", op[1], asJSON, nil)
		change.Long = op[1] + " DEPLOYMENT is what the list calls it."
		change.Args = arguments(1, 1)
		change.RunE = func(_ *cobra.Command, args []string) error {
			p.run = func(ctx context.Context) error { return u.change(ctx, p.std, op[0], args[0]) }
			return nil
		}
		c.AddCommand(change)
	}
	return c
}

// command is one without arguments. use is its name, and what else the help shows of its line.
func (p *program) command(use, short string, flags func(*pflag.FlagSet), run func(context.Context, *streams) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: arguments(0, 0), SuggestionsMinimumDistance: 2}
	c.Flags().SortFlags = false
	if flags != nil {
		flags(c.Flags())
	}
	c.RunE = func(*cobra.Command, []string) error {
		p.run = func(ctx context.Context) error { return run(ctx, p.std) }
		return nil
	}
	return c
}

// deskCommand is a command at a desk, with at most one argument that it is given, or "".
func (p *program) deskCommand(use, short string, d *desk, least, most int, more func(*pflag.FlagSet), run func(context.Context, *streams, string) error) *cobra.Command {
	c := p.command(use, short, func(f *pflag.FlagSet) {
		if more != nil {
			more(f)
		}
		d.flags(f)
	}, nil)
	c.Args = arguments(least, most)
	c.RunE = func(_ *cobra.Command, args []string) error {
		p.run = func(ctx context.Context) error { return d.close(run(ctx, p.std, append(args, "")[0])) }
		return nil
	}
	return c
}

// group is a command that only has others.
func (p *program) group(name, short string) *cobra.Command {
	c := p.command(name, short, nil, nil)
	c.RunE = func(*cobra.Command, []string) error { return fmt.Errorf("%s what? See sluice %s --help", name, name) }
	return c
}

// arguments bounds how many a command takes. One too many may be the name of a command, misspelt.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least {
			return fmt.Errorf("an argument is missing: %s", usage(c))
		}
		if len(args) <= most {
			return nil
		}
		if near := c.SuggestionsFor(args[most]); len(near) > 0 {
			return fmt.Errorf("unexpected argument %q, did you mean %q?", args[most], near[0])
		}
		return fmt.Errorf("unexpected argument %q", args[most])
	}
}

// required are flags that must be set.
func required(c *cobra.Command, names ...string) {
	for _, name := range names {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
}

// alone is for commands that know where to write by themselves.
func alone(run func(context.Context) error) func(context.Context, *streams) error {
	return func(ctx context.Context, _ *streams) error { return run(ctx) }
}
