package main

import (
	"fmt"
	"go/doc/comment"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// width is that of the narrowest terminal that people use.
const width = 80

const beginning = `Sluice is an LLM gateway: applications speak the OpenAI, Anthropic or Gemini API to it, and it calls whichever provider serves the model, keeps them within limits and budgets, and accounts for every token.

To begin:

    sluice serve            run it: prints a key and calls to try, offline
    sluice config check     tell what is wrong with your sluice.yaml
    sluice keys create app --models '*'
                            make a key for an application`

const readOn = `Read on: sluice COMMAND --help has each command with an example; README.md and docs/ of the source have the rest, docs/configuration.md every field of sluice.yaml.`

// groups are the commands by what they are for, as the page of sluice alone has them. One that is not here is in the
// group others.
var groups = []struct {
	title string
	names []string
}{
	{"Run", []string{"serve", "config", "mock", "bench"}},
	{"Operate", []string{"upstreams", "cache", "explain", "doctor"}},
	{"Settings", []string{"providers", "credentials", "models", "deployments", "rules", "model-prices", "guards"}},
	{"Keys and money", []string{"keys", "teams", "users", "organisations", "usage", "ledger", "prices"}},
	{others, nil},
	{"Help", []string{"completion", "version", "exit-codes"}},
}

const others = "Control"

// root is the command that is run when no other is named: it teaches.
func (p *program) root() *cobra.Command {
	cobra.EnableCommandSorting = false // the help keeps the order in which commands are made
	root := p.group("sluice", "Sluice is an LLM gateway.")
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().BoolP("help", "h", false, "Show this help.")
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { writeHelp(p.std.out, c) })
	root.SetUsageFunc(func(c *cobra.Command) error { writeHelp(p.std.err, c); return nil })
	return root
}

// teach adds what only helps: the pages that are no command, and an example to each that is one.
func (p *program) teach(root *cobra.Command) {
	root.AddCommand(&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean.", Long: exitCodesHelp})
	for _, leaf := range leavesOf(root) {
		leaf.Example = or(leaf.Example, exampleOf(leaf))
	}
}

// writeHelp tells what a command does, what it takes, and what stands below it.
func writeHelp(w io.Writer, c *cobra.Command) {
	text := or(c.Long, c.Short)
	switch {
	case !c.HasParent():
		writeFirst(w, c)
		return
	case c.IsAdditionalHelpTopicCommand():
		fmt.Fprint(w, wrap(text, "", 0))
		return
	}
	line, leaves := usage(c), leavesOf(c)
	if len(leaves) > 0 {
		line += " COMMAND"
	}
	fmt.Fprintf(w, "Usage: %s [FLAGS]\n\n%s\n", line, wrap(text, "", 0))
	if c.Example != "" {
		fmt.Fprintf(w, "Example:\n\n    %s\n\n", strings.ReplaceAll(c.Example, "\n", "\n    "))
	}
	fmt.Fprintf(w, "Flags:\n%s", c.Flags().FlagUsagesWrapped(width))
	if len(leaves) == 0 {
		return
	}
	fmt.Fprintln(w, "\nCommands:")
	writeList(w, leaves, func(leaf *cobra.Command) string { return strings.TrimPrefix(leaf.CommandPath(), c.Root().Name()+" ") })
	fmt.Fprintf(w, "\nRun %s COMMAND --help for more about one.\n", c.CommandPath())
}

// writeFirst is the page of sluice alone.
func writeFirst(w io.Writer, root *cobra.Command) {
	fmt.Fprint(w, wrap(beginning, "", 0))
	for _, g := range groups {
		var list []*cobra.Command
		for _, c := range root.Commands() {
			if c.Name() != "help" && !c.Hidden && groupOf(c) == g.title {
				list = append(list, c)
			}
		}
		if len(list) > 0 {
			fmt.Fprintf(w, "\n%s:\n", g.title)
			writeList(w, list, (*cobra.Command).Name)
		}
	}
	fmt.Fprintf(w, "\n%s", wrap(readOn, "", 0))
}

func groupOf(c *cobra.Command) string {
	for _, g := range groups {
		if slices.Contains(g.names, c.Name()) {
			return g.title
		}
	}
	return others
}

func writeList(w io.Writer, list []*cobra.Command, name func(*cobra.Command) string) {
	column := 0
	for _, c := range list {
		column = max(column, len(name(c))+6)
	}
	for _, c := range list {
		fmt.Fprint(w, wrap(c.Short, "  "+name(c), column))
	}
}

// usage is the line of a command without its flags, but for those that it must have.
func usage(c *cobra.Command) string {
	_, more, _ := strings.Cut(c.Use, " ")
	return strings.TrimSpace(c.CommandPath() + " " + more)
}

// leavesOf are the commands below c that do something.
func leavesOf(c *cobra.Command) (leaves []*cobra.Command) {
	for _, sub := range c.Commands() {
		switch below := leavesOf(sub); {
		case !sub.IsAvailableCommand():
		case len(below) > 0:
			leaves = append(leaves, below...)
		default:
			leaves = append(leaves, sub)
		}
	}
	return leaves
}

// wrap sets text, which is written as Go's comments are, in lines that begin at a column. first stands before the first.
func wrap(text, first string, column int) string {
	set := comment.Printer{TextWidth: width - column, TextCodePrefix: "    "}
	lines := strings.TrimSuffix(string(set.Text(new(comment.Parser).Parse(text))), "\n")
	lines = strings.ReplaceAll(lines, "\n", "\n"+strings.Repeat(" ", column))
	return fmt.Sprintf("%-*s%s\n", column, first, lines)
}
