package telemetry

import (
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

// An Operation is a path by which operators look at the running program, or change what it does.
type Operation struct {
	Pattern string // with its method
	Handler func(w http.ResponseWriter, r *http.Request) error
}

// operations serves o.Operations, to operators only: with the token where one is configured, else from this
// machine. An error is told as problem details.
func (o AdminOptions) operations(mux *http.ServeMux) {
	for _, op := range o.Operations {
		mux.HandleFunc(op.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if status, code, detail := o.refuses(r); status != 0 {
				if status == http.StatusUnauthorized {
					w.Header().Set("WWW-Authenticate", "Bearer")
				}
				problem(w, status, code, detail)
				return
			}
			if err := op.Handler(w, r); err != nil {
				refuse(w, llm.AsError(err))
			}
		})
	}
}

// refuse tells an operator's mistake, or ours.
func refuse(w http.ResponseWriter, e *llm.Error) {
	status := http.StatusBadRequest
	switch e.Kind {
	case llm.KindNotFound, llm.KindModelNotFound:
		status = http.StatusNotFound
	case llm.KindModelNotAllowed, llm.KindForbidden:
		status = http.StatusForbidden
	case llm.KindConflict:
		status = http.StatusConflict
	case llm.KindOverloaded:
		status = http.StatusServiceUnavailable
	case llm.KindInternal:
		status = http.StatusInternalServerError
	}
	if s := int(e.RetryAfter.Round(time.Second).Seconds()); s > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(s))
	}
	detail := e.Msg
	items := []map[string]string{}
	for _, p := range e.Problems {
		detail += "; " + p.At + " " + p.Msg
		items = append(items, map[string]string{"pointer": p.At, "detail": p.Msg})
	}
	problem(w, status, string(e.Kind), detail, items...)
}

// refuses says why a request is no operator's, with status 0 when it is.
func (o AdminOptions) refuses(r *http.Request) (status int, code, detail string) {
	if o.Token != "" {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(o.Token))
		if !strings.EqualFold(scheme, "bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			return http.StatusUnauthorized, "unauthorized", "Send the token of admin.token as Authorization: Bearer TOKEN."
		}
	} else if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !net.ParseIP(host).IsLoopback() {
		return http.StatusForbidden, "forbidden", "Without admin.token in the configuration, operations are taken from this machine only."
	}
	if r.Method == http.MethodPost { // what a form of another site can send is no operation
		if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
			return http.StatusUnsupportedMediaType, "unsupported_media_type", "Send the body as application/json."
		}
	}
	return 0, "", ""
}
