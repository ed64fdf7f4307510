package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/spf13/pflag"

	adminapi "sluice/internal/admin"
	"sluice/internal/app"
	"sluice/internal/config"
	"sluice/internal/flags"
	"sluice/internal/route"
)

// usualAdmin is where a gateway has its admin listener unless it is told otherwise.
const usualAdmin = "http://127.0.0.1:3002"

// An admin is the operators' listener of a running gateway.
type admin struct {
	url       string
	tokenFile string
	patience  time.Duration // for an answer; 0: ten seconds
}

func (a *admin) flags(f *pflag.FlagSet) {
	f.StringVar(&a.url, "admin-url", usualAdmin, "`URL` of the running gateway's admin listener. A token is read from SLUICE_ADMIN_TOKEN or --token-file.")
	flags.Env(f, "admin-url", "SLUICE_ADMIN_URL")
	flags.File(f, &a.tokenFile, "token-file", "", "File that holds the token for the gateway; it comes before SLUICE_ADMIN_TOKEN.")
	flags.Env(f, "token-file", "SLUICE_ADMIN_TOKEN_FILE")
}

// token is what to show the gateway. It is never on a command line, which others can read.
func (a *admin) token() (string, error) {
	if a.tokenFile == "" {
		return strings.TrimSpace(os.Getenv("SLUICE_ADMIN_TOKEN")), nil
	}
	text, err := os.ReadFile(a.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("--token-file: %s is empty", a.tokenFile)
	}
	return token, nil
}

// maxAnswer bounds what the running gateway may answer, in bytes.
const maxAnswer = 64 << 20

// An ask is a request to the admin API.
type ask struct {
	method, path string
	in           any    // nil: no body
	tag          string // that an object must still have; "": whatever it has
}

// versioned is the tag of a version.
func versioned(version int64) string { return strconv.FormatInt(version, 10) }

// asking is what a path is asked with: GET where nothing is sent, else POST.
func asking(path string, in any) ask {
	if in == nil {
		return ask{method: http.MethodGet, path: path}
	}
	return ask{method: http.MethodPost, path: path, in: in}
}

// request makes the request of an ask.
func (q *ask) request(ctx context.Context, base string) (*http.Request, error) {
	var body io.Reader
	if q.in != nil {
		text, err := jsonv2.Marshal(q.in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, base+q.path, body)
	if err != nil {
		return nil, err
	}
	if q.in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.tag != "" {
		req.Header.Set("If-Match", strconv.Quote(q.tag))
	}
	return req, nil
}

// call asks the running gateway. in nil: GET.
func (a *admin) call(ctx context.Context, path string, in, out any) error {
	return a.ask(ctx, asking(path, in), out)
}

func (a *admin) ask(ctx context.Context, q ask, out any) error {
	ctx, stop := context.WithTimeout(ctx, cmp.Or(a.patience, 10*time.Second))
	defer stop()
	return a.do(ctx, q, func(body io.Reader) error {
		answer, err := io.ReadAll(io.LimitReader(body, maxAnswer))
		if err == nil {
			err = json.Unmarshal(answer, out)
		}
		if err != nil {
			return fmt.Errorf("read the gateway's answer: %w", err)
		}
		return nil
	})
}

// copy writes what a path gives that is no JSON object, however long it takes.
func (a *admin) copy(ctx context.Context, path string, to io.Writer) error {
	return a.do(ctx, asking(path, nil), func(body io.Reader) error {
		_, err := io.Copy(to, body)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errBroken
		}
		return err
	})
}

// do sends a request, and has the answer read that went well.
func (a *admin) do(ctx context.Context, q ask, read func(io.Reader) error) error {
	req, err := q.request(ctx, strings.TrimSuffix(a.url, "/"))
	if err != nil {
		return fmt.Errorf("--admin-url: %w", err)
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := patient.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway answers at %s: %w; start one (sluice serve), or name another with --admin-url", a.url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return read(resp.Body)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the gateway's answer: %w", err)
	}
	return a.refused(resp, answer, token != "")
}

// patient follows nobody elsewhere: a token is for the gateway that was named.
var patient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// refused says what a refusal means here.
func (a *admin) refused(resp *http.Response, answer []byte, shown bool) error {
	r := refusal(resp.StatusCode, answer, "the gateway answered "+resp.Status+": ", "")
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		r.text = fmt.Sprintf("the gateway at %s does not know who you are: put a token (sluice tokens create) in SLUICE_ADMIN_TOKEN or name a file that holds one (--token-file)", a.url)
		if shown {
			r.text = fmt.Sprintf("the gateway at %s does not take the token: it is unknown, ended, or was cut", a.url)
		}
	case http.StatusForbidden:
		r.text = "you may not do that: " + or(r.Detail, "nothing more is told")
	case http.StatusPreconditionFailed:
		r.text = "somebody else changed it meanwhile: look at it again, and say anew what you want"
	}
	return r
}

type upstreamsCommand struct {
	admin
	json bool
}

func (c *upstreamsCommand) list(ctx context.Context, std *streams) error {
	var u adminapi.Upstreams
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
	var whole json.RawMessage
	if err := c.call(ctx, "/admin/upstreams", adminapi.Operation{Deployment: deployment, Action: action}, &whole); err != nil {
		return err
	}
	if c.json {
		return printJSON(std.out, whole)
	}
	var view struct{ State string }
	if err := json.Unmarshal(whole, &view); err != nil {
		return fmt.Errorf("read the gateway's answer: %w", err)
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
	q := adminapi.Question{Key: c.key, Path: c.path, Headers: map[string]string{}}
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
	if len(e.Guards) > 0 {
		fmt.Fprintf(out, "guards %s\n", strings.Join(e.Guards, ", "))
	}
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
