// Package admin is the operators' listener: the JSON API over package control, and beside it metrics and profiles. It finds out
// who makes a request, reads it, calls one act and writes what came of it. What people may do it does not decide.
package admin

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // openapi.json
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/internal/account"
	"sluice/internal/control"
	"sluice/internal/llm"
	"sluice/internal/telemetry"
)

// Options say what the listener offers, and over what.
type Options struct {
	Control *control.Control
	Books   Books
	Recount func(ctx context.Context, fix bool) (*Recounted, error)
	Gateway Gateway // the one that runs here; nil: only its store is here
	Twins   Twins   // nil: creates may not be named
	Door    Door    // nil: there are no accounts and no tokens
	// Identities are a provider of identities that people may sign in at; nil: there is none.
	Identities account.Identities
	// Owned tells whether there is an owner who can sign in; nil: there is none.
	Owned func(context.Context) (bool, error)

	Listen string // the listener's own address
	// Hosts are more names that a Host header may carry.
	Hosts []string
	// Proxies are the peers whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	// Token is admin.token: whoever sends it is the owner; "": there is none.
	Token llm.Secret
	// Loopback is admin.loopback.
	Loopback Loopback
	// Local serves whoever has this handler: a command of ours that works on the store itself, over no network.
	Local bool
	// Secret is what keys for several purposes are derived from, the same on all replicas; nil: drawn.
	Secret []byte

	Metrics     http.Handler // nil: none
	OpenMetrics bool         // whoever reaches the listener may read them
	Pprof       bool
	Log         *slog.Logger     // nil: none
	Now         func() time.Time // nil: time.Now
}

// A Handler serves the listener.
type Handler struct {
	o      Options
	table  []Route
	mux    *http.ServeMux
	origin *http.CrossOriginProtection
	prints []byte      // key of the prints of bodies
	owned  atomic.Bool // there is an owner who can sign in, which stays so
}

// New makes the handler.
func New(o Options) (*Handler, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Secret == nil {
		o.Secret = []byte(rand.Text() + rand.Text())
	}
	h := &Handler{o: o, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection()}
	var err error
	if h.prints, err = h.derive("admin prints of requests"); err != nil {
		return nil, err
	}
	h.table = h.routes()
	for i := range h.table {
		r := &h.table[i]
		h.mux.HandleFunc(r.pattern(), func(w http.ResponseWriter, req *http.Request) { h.serve(w, req, r) })
	}
	h.mux.HandleFunc("/", h.nothing)
	h.mux.HandleFunc("/debug/pprof", h.nothing) // or the mux would send it on to its form with a slash
	return h, nil
}

// derive makes a key for one purpose.
func (h *Handler) derive(purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, h.o.Secret, nil, "sluice "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

// ServeHTTP serves one request. What holds for all of them stands here: the host they name, the headers of answers, the id.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := "req_" + strings.ToLower(rand.Text())
	head := w.Header()
	head.Set("X-Request-Id", id)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
	defer h.rescue(w, r, id)
	if from := r.Header.Get("Sec-Fetch-Site"); (from == "cross-site" || from == "same-site") && !isReturn(r) {
		problem(w, http.StatusForbidden, "cross_site", "This listener takes no requests that another site's page makes.")
		return
	}
	if !h.knows(r.Host) {
		problem(w, http.StatusMisdirectedRequest, "unknown_host", "The Host header names a host that this listener does not know; add it to admin.hosts if it is meant.")
		return
	}
	if strange(r) {
		problem(w, http.StatusNotFound, "not_found", "There is nothing at this path.")
		return
	}
	h.mux.ServeHTTP(w, r)
}

// rescue answers a request whose handler panicked.
func (h *Handler) rescue(w http.ResponseWriter, r *http.Request, id string) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	h.o.Log.Error("panic in the admin API", "event", "panic", "request", id, "path", r.Pattern, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	problem(w, http.StatusInternalServerError, string(llm.KindInternal), "internal error")
}

// knows tells whether a Host header may be meant: a web page whose name was made to point here (DNS rebinding) must not read what
// only operators may. An address has no name that could be made to point elsewhere.
func (h *Handler) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	listen, _, _ := net.SplitHostPort(h.o.Listen)
	return strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil || host != "" && host == listen || slices.Contains(h.o.Hosts, host)
}

// strange tells of a path that could be read in two ways. The mux would send it on to its clean form; nobody needs that.
func strange(r *http.Request) bool {
	u := r.URL
	if !strings.HasPrefix(u.Path, "/") || u.User != nil || (u.Scheme != "" || u.Host != "") && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Host != r.Host) {
		return true
	}
	for part := range strings.SplitSeq(r.URL.EscapedPath()[1:], "/") {
		if part == "" && r.URL.Path != "/" && r.URL.Path != "/debug/pprof/" || part == "." || part == ".." {
			return true
		}
	}
	return false
}

// nothing answers what no route takes: another method of a path, or another path.
func (h *Handler) nothing(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		other := *r
		other.Method = method
		if _, pattern := h.mux.Handler(&other); pattern != "/" {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		problem(w, http.StatusMethodNotAllowed, string(llm.KindMethodNotAllowed), "This path takes "+strings.Join(allow, " and ")+".")
		return
	}
	problem(w, http.StatusNotFound, "not_found", "There is nothing at this path. GET /admin/openapi.json lists what there is.")
}

//go:generate go test -run "^(TestDocument|TestDocs)$" -count=1 . -update
//go:embed openapi.json
var document []byte

// own are the routes of the listener itself, beside the API.
func (h *Handler) own() []Route {
	table := []Route{
		{Method: http.MethodGet, Path: "/health", For: ForAnybody, Summary: "Tell that the process lives.", Out: Health{}, Status: http.StatusOK, serve: func(*request) (any, error) {
			return Health{"healthy"}, nil
		}},
		{Method: http.MethodGet, Path: "/admin/openapi.json", For: ForSignedIn, Summary: "This document.", Media: "application/json", Status: http.StatusOK, write: func(q *request) error {
			_, err := q.w.Write(document)
			return err
		}},
		h.metrics(),
		{Method: http.MethodGet, Path: "/build", For: ForSignedIn, Summary: "What was built, and of what.", Out: telemetry.BuildInfo{}, Status: http.StatusOK, serve: func(*request) (any, error) {
			return telemetry.Build(), nil
		}},
	}
	if !h.o.Pprof {
		return table
	}
	for path, serve := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace, "{profile}": pprof.Index,
	} {
		if path == "" {
			path = "{$}"
		}
		table = append(table, Route{Method: http.MethodGet, Path: "/debug/pprof/" + path, Act: "debug.read", Summary: "Profiles of the process (net/http/pprof).", Media: "*/*", Query: profiling, Status: http.StatusOK, write: func(q *request) error {
			q.w.Header().Del("Content-Type")
			serve(q.w, q.Request)
			return nil
		}})
	}
	return table
}

// metrics are for those who may see how the gateway is built, unless the configuration opens them.
func (h *Handler) metrics() Route {
	r := Route{Method: http.MethodGet, Path: "/metrics", Act: "metrics.read", Summary: "Metrics, as Prometheus reads them. admin.open_metrics gives them to anybody.", Media: "text/plain", Status: http.StatusOK, write: func(q *request) error {
		q.w.Header().Del("Content-Type")
		if h.o.Metrics == nil {
			return errNoGateway
		}
		h.o.Metrics.ServeHTTP(q.w, q.Request)
		return nil
	}}
	if h.o.OpenMetrics {
		r.Act, r.For = "", ForAnybody
	}
	return r
}

var profiling = []Param{{Name: "seconds", Doc: "For how long.", Number: true}, {Name: "debug", Doc: "1 or 2: as text.", Number: true}, {Name: "gc", Doc: "1: collect garbage before.", Number: true}}

// Health is what GET /health answers.
type Health struct {
	Status string `json:"status"`
}

// Loopback says when a request from this machine itself, without any proof of who makes it, is the operator's.
type Loopback string

// Values of admin.loopback.
const (
	LoopbackUntil    Loopback = ""         // as long as there is neither admin.token nor an owner's account
	LoopbackOperator Loopback = "operator" // always, where there is no admin.token
	LoopbackNever    Loopback = "never"
)
