package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
		if !d.nobody(err) {
			return err
		}
	}
	if err := d.open(ctx, std); err != nil {
		return err
	}
	return d.askStore(ctx, q, out)
}

// copy writes what a path gives that is no JSON object. What fails halfway is an error.
func (d *desk) copy(ctx context.Context, std *streams, path string, to io.Writer) error {
	if !d.local {
		err := d.admin.copy(ctx, path, to)
		if !d.nobody(err) {
			return err
		}
	}
	if err := d.open(ctx, std); err != nil {
		return err
	}
	return d.copyStore(ctx, path, to)
}

// nobody tells that no gateway is where one is usually, and none was named.
func (d *desk) nobody(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) && d.url == usualAdmin
}

// open opens the store itself.
func (d *desk) open(ctx context.Context, std *streams) error {
	if d.store != nil {
		return nil
	}
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
	return nil
}

// askStore does what ask of admin does, without a network.
func (d *desk) askStore(ctx context.Context, q ask, out any) error {
	req, err := localRequest(ctx, q)
	if err != nil {
		return err
	}
	w := &answer{header: http.Header{}, status: http.StatusOK}
	d.store.ServeHTTP(w, req)
	if err := w.refused(); err != nil {
		return err
	}
	return json.Unmarshal(w.body.Bytes(), out)
}

func localRequest(ctx context.Context, q ask) (*http.Request, error) {
	req, err := q.request(ctx, "http://localhost")
	if err != nil {
		return nil, err
	}
	req.RemoteAddr = "127.0.0.1:0"
	if req.Body == nil {
		req.Body = http.NoBody
	}
	return req, nil
}

// copyStore does what copy of admin does, without a network.
func (d *desk) copyStore(ctx context.Context, path string, to io.Writer) (err error) {
	req, err := localRequest(ctx, asking(path, nil))
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // it is that value, and any other is no error
			err = errBroken
		} else if p != nil {
			panic(p)
		}
	}()
	w := &answer{header: http.Header{}, status: http.StatusOK, to: to}
	d.store.ServeHTTP(w, req)
	return errors.Join(w.refused(), w.err)
}

// errBroken is that of an answer of which a part came.
var errBroken = errors.New("the answer broke off: what came of it is not whole")

// An answer is what a handler of our own process wrote.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	to     io.Writer // where it goes instead, unless it is a refusal
	err    error     // of to
}

func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(p []byte) (int, error) {
	if a.to == nil || a.status/100 != 2 {
		return a.body.Write(p)
	}
	n, err := a.to.Write(p)
	if err != nil {
		a.err = err
	}
	return n, err
}

func (a *answer) refused() error {
	if a.status/100 == 2 {
		return nil
	}
	return refusal(a.status, a.body.Bytes(), "", "the store answered "+http.StatusText(a.status))
}
