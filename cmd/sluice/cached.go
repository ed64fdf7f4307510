package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	adminapi "sluice/internal/admin"
)

type cacheCommand struct {
	admin
	json bool
	of   adminapi.Purge
}

// cache shows when nothing else is said.
func (p *program) cache() *cobra.Command {
	k := new(cacheCommand)
	asJSON := func(f *pflag.FlagSet) { f.BoolVar(&k.json, "json", false, "Print JSON.") }
	c := p.command("cache", "See what the cache of answers does; forget what it holds.", asJSON, k.stats)
	k.flags(c.PersistentFlags())
	c.AddCommand(p.command("stats", "Show what a running gateway's cache has seen and holds.", asJSON, k.stats))
	c.AddCommand(p.command("purge", "Forget kept answers: all that the flags say must match.", func(f *pflag.FlagSet) {
		asJSON(f)
		f.StringVar(&k.of.Organisation, "organisation", "", "Those of an organisation, by `NAME` or id.")
		f.StringVar(&k.of.Team, "team", "", "Those of a team, by `NAME` or id.")
		f.StringVar(&k.of.Key, "key", "", "Those of a key, by `NAME` or id.")
		f.StringVar(&k.of.Model, "model", "", "Those of a model, by the `NAME` that clients say.")
		f.StringVar(&k.of.OlderThan, "older-than", "", "Those that are older than a `SPAN`, such as 10m or 1h.")
		f.BoolVar(&k.of.All, "all", false, "All of them.")
	}, k.purge))
	return c
}

func (k *cacheCommand) stats(ctx context.Context, std *streams) error {
	var s adminapi.Cache
	if err := k.call(ctx, "/admin/cache", nil, &s); err != nil {
		return err
	}
	if k.json {
		return printJSON(std.out, s)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "store\t%s\n", s.Store)
	if s.Store == "memory" {
		fmt.Fprintf(w, "holds\t%d answers, %d bytes\n", s.Entries, s.Bytes)
	}
	list := func(title string, m map[string]int64) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(w, "%s %s\t%d\n", title, name, m[name])
		}
	}
	list("calls", s.Calls)
	list("bypassed", s.Bypassed)
	fmt.Fprintf(w, "kept\t%d\n", s.Stored)
	list("not kept", s.Refused)
	list("semantic look-ups", s.Semantic.Lookups)
	list("semantic index", s.Semantic.Indexed)
	list("semantic checks", s.Semantic.Checks)
	fmt.Fprintf(w, "purged\t%d\nstore errors\t%d\n", s.Purged, s.StoreErrors)
	return w.Flush()
}

func (k *cacheCommand) purge(ctx context.Context, std *streams) error {
	var out adminapi.Purged
	if err := k.call(ctx, "/admin/cache/purge", k.of, &out); err != nil {
		return err
	}
	if k.json {
		return printJSON(std.out, out)
	}
	_, err := fmt.Fprintf(std.out, "%d answers are forgotten\n", out.Removed)
	return err
}
