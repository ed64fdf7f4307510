package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/config"
	"sluice/internal/flags"
	"sluice/internal/route"
)

// usualAdmin is where a gateway has its admin listener unless it is told otherwise.
const usualAdmin = "http://127.0.0.1:3002"

// An admin is the operators' listener of a running gateway.
type admin struct {
	url      string
	patience time.Duration // for an answer; 0: ten seconds
}

func (a *admin) flags(f *pflag.FlagSet) {
	f.StringVar(&a.url, "admin-url", usualAdmin, "`URL` of the running gateway's admin listener. Its token (admin.token) is read from SLUICE_ADMIN_TOKEN.")
	flags.Env(f, "admin-url", "SLUICE_ADMIN_URL")
}

// maxAnswer bounds what the running gateway may answer, in bytes.
const maxAnswer = 64 << 20

// call asks the running gateway. in nil: GET.
func (a *admin) call(ctx context.Context, path string, in, out any) error {
	ctx, stop := context.WithTimeout(ctx, cmp.Or(a.patience, 10*time.Second))
	defer stop()
	method, body := http.MethodGet, []byte(nil)
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(a.url, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("--admin-url: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token := os.Getenv("SLUICE_ADMIN_TOKEN"); token != "" { // never on a command line, which others can read
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway answers at %s: %w; start one (sluice serve), or name another with --admin-url", a.url, err)
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

type upstreamsCommand struct {
	admin
	json bool
}

func (c *upstreamsCommand) list(ctx context.Context, std *streams) error {
	var u app.Upstreams
	if err := c.call(ctx, "/admin/upstreams", nil, &u); err != nil {
		return err
	}
	if c.json {
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

// change does what the gateway calls action to a deployment.
func (c *upstreamsCommand) change(ctx context.Context, std *streams, action, deployment string) error {
	var view struct{ State string }
	if err := c.call(ctx, "/admin/upstreams", app.Operation{Deployment: deployment, Action: action}, &view); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "%s: %s\n", deployment, view.State)
	return err
}

type explainCommand struct {
	admin
	key, request, path, config string
	headers                    []string
	json                       bool
}

func (c *explainCommand) flags(f *pflag.FlagSet) {
	c.admin.flags(f)
	f.StringVar(&c.key, "key", "", "The key that would make the call: its `NAME` or public part.")
	flags.File(f, &c.request, "request", "", "The request's JSON body; - reads it from standard input.")
	f.StringVar(&c.path, "path", "/v1/chat/completions", "`PATH` that the call would go to.")
	f.StringArrayVarP(&c.headers, "header", "H", nil, "A `HEADER` of the call, such as 'X-Sluice-Strategy: latency'. May be repeated.")
	flags.File(f, &c.config, "config", "c", "Plan by this configuration alone instead of asking a running gateway: nothing is known of the deployments then.")
	f.BoolVar(&c.json, "json", false, "Print JSON.")
}

func (c *explainCommand) run(ctx context.Context, std *streams) error {
	q := app.Question{Key: c.key, Path: c.path, Headers: map[string]string{}}
	for _, h := range c.headers {
		name, v, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("--header: %q is not NAME: VALUE", h)
		}
		q.Headers[strings.TrimSpace(name)] = strings.TrimSpace(v)
	}
	var err error
	if c.request == "-" {
		q.Body, err = io.ReadAll(io.LimitReader(os.Stdin, maxAnswer))
	} else {
		q.Body, err = os.ReadFile(c.request)
	}
	if err != nil {
		return fmt.Errorf("--request: %w", err)
	}
	if !json.Valid(q.Body) {
		return fmt.Errorf("--request: %s holds no JSON", c.request)
	}
	e := new(route.Explanation)
	if c.config != "" {
		cfg, err := config.Load(c.config, app.ConfigOptions(ctx, os.Getenv))
		if err != nil {
			return err
		}
		if e, err = app.Explain(cfg, &q); err != nil {
			return err
		}
	} else if err := c.call(ctx, "/admin/explain", q, e); err != nil {
		return err
	}
	if c.json {
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
