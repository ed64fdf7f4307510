package telemetry

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sluice/internal/llm"
)

// AdminOptions say what the operators' listener offers.
type AdminOptions struct {
	Metrics *Metrics
	Pprof   bool
	Listen  string   // the listener's own address
	Hosts   []string // more names that a Host header may carry

	Operations []Operation
	Token      llm.Secret // that operations need; "": they are taken from this machine only
}

// AdminHandler serves /metrics, /build, /health, the operations and, where it is switched on, /debug/pprof/.
func AdminHandler(o AdminOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics.registry, promhttp.HandlerOpts{Timeout: scrapeTimeout, MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /build", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, Build()) })
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "healthy"})
	})
	o.operations(mux)
	if o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if _, pattern := mux.Handler(as(r, method)); pattern != "/" {
				w.Header().Set("Allow", method)
				problem(w, http.StatusMethodNotAllowed, "method_not_allowed", "This path takes "+method+".")
				return
			}
		}
		problem(w, http.StatusNotFound, "not_found", "There is nothing at this path; this listener has /metrics, /build, /health, and under /admin/ upstreams, explain, keys, teams, users, organisations, usage and ledger.")
	})
	return ownHost(o, mux)
}

func as(r *http.Request, method string) *http.Request {
	other := *r
	other.Method = method
	return &other
}

// ownHost refuses requests that name another host: a web page whose name was made to point here (DNS
// rebinding) must not read what only operators may. An address has no name that could be made to point
// elsewhere. A page may also send a request blindly; it must not start a profile with one.
func ownHost(o AdminOptions, h http.Handler) http.Handler {
	listen, _, _ := net.SplitHostPort(o.Listen)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if from := r.Header.Get("Sec-Fetch-Site"); from == "cross-site" || from == "same-site" {
			problem(w, http.StatusForbidden, "cross_site", "This listener takes no requests that another site's page makes.")
			return
		}
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		host = strings.Trim(host, "[]")
		ip := net.ParseIP(host)
		if strings.EqualFold(host, "localhost") || ip != nil || host == listen || slices.Contains(o.Hosts, host) {
			h.ServeHTTP(w, r)
			return
		}
		problem(w, http.StatusMisdirectedRequest, "unknown_host", "The Host header names a host that this listener does not know; add it to admin.hosts if it is meant.")
	})
}

// problem writes problem details (RFC 9457), with one item for each member that is at fault.
func problem(w http.ResponseWriter, status int, code, detail string, items ...map[string]string) {
	w.Header().Set("Content-Type", "application/problem+json")
	p := map[string]any{"type": "urn:sluice:error:" + code, "title": http.StatusText(status), "status": status, "detail": detail, "code": code}
	if len(items) > 0 {
		p["errors"] = items
	}
	writeJSON(w, status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
