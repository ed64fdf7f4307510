package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/flags"
)

// An objectKind is a kind of objects of the settings, as commands name it.
type objectKind struct {
	name    string // of the command, as the API has it but for the underscore
	aliases []string
	noun    string
	of      string // the kind whose part it is, and the flag that names that
	short   string
	columns []string // members that the list shows
	example string   // a name
}

var objectKinds = []objectKind{
	{"providers", nil, "provider", "", "See and change providers, in the settings of the store.", []string{"kind", "base_url", "models"}, "eu"},
	{"credentials", nil, "credential", "provider", "See and change the credentials of a provider, in the settings of the store.", nil, "team-a"},
	{"models", []string{"groups", "routes", "aliases"}, "model", "", "See and change models: groups, routes and aliases, in the settings of the store.", []string{"provider", "model", "strategy", "deployments"}, "fast"},
	{"deployments", nil, "deployment", "model", "See and change the deployments of a model, in the settings of the store.", []string{"provider", "model", "credential", "weight", "tier"}, "azure-eu"},
	{"rules", []string{"budgets"}, "rule", "", "See and change rules: limits and budgets that hold for many, in the settings of the store.", []string{"models", "per", "requests", "tokens", "parallel", "budgets"}, "month"},
	{"model-prices", nil, "price of models", "", "See and change what providers charge by contract, in the settings of the store.", []string{"provider", "models", "from", "input", "output"}, "contract-4o"},
	{"guards", nil, "guard", "", "See and change guards: what is looked for in calls, and what becomes of it, in the settings of the store.", []string{"mode", "answers", "enforce", "always"}, "personal-data"},
}

const objectHelp = `

What the configuration file has is shown, and read-only here. FILE is one %s as it would stand in sluice.yaml, in YAML or JSON, or - for standard input. Of an update what is left out stays, and null takes away; it holds only if nobody else has changed the %[1]s meanwhile. Secrets are shown as ***, which sent back leaves what is there. Many objects at once: sluice config apply.`

// An objectCommand works on the objects of one kind.
type objectCommand struct {
	desk
	objectKind
	owner, file string
}

// objects are the commands of the settings' single objects.
func (p *program) objects() (all []*cobra.Command) {
	for _, kind := range objectKinds {
		o := &objectCommand{desk: desk{creates: true}, objectKind: kind}
		o.patience = settingsPatience
		c := p.deskCommand(kind.name, kind.short, &o.desk, 0, 0, o.flags, o.runList)
		c.Aliases = kind.aliases
		c.Long = kind.short + fmt.Sprintf(objectHelp, kind.noun)
		add := func(use, short string, least int, more func(*pflag.FlagSet), run func(context.Context, *streams, string) error) {
			sub := p.deskCommand(use, short, &o.desk, least, least, func(f *pflag.FlagSet) {
				if more != nil {
					more(f)
				}
				o.flags(f)
			}, run)
			if least > 0 {
				sub.ValidArgsFunction = first(o.listed)
			}
			c.AddCommand(sub)
		}
		add("list", "List them, those of the file and those of the store.", 0, nil, o.runList)
		add("show NAME", "Print a "+kind.noun+", as create and update take it.", 1, nil, o.runShow)
		add("create --file FILE", "Make a "+kind.noun+" of the store.", 0, o.fileFlag, o.runCreate)
		add("update NAME --file FILE", "Change a "+kind.noun+" of the store.", 1, o.fileFlag, o.runUpdate)
		add("delete NAME", "Remove a "+kind.noun+" of the store that nothing names.", 1, nil, o.runDelete)
		for _, sub := range append(c.Commands(), c) {
			if sub.Flags().Lookup("file") != nil {
				required(sub, "file")
			}
			if kind.of != "" {
				required(sub, kind.of)
				if err := sub.RegisterFlagCompletionFunc(kind.of, listed("/admin/"+kind.of+"s", false)); err != nil {
					panic(err) // there is no such flag
				}
			}
		}
		all = append(all, c)
	}
	return all
}

func (o *objectCommand) flags(f *pflag.FlagSet) {
	if o.of != "" {
		f.StringVar(&o.owner, o.of, "", "The `NAME` of the "+o.of+" that they are parts of.")
	}
}

func (o *objectCommand) fileFlag(f *pflag.FlagSet) {
	flags.File(f, &o.file, "file", "", "File with the "+o.noun+", or - for standard input.")
}

// at is the path of the list, or of one object.
func (o *objectCommand) at(ref ...string) string {
	path := "/admin/" + strings.ReplaceAll(o.name, "-", "_")
	if o.of != "" {
		path = "/admin/" + o.of + "s/" + url.PathEscape(o.owner) + "/" + o.name
	}
	for _, r := range ref {
		path += "/" + url.PathEscape(r)
	}
	return path
}

// listed are the names that a shell may offer.
func (o *objectCommand) listed(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if o.of != "" && o.owner == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return listed(o.at(), false)(c, args, begun)
}

func (o *objectCommand) read() (v control.NewObject, err error) {
	text, err := document(o.file)
	if err == nil {
		v.Value, err = config.ObjectJSON(cmp.Or(strings.TrimPrefix(o.file, "-"), "standard input"), []byte(text))
	}
	return v, err
}

func (o *objectCommand) runList(ctx context.Context, std *streams, _ string) error {
	var page control.Page[control.Object]
	if err := o.call(ctx, std, o.at(), nil, &page); err != nil {
		return err
	}
	if o.json {
		return printJSON(std.out, page.Data)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.ReplaceAll(strings.Join(append([]string{"name", "of the"}, o.columns...), "\t"), "_", " ")))
	for i := range page.Data {
		v := &page.Data[i]
		var members map[string]any
		if err := json.Unmarshal(v.Value, &members); err != nil {
			return fmt.Errorf("read %s: %w", v.Place, err)
		}
		cells := []string{plain(v.Name), v.Source}
		for _, name := range o.columns {
			cells = append(cells, or(plain(inWords(members[name])), "-"))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// inWords tells a value of JSON in a line: of an object that has a name, that.
func inWords(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = inWords(v[i])
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		if name, ok := v["name"].(string); ok {
			return name
		}
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+" "+inWords(v[name]))
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(v)
}

func (o *objectCommand) runShow(ctx context.Context, std *streams, name string) error {
	var v control.Object
	if err := o.call(ctx, std, o.at(name), nil, &v); err != nil {
		return err
	}
	if o.json {
		return printJSON(std.out, v)
	}
	text, err := config.ObjectText(v.Value)
	if err != nil {
		return fmt.Errorf("read %s: %w", v.Place, err)
	}
	whose := "of the store"
	if v.ReadOnly {
		whose = "of the configuration file, and read-only here"
	}
	_, err = fmt.Fprintf(std.out, "# %s, %s\n%s", plain(v.String()), whose, text)
	return err
}

func (o *objectCommand) runCreate(ctx context.Context, std *streams, _ string) error {
	in, err := o.read()
	if err != nil {
		return err
	}
	return o.change(ctx, std, ask{method: http.MethodPost, path: o.at(), in: in}, "Made")
}

func (o *objectCommand) runUpdate(ctx context.Context, std *streams, name string) error {
	in, err := o.read()
	if err != nil {
		return err
	}
	return o.changeSeen(ctx, std, name, ask{method: http.MethodPatch, in: control.ObjectUpdate{Value: in.Value}}, "Changed")
}

func (o *objectCommand) runDelete(ctx context.Context, std *streams, name string) error {
	return o.changeSeen(ctx, std, name, ask{method: http.MethodDelete}, "Removed")
}

// changeSeen changes an object as it was seen just now.
func (o *objectCommand) changeSeen(ctx context.Context, std *streams, name string, q ask, said string) error {
	var was control.Object
	q.path = o.at(name)
	if err := o.call(ctx, std, q.path, nil, &was); err != nil {
		return err
	}
	q.tag = was.ETag
	return o.change(ctx, std, q, said)
}

func (o *objectCommand) change(ctx context.Context, std *streams, q ask, said string) error {
	var v control.Object
	if err := o.ask(ctx, std, q, &v); err != nil {
		return err
	}
	if o.json {
		return printJSON(std.out, v)
	}
	_, err := fmt.Fprintf(std.out, "%s %s: this is revision %d of the settings. Replicas take it up within a second: sluice config status.\n", said, plain(v.String()), v.Revision)
	return err
}
