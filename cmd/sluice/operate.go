package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/internal/app"
	"sluice/internal/config"
	"sluice/internal/route"
)

// An admin is the operators' listener of a running gateway.
type admin struct {
	AdminURL string `name:"admin-url" env:"SLUICE_ADMIN_URL" default:"http://127.0.0.1:3002" placeholder:"URL" help:"The running gateway's admin listener. Its token (admin.token) is read from SLUICE_ADMIN_TOKEN."`
}

// maxAnswer bounds what the running gateway may answer, in bytes.
const maxAnswer = 64 << 20

// call asks the running gateway. in nil: GET.
func (a *admin) call(ctx context.Context, path string, in, out any) error {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	method, body := http.MethodGet, []byte(nil)
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(a.AdminURL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("--admin-url: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token := os.Getenv("SLUICE_ADMIN_TOKEN"); token != "" { // never on a command line, which others can read
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway answers at %s: %w; start one (sluice serve), or name another with --admin-url", a.AdminURL, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the gateway's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		_ = json.Unmarshal(answer, &problem)
		return fmt.Errorf("the gateway answered %s: %s", resp.Status, problem.Detail)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the gateway's answer: %w", err)
	}
	return nil
}

type upstreamsCommands struct {
	List    upstreamsList   `cmd:"" default:"withargs" help:"Show the deployments: state, breaker, calls under way, latency, last error."`
	Drain   upstreamsChange `cmd:"" help:"Send a deployment no new calls; those under way go on."`
	Disable upstreamsChange `cmd:"" help:"Take a deployment out of service."`
	Enable  upstreamsChange `cmd:"" help:"Put a deployment back into service."`
	Reset   upstreamsChange `cmd:"" help:"Forget all that speaks against a deployment and its credential."`
}

type upstreamsList struct {
	admin
	JSON bool `help:"Print JSON."`
}

// Run implements the command.
func (c *upstreamsList) Run(ctx context.Context, std *streams) error {
	var u app.Upstreams
	if err := c.call(ctx, "/admin/upstreams", nil, &u); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, u)
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEPLOYMENT\tSTATE\tBREAKER\tIN FLIGHT\tOTHERS\tWAITING\tLATENCY\tFAILING\tLAST ERROR")
	for i := range u.Deployments {
		d := &u.Deployments[i]
		state, last := d.State, "-"
		if !d.Until.IsZero() {
			state += " until " + d.Until.Local().Format(time.TimeOnly)
		}
		if e := d.LastError; e != nil {
			last = fmt.Sprintf("%s at %s", e.Class, e.At.Local().Format(time.TimeOnly))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%.0f ms\t%.0f %%\t%s\n", d.Deployment, state, d.Breaker, d.InFlight, d.Others, d.Waiting, d.LatencyMs, 100*d.Failing, last)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "%d replicas, shared state: %s\n", u.Replicas, u.Shared)
	return err
}

type upstreamsChange struct {
	admin
	Deployment string `arg:"" help:"As the list names it."`
}

// Run implements the four commands: action is the name of the one that was called.
func (c *upstreamsChange) Run(ctx context.Context, std *streams, action operation) error {
	var view struct{ State string }
	if err := c.call(ctx, "/admin/upstreams", app.Operation{Deployment: c.Deployment, Action: string(action)}, &view); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "%s: %s\n", c.Deployment, view.State)
	return err
}

// An operation is the last word of an upstreams command.
type operation string

type explainCommand struct {
	admin
	Key     string   `required:"" help:"The key that would make the call: its name or public part."`
	Request string   `required:"" type:"existingfile" placeholder:"FILE" help:"The request's JSON body; - reads it from standard input."`
	Path    string   `default:"/v1/chat/completions" help:"Where the call would go."`
	Header  []string `short:"H" sep:"none" placeholder:"NAME: VALUE" help:"A header of the call, such as 'X-Sluice-Strategy: latency'."`
	Config  string   `short:"c" type:"existingfile" placeholder:"FILE" help:"Plan by this configuration alone instead of asking a running gateway: nothing is known of the deployments then."`
	JSON    bool     `help:"Print JSON."`
}

// Run implements the command.
func (c *explainCommand) Run(ctx context.Context, std *streams) error {
	q := app.Question{Key: c.Key, Path: c.Path, Headers: map[string]string{}}
	for _, h := range c.Header {
		name, v, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("--header: %q is not NAME: VALUE", h)
		}
		q.Headers[strings.TrimSpace(name)] = strings.TrimSpace(v)
	}
	var err error
	if c.Request == "-" {
		q.Body, err = io.ReadAll(io.LimitReader(os.Stdin, maxAnswer))
	} else {
		q.Body, err = os.ReadFile(c.Request)
	}
	if err != nil {
		return fmt.Errorf("--request: %w", err)
	}
	if !json.Valid(q.Body) {
		return fmt.Errorf("--request: %s holds no JSON", c.Request)
	}
	e := new(route.Explanation)
	if c.Config != "" {
		cfg, err := config.Load(c.Config, config.Options{Getenv: os.Getenv, Kinds: app.Kinds()})
		if err != nil {
			return err
		}
		if e, err = app.Explain(cfg, &q); err != nil {
			return err
		}
	} else if err := c.call(ctx, "/admin/explain", q, e); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, e)
	}
	return printPlan(std.out, e)
}

// printPlan writes an explanation for people.
func printPlan(out io.Writer, e *route.Explanation) error {
	fmt.Fprintf(out, "model %s, strategy %s\n", e.Model, e.Strategy)
	if e.Fallback != "" {
		fmt.Fprintf(out, "falls back at once to %s\n", e.Fallback)
	}
	for _, f := range e.Models {
		fmt.Fprintf(out, "falls back (%s) to %s\n", f.Why, strings.Join(f.Models, ", "))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nORDER\tMODEL\tDEPLOYMENT\tUPSTREAM\tTIER\tWEIGHT\tIN FLIGHT\tLATENCY\tFAILING\tCOST\tSTATE")
	line := func(order string, c *route.Choice, why string) {
		cost := "-"
		if c.NanoUSD > 0 {
			cost = fmt.Sprintf("$%.6f", float64(c.NanoUSD)/1e9)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s/%s\t%d\t%d\t%d+%d\t%.0f ms\t%.0f %%\t%s\t%s\n",
			order, c.Model, c.Deployment, c.Provider, c.Upstream, c.Tier, c.Weight, c.InFlight, c.Others, c.LatencyMs, 100*c.Failing, cost, why)
	}
	for i := range e.Choices {
		line(fmt.Sprint(i+1), &e.Choices[i], e.Choices[i].State)
	}
	for i := range e.Refused {
		line("-", &e.Refused[i], "refused: "+e.Refused[i].Why)
	}
	return w.Flush()
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
