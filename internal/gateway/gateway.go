// Package gateway is the path of a call: serve is the architecture, each line one step that nobody can
// skip. It knows no provider, no back end and no wire format by name.
package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice/internal/auth"
	"sluice/internal/cache"
	"sluice/internal/catalog"
	"sluice/internal/guard"
	"sluice/internal/idempotency"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/upstream"
	"sluice/internal/usage"
	"sluice/internal/wire"
)

// An Identifier tells who calls. It may take a credential out of the request's URL, so that nothing after
// it can log or forward it.
type Identifier interface {
	Identify(r *http.Request) (*auth.Who, error)
}

// A State is one configuration, built whole. A call uses one state from its start to its end.
type State struct {
	Auth   Identifier
	Router *route.Router
	Pool   *upstream.Pool
	Ledger *usage.Ledger
	// NoLedger says that nobody settles budgets, so that calls under one are refused.
	NoLedger bool
	// Limiter says whether there is room for a call under the rules of its caller.
	Limiter *quota.Limiter
	// Price is what a target's model costs for calls that begin at a time. False: nobody knows.
	Price func(t *llm.Target, at time.Time) (*catalog.Price, bool)
	// Outputs learns how long answers are.
	Outputs *quota.Outputs
	Totals  Totals
	// Guards read what a call says before an upstream does; nil: there are none.
	Guards *guard.Chain
	Once   *idempotency.Keys // nil: an Idempotency-Key means nothing
	// Cache keeps answers, as CacheRules say; nil: none are kept.
	Cache      *cache.Cache
	CacheRules *cache.Rules
	Limits     Limits
	// Linger is how long a call may go on after its client has left, to learn what it costs; 0: it is cancelled.
	Linger time.Duration
}

// Limits bound what clients may take.
type Limits struct {
	Memory      int64         // that all calls under way may take; 0: no limit
	Body        int64         // bytes of a request, after decompression
	BodyTimeout time.Duration // for a request's body to arrive in all; 0: no limit
	BodyMinRate int64         // bytes a second that a body must arrive at; 0: no limit
	Write       wire.WriteLimits
}

// An Endpoint is a path that takes calls.
type Endpoint struct {
	Path   string                                    // a ServeMux pattern without a method
	Format func(r *http.Request) (wire.Format, bool) // false: there is nothing at this path
}

// At is an endpoint of one format.
func At(path string, f wire.Format) Endpoint {
	return Endpoint{path, func(*http.Request) (wire.Format, bool) { return f, true }}
}

// Options are what a gateway is made of.
type Options struct {
	Endpoints []Endpoint
	// Errors gives the format in which errors on a path are told that belong to no endpoint.
	Errors func(path string) wire.Format
	Lists  []List
	Log    *slog.Logger
}

// A Gateway serves the data listener.
type Gateway struct {
	state  atomic.Pointer[State]
	room   wire.Room
	mux    *http.ServeMux
	direct map[string]http.HandlerFunc // those of mux that take calls, by paths without a wildcard
	errors func(path string) wire.Format
	log    *slog.Logger
	ready  atomic.Bool
}

// New makes a gateway. It answers 503 until it has a state.
func New(o Options) *Gateway {
	g := &Gateway{mux: http.NewServeMux(), direct: make(map[string]http.HandlerFunc), errors: o.Errors, log: o.Log}
	methods := map[string][]string{} // of each path
	handle := func(method, path string, h http.HandlerFunc) {
		g.mux.HandleFunc(method+" "+path, h)
		methods[path] = append(methods[path], method)
	}
	for _, e := range o.Endpoints {
		call := func(w http.ResponseWriter, r *http.Request) { g.call(w, r, e) }
		handle(http.MethodPost, e.Path, call)
		if !strings.Contains(e.Path, "{") {
			g.direct[e.Path] = call
		}
	}
	for _, l := range o.Lists {
		handle(http.MethodGet, l.Path, func(w http.ResponseWriter, r *http.Request) { g.list(w, r, l) })
	}
	handle(http.MethodGet, "/v1/usage/me", g.me)
	handle(http.MethodGet, "/health", func(w http.ResponseWriter, _ *http.Request) { writeStatus(w, http.StatusOK, "healthy") })
	handle(http.MethodGet, "/ready", g.serveReady)
	for path, allowed := range methods {
		allow := strings.Join(allowed, ", ")
		g.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			g.refuse(w, r, llm.Errorf(llm.KindMethodNotAllowed, "%s takes %s", clipPath(r.URL.Path), allow))
		})
	}
	g.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		g.refuse(w, r, llm.Errorf(llm.KindNotFound, "there is nothing at %s; docs/api.md lists the paths", clipPath(r.URL.Path)))
	})
	return g
}

// Swap makes s the state of every call that begins from now on, and returns the one before.
func (g *Gateway) Swap(s *State) *State {
	if s != nil {
		g.room.Resize(s.Limits.Memory)
	}
	return g.state.Swap(s)
}

// Taken is how much memory the calls under way are reckoned with.
func (g *Gateway) Taken() int64 { return g.room.Used() }

// SetReady says whether /ready tells load balancers to send calls here.
func (g *Gateway) SetReady(ready bool) { g.ready.Store(ready) }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Only one spelling of each path exists. ServeMux would redirect others to it, and a check made on one
	// spelling must never guard another.
	if p := r.URL.Path; p == "" || p[0] != '/' || strings.Contains(p, "//") || strings.Contains(p, "/./") || strings.Contains(p, "/../") ||
		strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..") {
		g.refuse(w, r, llm.Errorf(llm.KindNotFound, "the path is not in its plain form"))
		return
	}
	// net/http takes a request with both Content-Length and Transfer-Encoding for a chunked one and drops the
	// length. A server before us may have read it the other way, and then what follows is not what it thinks:
	// RFC 9112, section 6.1, has the connection closed. Only the chunked coding is left to be seen, and in
	// HTTP/1.0 not even that.
	if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
		w.Header().Set("Connection", "close")
	}
	if call, ok := g.direct[r.URL.Path]; ok && r.Method == http.MethodPost && r.URL.RawPath == "" { // no %2F that is not a slash
		call(w, r) // as the mux would
		return
	}
	g.mux.ServeHTTP(w, r)
}

// refuse tells an error that belongs to no call.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, err error) {
	id := newID()
	w.Header()["X-Request-Id"] = []string{id}
	wire.WriteError(w, g.errors(r.URL.Path), err, id)
}

// call opens the account of a call, serves it, and closes the account whatever happened.
func (g *Gateway) call(w http.ResponseWriter, r *http.Request, e Endpoint) {
	f, ok := e.Format(r)
	if !ok {
		g.refuse(w, r, llm.Errorf(llm.KindNotFound, "there is nothing at %s; docs/api.md lists the paths", clipPath(r.URL.Path)))
		return
	}
	s := g.state.Load() // one configuration for the whole call
	if s == nil {
		g.refuse(w, r, llm.Errorf(llm.KindOverloaded, "the gateway is starting"))
		return
	}
	entry := s.Ledger.Open(newID(), f.Format(), remoteIP(r))
	defer func() { entry.Close() }() // also of a call that is aborted
	w.Header()["X-Request-Id"] = []string{entry.ID}
	err := g.serveSafely(w, r, s, f, entry)
	entry.Err = err
	switch {
	case err == nil, entry.FirstToken != 0: // once the answer has begun, the client is told within it
		entry.Status = http.StatusOK
	case wire.ClientLeft(r.Context()) && !theClients(err):
		// Nobody is there to read it; but a status of our own must stand before net/http's 200.
		entry.Err = &llm.Error{Kind: llm.KindClientGone, Msg: "the client closed the connection", Err: err}
		entry.Status = wire.WriteError(w, f, entry.Err, entry.ID)
	default:
		entry.Status = wire.WriteError(w, f, err, entry.ID)
	}
}

// theClients tells whether a request failed by what the client sent. A body that is cut or too slow ends
// the context, too: net/http takes it for a client that left.
func theClients(err error) bool {
	switch llm.AsError(err).Kind {
	case llm.KindRequestTimeout, llm.KindInvalid:
		return true
	}
	return false
}

// serveSafely keeps a panic to the call that it happened in.
func (g *Gateway) serveSafely(w http.ResponseWriter, r *http.Request, s *State, f wire.Format, entry *usage.Entry) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(p)
			}
			err = &wire.Panic{Value: p, Stack: debug.Stack()}
		}
		if p, ok := errors.AsType[*wire.Panic](err); ok {
			g.log.Error("panic", "request_id", entry.ID, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
		}
	}()
	return g.serve(w, r, s, f, entry)
}

// serve is the path of a call. An error it returns before the entry has begun is still to be told.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, s *State, f wire.Format, entry *usage.Entry) (err error) {
	who, err := s.Auth.Identify(r) // before a byte of the body is read
	if err != nil {
		return err
	}
	entry.Caller(who)
	ctx, cancel, err := deadline(r, who)
	if err != nil {
		return err
	}
	defer cancel()
	body, err := readBody(w, r, s.Limits, &g.room)
	if err != nil {
		return err
	}
	defer body.Release()
	call, err := wire.ReadCall(f, r, body.Bytes(), entry.ID) // the strict scan; the envelope only
	if err != nil {
		return err
	}
	entry.Call(call)
	if err := who.Permits(call.Op); err != nil {
		return err
	}
	ask, err := route.ReadAsk(r.Header, who)
	if err != nil {
		return err
	}
	last, done, err := g.once(w, r, s, who, call, body.Bytes(), entry) // a call that has been made is not made again
	if done || err != nil {
		return err
	}
	if last != nil {
		defer func() { err = last.end(ctx, err) }()
		w = last
		if last.stays > 0 {
			var end context.CancelFunc
			ctx, end = linger(ctx, last.stays)
			defer end()
		}
	}
	plan, err := s.Router.Plan(who, call, ask) // the deployments that may serve it; no I/O
	if err != nil {
		return err
	}
	defer plan.Release()
	grant, err := s.reserve(ctx, who, call, body.Bytes(), plan) // every limit and budget, all or nothing
	if err != nil {
		refusalHeaders(w.Header(), err)
		return err
	}
	defer func() { s.settle(ctx, grant, entry, err) }()
	inspection, err := s.Guards.Inspect(ctx, who, call) // refuse, or put placeholders where something was found
	entry.Guarded(inspection.Told())
	if err != nil {
		return err
	}
	defer inspection.Close()
	if err := clamp(w, call, grant); err != nil {
		return err
	}
	raw := inspection.Raw()                                                     // no filter needs the meaning of the answer
	visit, err := s.lookup(ctx, w, r, f, who, call, plan, ask.Tags, inspection) // keyed by what goes on to the upstream
	if err != nil {
		return err
	}
	defer func() { visit.Close(ctx) }()
	if err := entry.Begin(hold(who, grant, visit)); err != nil { // the intent comes before the upstream
		return err
	}
	reply, trace := given(visit, entry)
	if reply == nil {
		reply, trace, err = s.Pool.Do(ctx, call, plan, who.Public(), raw, pays(grant, entry)) // call, retry, fall back
	}
	entry.Met(trace)
	if err != nil {
		return err
	}
	defer reply.Close()
	visit.Keep(reply, trace)                                                    // as the upstream sends it
	reply.Stream = entry.Meter(reply.Stream, hooks(ctx, w, call, grant, entry)) // counts what the upstream sent; renews the hold
	answerHeaders(w.Header(), reply, trace, entry, grant)
	reply.Stream = inspection.Filter(reply.Stream)                                             // what was taken out comes back; what must not be said is not
	out, err := wire.WriteReply(ctx, w, f, inspection.Asked(call), reply, raw, s.Limits.Write) // from here errors travel in the stream
	entry.Wrote(out.Bytes, out.Frames, out.Began)
	return err
}

var errDeadline = &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "the time that X-Request-Timeout-Ms allows has passed", Err: upstream.ErrDeadline}

// deadline bounds a call by the client's own wish. It only ever shortens what the configuration allows.
func deadline(r *http.Request, who *auth.Who) (context.Context, context.CancelFunc, error) {
	v := r.Header.Get("X-Request-Timeout-Ms")
	if v == "" {
		return r.Context(), func() {}, nil
	}
	if err := who.MayAsk(auth.AskDeadline); err != nil {
		return nil, nil, err
	}
	ms, err := strconv.ParseInt(v, 10, 64)
	if err != nil || ms <= 0 || ms > int64(24*time.Hour/time.Millisecond) {
		return nil, nil, llm.Errorf(llm.KindInvalid, "X-Request-Timeout-Ms must be a number of milliseconds from 1 to 86400000")
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), time.Duration(ms)*time.Millisecond, errDeadline)
	return ctx, cancel, nil
}

// readBody reads the request within its time. A connection's deadline is its own again afterwards.
func readBody(w http.ResponseWriter, r *http.Request, lim Limits, room *wire.Room) (*wire.Buffer, error) {
	if lim.BodyTimeout <= 0 && lim.BodyMinRate <= 0 {
		return wire.ReadBody(r, lim.Body, room)
	}
	start := time.Now()
	p := &paced{body: r.Body, rc: *http.NewResponseController(w), rate: lim.BodyMinRate}
	if lim.BodyTimeout > 0 {
		p.end = start.Add(lim.BodyTimeout)
	}
	p.start, r.Body = start, p
	b, err := wire.ReadBody(r, lim.Body, room)
	read := err == nil || llm.AsError(err).Kind == llm.KindOverloaded && r.ProtoMajor == 1 && p.discard(r, lim.Body)
	r.Body = p.body // net/http must know its own, or it resets the connection of a refused body before the client has read why
	if !read && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // net/http would wait for the rest before it answers
		return nil, err
	}
	_ = p.rc.SetReadDeadline(time.Time{})
	return b, err
}

func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	if g.ready.Load() && g.state.Load() != nil {
		writeStatus(w, http.StatusOK, "ready")
		return
	}
	w.Header().Set("Retry-After", "1")
	writeStatus(w, http.StatusServiceUnavailable, "not ready")
}

func writeStatus(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"status\":%q}\n", text)
}

// inOrder is Crockford's base 32: as text it sorts as its numbers do.
const inOrder = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newID makes a request id, safe in a header and a log: the time in milliseconds, then 80 bits that nobody can guess,
// as a ULID has them. Ids that come in the order of time go to the end of a database's index, which costs it less.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails
	ms := uint64(time.Now().UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	id := [4 + 26]byte{'r', 'e', 'q', '_'}
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	for i := len(id) - 1; i >= 4; i-- {
		id[i] = inOrder[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(id[:])
}

// remoteIP is the peer's address without its port.
func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// longWord is what may be a key, also in a path, where none belongs.
var longWord = regexp.MustCompile(`[A-Za-z0-9_]{24,}`)

func clipPath(p string) string {
	const most = 80
	p = longWord.ReplaceAllString(p, "…")
	if len(p) > most {
		p = p[:most] + "…"
	}
	return strconv.Quote(p)
}
