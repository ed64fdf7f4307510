package admin

import (
	"net/http"
	"slices"
	"time"

	"sluice/internal/audit"
	"sluice/internal/control"
)

// byChain selects what people did.
var byChain = []Param{{Name: "organisation", Doc: "Only entries of this organisation, by id or name; - for the gateway's own. Left out: all that you may see."}}

// byEntry are the other filters of the audit log.
var byEntry = []Param{
	{Name: "actor", Doc: "Of this actor: its id, or its kind for those without one (operator, unknown)."},
	{Name: "act", Doc: "Only these acts: a glob such as keys.*."},
	{Name: "object", Doc: "Done to the object with this id."},
	{Name: "result", Doc: "done, refused or failed."},
	{Name: "from", Doc: "today, yesterday, this-month, last-month, a day, a month, or a time as RFC 3339 has it."},
	{Name: "until", Doc: "The same; a day or a month is in between."},
	{Name: "zone", Doc: "The time zone of days, such as Europe/Berlin; UTC when left out."},
	{Name: "after", Doc: "The next of the page before; left out: the newest entries."},
	{Name: "limit", Doc: "How many at most: 1 to 500, 100 when left out.", Number: true},
}

// Redact is what POST /admin/audit/redact takes.
type Redact struct {
	Subject string `json:"subject"`      // the id of an account, user or token, or what docs/audit.md names
	Why     string `json:"why,omitzero"` // must be said, here or as X-Sluice-Why
}

// audits are the routes of the audit log.
func (h *Handler) audits() []Route {
	s := h.o.Control.Audit()
	return []Route{
		{Method: http.MethodGet, Path: "/admin/audit", Act: "audit.read", Summary: "List what was done, refused and tried, the newest first.", Query: slices.Concat(byChain, byEntry), Out: audit.Page{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			l, err := h.auditList(q)
			if err != nil {
				return nil, err
			}
			return some(s.List(q.Context(), q.actor, l))
		}},
		{Method: http.MethodGet, Path: "/admin/audit/keys", Act: "audit.read", Summary: "List the public keys that gateways said they sign the audit log with. Whoever verifies takes them from elsewhere, and compares.", Out: control.AuditKeys{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			return some(s.Keys(q.Context(), q.actor))
		}},
		{Method: http.MethodGet, Path: "/admin/audit/export", Act: "audit.export", Summary: "Take the audit log away as JSON lines, for sluice audit verify. It is an act of its own, and in what it gives.", Query: append(slices.Clone(byChain), Param{Name: "sealed", Doc: "true: without what is personal, and without the keys to it."}), Media: "application/jsonl", Status: http.StatusOK, write: func(q *request) error {
			p := params{values: q.URL.Query()}
			x := control.AuditExport{Organisation: p.text("organisation"), Sealed: p.yes("sealed")}
			if p.err != nil {
				return p.err
			}
			q.w.Header().Set("Connection", "close") // the deadlines of a stream are its connection's
			w := &stream{w: q.w, rc: http.NewResponseController(q.w)}
			err := s.Export(q.Context(), q.actor, x, w)
			if err != nil && w.begun {
				h.o.Log.Error("an export of the audit log broke off", "event", "audit_export_failed", "actor", q.actor.Name, "error", err.Error())
				panic(http.ErrAbortHandler) // a part must not look whole
			}
			return err
		}},
		{Method: http.MethodPost, Path: "/admin/audit/redact", Act: "audit.redact", Summary: "Make unreadable what the audit log has about somebody, for good. The log stays whole.", In: Redact{}, Out: control.Redaction{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			var in Redact
			if err := q.read(&in); err != nil {
				return nil, err
			}
			if in.Why != "" {
				q.actor.Why = in.Why
			}
			return some(s.Redact(q.Context(), q.actor, in.Subject))
		}},
	}
}

func (h *Handler) auditList(q *request) (control.AuditList, error) {
	p := params{values: q.URL.Query(), now: h.o.Now()}
	l := control.AuditList{
		Organisation: p.text("organisation"), Actor: p.text("actor"), Act: p.text("act"), Object: p.text("object"), Result: p.text("result"),
		After: p.text("after"), Limit: p.number("limit", usualRows, mostListed),
	}
	l.From, l.Until = p.span()
	return l, p.err
}

// A stream writes what may take long: whoever still reads it is not cut off, and whoever has stopped is.
type stream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
	since time.Time
}

// stalled is for how long one piece of a stream may not be taken.
const stalled = 30 * time.Second

func (s *stream) Write(b []byte) (int, error) {
	if now := time.Now(); now.Sub(s.since) > time.Second {
		s.since = now
		_ = s.rc.SetWriteDeadline(now.Add(stalled)) // a writer that knows none needs none
	}
	s.begun = true
	return s.w.Write(b)
}
