package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"

	"github.com/spf13/pflag"

	"sluice/internal/app"
	"sluice/internal/flags"
)

// A desk is where operators' commands are done: at a running gateway, or at the store itself.
type desk struct {
	admin
	config      string
	local, json bool
	creates     bool // with --local, a store that is not there

	store  http.Handler
	closed func() error
}

func (d *desk) flags(f *pflag.FlagSet) {
	d.admin.flags(f)
	f.BoolVar(&d.local, "local", false, "Work on the store itself instead of asking a gateway. That happens anyway where none answers at the usual address; gateways that share the store hear of what changes within a second.")
	flags.Path(f, &d.config, "config", "c", "Configuration that names the store, when no gateway is asked; ./sluice.yaml where there is one.")
	flags.Env(f, "config", "SLUICE_CONFIG")
	f.BoolVar(&d.json, "json", false, "Print JSON.")
}

// close ends the work, which came to err.
func (d *desk) close(err error) error {
	if d.closed != nil {
		err = errors.Join(err, d.closed())
	}
	return err
}

// call does one act: at the gateway, or at the store. in nil: it only looks.
func (d *desk) call(ctx context.Context, std *streams, path string, in, out any) error {
	return d.ask(ctx, std, asking(path, in), out)
}

func (d *desk) ask(ctx context.Context, std *streams, q ask, out any) error {
	if !d.local {
		err := d.admin.ask(ctx, q, out)
		if !errors.Is(err, syscall.ECONNREFUSED) || d.url != usualAdmin {
			return err
		}
	}
	if d.store == nil {
		var at string
		var err error
		if d.store, at, d.closed, err = app.Local(ctx, app.Options{ConfigPath: configPath(d.config), Getenv: os.Getenv}, d.local && d.creates); err != nil {
			if !d.local {
				return fmt.Errorf("no gateway answers at %s, and its store cannot be used instead: %w", d.url, err)
			}
			return err
		}
		if !d.local {
			fmt.Fprintf(std.err, "No gateway answers at %s: working on the store itself, %s.\n", d.url, at)
		}
		d.local = true
	}
	return d.askStore(ctx, q, out)
}

// askStore does what ask of admin does, without a network.
func (d *desk) askStore(ctx context.Context, q ask, out any) error {
	req, err := q.request(ctx, "http://localhost")
	if err != nil {
		return err
	}
	req.RemoteAddr = "127.0.0.1:0"
	if req.Body == nil {
		req.Body = http.NoBody
	}
	w := &answer{header: http.Header{}, status: http.StatusOK}
	d.store.ServeHTTP(w, req)
	if w.status/100 != 2 {
		return refusal(w.status, w.body.Bytes(), "", "the store answered "+http.StatusText(w.status))
	}
	return json.Unmarshal(w.body.Bytes(), out)
}

// An answer is what a handler of our own process wrote.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
func (a *answer) WriteHeader(status int)      { a.status = status }
