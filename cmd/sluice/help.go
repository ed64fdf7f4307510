package main

import (
	"fmt"
	"go/doc/comment"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// width is that of the narrowest terminal that people use.
const width = 80

// writeHelp tells what a command does, what it takes, and what stands below it.
func writeHelp(w io.Writer, c *cobra.Command) {
	line, leaves := usage(c), leavesOf(c)
	if len(leaves) > 0 {
		line += " COMMAND"
	}
	text := c.Long
	if text == "" {
		text = c.Short
	}
	fmt.Fprintf(w, "Usage: %s [FLAGS]\n\n%s\nFlags:\n%s", line, wrap(text, "", 0), c.Flags().FlagUsagesWrapped(width))
	if len(leaves) == 0 {
		return
	}
	names := make([]string, len(leaves))
	column := 0
	for i, leaf := range leaves {
		names[i] = "  " + strings.TrimPrefix(leaf.CommandPath(), c.Root().Name()+" ")
		column = max(column, len(names[i])+4)
	}
	fmt.Fprintln(w, "\nCommands:")
	for i, leaf := range leaves {
		fmt.Fprint(w, wrap(leaf.Short, names[i], column))
	}
	fmt.Fprintf(w, "\nRun %s COMMAND --help for more about one.\n", c.CommandPath())
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
