package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// maxBody bounds the body of a request, but for the call that one wants explained.
const maxBody = 1 << 20

// slowBody is for how long a body may come.
const slowBody = 30 * time.Second

// serve does what a route says with a request: who makes it, whether they may, whether it can be read, and only then the act.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, route *Route) {
	q := &request{Request: r, w: w, route: route}
	out, err := h.try(q)
	if err != nil {
		refuse(w, err, q.version != 0 || q.tag != "")
		return
	}
	if route.write != nil {
		return
	}
	text, err := json.Marshal(out, json.Deterministic(true))
	if err != nil {
		refuse(w, fmt.Errorf("write answer: %w", err), false)
		return
	}
	q.describe(out, text)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(created(w.Header(), route.Status))
	_, _ = w.Write(append(text, '\n'))
}

// try gives what a route answers.
func (h *Handler) try(q *request) (any, error) {
	if err := h.admit(q); err != nil {
		return nil, err
	}
	if q.route.Running && h.o.Gateway == nil {
		return nil, errNoGateway
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	if q.route.write != nil {
		q.w.Header().Set("Content-Type", q.route.Media)
		return nil, q.route.write(q)
	}
	return q.route.serve(q)
}

var errNoGateway = &llm.Error{Kind: llm.KindOverloaded, Msg: "no gateway runs here: ask a running one"}

// check reads what surrounds the body, strictly: what a route does not know it does not ignore.
func (q *request) check() error {
	if err := q.query(); err != nil {
		return err
	}
	for part := range strings.SplitSeq(q.URL.Path, "/") {
		if isSecret(part) {
			return errSecretInURL
		}
	}
	if q.route.changes() {
		if err := q.media(); err != nil {
			return err
		}
	}
	if q.Header.Get("Idempotency-Key") != "" && !q.route.Named {
		return llm.Errorf(llm.KindInvalid, "this path takes no Idempotency-Key")
	}
	match := q.Header.Values("If-Match")
	switch {
	case len(match) == 0:
	case !q.route.changes() || !q.route.Matches && !q.route.Tagged:
		return llm.Errorf(llm.KindInvalid, "this path takes no If-Match")
	case len(match) > 1:
		return llm.Errorf(llm.KindInvalid, "If-Match is said %d times", len(match))
	case match[0] == "*":
	case q.route.Tagged:
		var err error
		if q.tag, err = strconv.Unquote(match[0]); err != nil || q.tag == "" {
			return llm.Errorf(llm.KindInvalid, "If-Match must be the ETag of an answer, in quotes, or *")
		}
	default:
		if q.version = versionOf(match[0]); q.version == 0 {
			return llm.Errorf(llm.KindInvalid, `If-Match must be the ETag of an answer, such as "7", or *`)
		}
	}
	return nil
}

func (q *request) query() error {
	values, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return llm.Errorf(llm.KindInvalid, "query: cannot be read")
	}
	if q.route.Foreign {
		return nil
	}
	for name, list := range values {
		if isSecret(name) {
			return errSecretInURL
		}
		at := slices.IndexFunc(q.route.Query, func(p Param) bool { return p.Name == name })
		if at < 0 {
			return llm.Errorf(llm.KindInvalid, "query: there is no %.40q; there are %s", name, cmp.Or(paramNames(q.route.Query), "none"))
		}
		if len(list) != 1 {
			return llm.Errorf(llm.KindInvalid, "query: %s is said %d times", name, len(list))
		}
		if isSecret(list[0]) {
			return errSecretInURL
		}
		if !utf8.ValidString(list[0]) || strings.ContainsFunc(list[0], unicode.IsControl) {
			return llm.Errorf(llm.KindInvalid, "query: %s has a character that no text here has", name)
		}
		if n, err := strconv.Atoi(list[0]); q.route.Query[at].Number && (err != nil || n < 1) {
			return llm.Errorf(llm.KindInvalid, "query: %s must be a number from 1", name)
		}
	}
	return nil
}

func paramNames(list []Param) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Name
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// errSecretInURL refuses keys and tokens where logs of proxies and browsers keep them.
var errSecretInURL = &llm.Error{Kind: llm.KindInvalid, Msg: "a secret does not belong in an address, which others log: consider it known, and rotate it"}

// isSecret tells whether a text begins as a key, token, session or one-time link of ours does, and is long enough to be one.
func isSecret(text string) bool {
	return len(text) > 24 && slices.ContainsFunc([]string{"sk-slc-", "slt-", "sls-", "sll-"}, func(p string) bool { return strings.HasPrefix(text, p) })
}

// media refuses bodies that a form or a script of another site could send without asking.
func (q *request) media() error {
	if q.route.In == nil {
		if q.ContentLength != 0 {
			return llm.Errorf(llm.KindInvalid, "this path takes no body")
		}
		return nil
	}
	if q.ContentLength == 0 && q.Header.Values("Content-Type") == nil {
		return nil
	}
	t, args, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil || t != "application/json" || len(q.Header.Values("Content-Type")) > 1 {
		return &llm.Error{Kind: llm.KindMediaType, Msg: "send the body as Content-Type: application/json"}
	}
	if set := args["charset"]; set != "" && !strings.EqualFold(set, "utf-8") {
		return &llm.Error{Kind: llm.KindMediaType, Msg: "JSON is UTF-8"}
	}
	if q.Header.Get("Content-Encoding") != "" {
		return &llm.Error{Kind: llm.KindMediaType, Msg: "send the body as it is, without a Content-Encoding"}
	}
	return nil
}

// body gives the body as it came.
func (q *request) body(most int64) ([]byte, error) {
	if q.text == nil {
		rc := http.NewResponseController(q.w)
		_ = rc.SetReadDeadline(time.Now().Add(slowBody)) // a writer that knows none needs none
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
		text, err := io.ReadAll(http.MaxBytesReader(nil, q.Body, most))
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, &llm.Error{Kind: llm.KindTooLarge, Msg: fmt.Sprintf("the body has more than %d bytes", most)}
		}
		if err != nil {
			return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the body cannot be read", Err: err}
		}
		q.text = text
	}
	return q.text, nil
}

// read reads the body, as strictly as a document that people write. Left out, it is an empty object.
func (q *request) read(v any) error {
	text, err := q.body(maxBody)
	if err != nil {
		return err
	}
	return rules.Decode([]byte(cmp.Or(string(text), "{}")), v)
}

// An object has an id, and a version that grows with each change.
type object interface {
	Tag() (id string, version int64)
}

// describe says in headers which state of an object an answer tells.
func (q *request) describe(out any, text []byte) {
	if o, ok := out.(*control.Object); ok {
		if o.ETag != "" && q.route.Method != http.MethodDelete {
			q.w.Header().Set("ETag", strconv.Quote(o.ETag))
		}
		if q.route.Status == http.StatusCreated {
			q.w.Header().Set("Location", q.URL.Path+"/"+url.PathEscape(o.Name))
		}
		return
	}
	o, ok := out.(object)
	if !ok {
		return
	}
	id, version := o.Tag()
	switch {
	case q.route.Method == http.MethodDelete:
	case version > 0:
		q.w.Header().Set("ETag", `"`+strconv.FormatInt(version, 10)+`"`)
	default:
		sum := sha256.Sum256(text)
		q.w.Header().Set("ETag", `"h`+hex.EncodeToString(sum[:12])+`"`)
	}
	if q.route.Status == http.StatusCreated {
		q.w.Header().Set("Location", q.route.Path+"/"+url.PathEscape(id))
	}
}

// versionOf reads an ETag as describe writes it; 0: it is none.
func versionOf(tag string) int64 {
	text, ok := strings.CutPrefix(tag, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || !closed || err != nil || n < 1 {
		return 0
	}
	return n
}

// refuse tells a mistake, or ours, as problem details.
func refuse(w http.ResponseWriter, err error, matching bool) {
	e := llm.AsError(err)
	status, code := statusOf(e.Kind), string(e.Kind)
	if e.Status != 0 {
		status = e.Status
	}
	switch {
	case e.Code != "":
		code = e.Code
	case matching && errors.Is(err, directory.ErrVersion):
		status, code = http.StatusPreconditionFailed, "precondition_failed"
	case errors.Is(err, context.DeadlineExceeded) && e.Kind == llm.KindInternal:
		status, code = http.StatusServiceUnavailable, string(llm.KindOverloaded)
	}
	if s := int(e.RetryAfter.Round(time.Second).Seconds()); s > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(s))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	detail := e.Msg
	var items []fault
	for _, p := range e.Problems {
		detail += "; " + p.At + " " + p.Msg
		items = append(items, fault{p.At, p.Msg})
	}
	problem(w, status, code, detail, items...)
}

func statusOf(k llm.Kind) int {
	switch k {
	case llm.KindInvalidKey:
		return http.StatusUnauthorized
	case llm.KindNotFound, llm.KindModelNotFound:
		return http.StatusNotFound
	case llm.KindModelNotAllowed, llm.KindForbidden:
		return http.StatusForbidden
	case llm.KindConflict:
		return http.StatusConflict
	case llm.KindIdempotencyReused:
		return http.StatusUnprocessableEntity
	case llm.KindTooLarge:
		return http.StatusRequestEntityTooLarge
	case llm.KindMediaType:
		return http.StatusUnsupportedMediaType
	case llm.KindRateLimited:
		return http.StatusTooManyRequests
	case llm.KindOverloaded, llm.KindBudgetUnknown:
		return http.StatusServiceUnavailable
	case llm.KindInternal:
		return http.StatusInternalServerError
	default:
		return http.StatusBadRequest
	}
}

// A Problem is how refusals and failures are told (RFC 9457).
type Problem struct {
	Type   string  `json:"type"` // urn:sluice:error: and the code
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Detail string  `json:"detail"`
	Code   string  `json:"code"`
	Errors []fault `json:"errors,omitzero"` // one for each member that is at fault
}

type fault struct {
	Pointer string `json:"pointer"` // RFC 6901
	Detail  string `json:"detail"`
}

func problem(w http.ResponseWriter, status int, code, detail string, items ...fault) {
	p := Problem{"urn:sluice:error:" + code, http.StatusText(status), status, detail, code, items}
	text, _ := json.Marshal(&p) // texts and a number
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// why is what somebody says about what they do.
func why(r *http.Request) (string, error) {
	text := r.Header.Get("X-Sluice-Why")
	if len(text) > 500 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", llm.Errorf(llm.KindInvalid, "X-Sluice-Why must be a text of at most 500 bytes")
	}
	return text, nil
}

// refusal records that somebody may not do an act, and says so.
func (h *Handler) refusal(ctx context.Context, a control.Actor, act control.Act, err error) error {
	if h.o.Control == nil {
		return err
	}
	return h.o.Control.Perform(ctx, a, act, nil) // which refuses before it would do anything
}
