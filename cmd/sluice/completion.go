package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const completionHelp = `Print a script that lets a shell complete commands, flags and names as you type.

    source <(sluice completion bash)                      bash, this session
    sluice completion zsh > "${fpath[1]}/_sluice"         zsh, from now on
    sluice completion fish > ~/.config/fish/completions/sluice.fish
    sluice completion powershell | Out-String | Invoke-Expression

Names of keys, their owners, deployments and objects of the settings are those of the running gateway (SLUICE_ADMIN_URL, SLUICE_ADMIN_TOKEN); without one there are none.`

var shells = []string{"bash", "zsh", "fish", "powershell"}

func (p *program) completion() *cobra.Command {
	c := p.command("completion SHELL", "Print the completion script of bash, zsh, fish or powershell.", nil, nil)
	c.Long, c.Args, c.ValidArgs = completionHelp, arguments(1, 1), shells
	c.RunE = func(c *cobra.Command, args []string) error {
		root, out := c.Root(), p.std.out
		write := map[string]func() error{
			"bash": func() error { return root.GenBashCompletionV2(out, true) }, "zsh": func() error { return root.GenZshCompletion(out) },
			"fish": func() error { return root.GenFishCompletion(out, true) }, "powershell": func() error { return root.GenPowerShellCompletionWithDesc(out) },
		}[args[0]]
		if write == nil {
			return fmt.Errorf("there is no completion for %q, only for %s", args[0], strings.Join(shells, ", "))
		}
		p.run = func(context.Context) error { return write() }
		return nil
	}
	return c
}

// complete says what a shell may put in the place of each command's arguments and flags.
func (p *program) complete(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, leaf := range leavesOf(root) {
		if word := argument(leaf.Use); word == "FILE" {
			leaf.ValidArgsFunction = files
		} else if path := listOf(leaf, word); path != "" {
			leaf.ValidArgsFunction = first(listed(path, word == "TOKEN"))
		}
	}
	everyFlag(root, func(c *cobra.Command, f *pflag.Flag) {
		complete := files
		if f.Value.Type() != "FILE" {
			word, _ := pflag.UnquoteUsage(f)
			if _, owner := owners[f.Name+"s"]; !owner && (f.Name != "key" || word == "CREDENTIAL") {
				return
			}
			complete = listed("/admin/"+f.Name+"s", word == "ID")
		}
		if err := c.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(err) // there is no such flag, or it is completed already
		}
	})
}

// first completes the first argument only.
func first(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(c, args, begun)
	}
}

// argument is the first thing that a command takes, in the word of its line.
func argument(use string) string {
	words := strings.Fields(use)
	if len(words) < 2 {
		return ""
	}
	return strings.Trim(words[1], "[]")
}

// listOf is where the gateway lists what an argument may be.
func listOf(c *cobra.Command, word string) string {
	switch kind := c.Parent().Name(); {
	case word == "DEPLOYMENT":
		return "/admin/upstreams"
	case word == "ACCOUNT":
		return "/admin/accounts"
	case word == "TOKEN":
		return "/admin/tokens"
	case word == "NAME" && c.Name() != "create" && (kind == "keys" || owners[kind] != ""):
		return "/admin/" + kind
	}
	return ""
}

func everyFlag(c *cobra.Command, do func(*cobra.Command, *pflag.Flag)) {
	c.LocalFlags().VisitAll(func(f *pflag.Flag) { do(c, f) })
	for _, sub := range c.Commands() {
		everyFlag(sub, do)
	}
}

func files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// completionTime is how long a person who presses a key waits for names.
const completionTime = 700 * time.Millisecond

// listed are the names in a list of the gateway that a command would ask, or the ids of what has them. There are none when
// it does not answer at once, and nothing is said of that: the line that is being typed is not ours to write on.
func listed(path string, ids bool) cobra.CompletionFunc {
	return func(c *cobra.Command, _ []string, begun string) (out []string, _ cobra.ShellCompDirective) {
		gateway := admin{url: usualAdmin, patience: completionTime}
		if f := c.Flags().Lookup("admin-url"); f != nil {
			gateway.url = f.Value.String()
		}
		var list struct {
			Data        []struct{ ID, Name, Email string }
			Deployments []struct{ Deployment string }
		}
		if err := gateway.call(c.Context(), path, nil, &list); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, d := range list.Deployments {
			list.Data = append(list.Data, struct{ ID, Name, Email string }{ID: d.Deployment, Name: d.Deployment})
		}
		for _, one := range list.Data {
			if path == "/admin/accounts" {
				one.Name = or(one.Email, one.ID)
			}
			word, about := plain(one.Name), ""
			if ids {
				word, about = plain(one.ID), "\t"+plain(one.Name)
			}
			if strings.HasPrefix(word, begun) {
				out = append(out, word+about)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
