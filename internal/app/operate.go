package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"sluice/internal/admin"
	"sluice/internal/auth"
	"sluice/internal/backend/redis"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/gateway"
	"sluice/internal/llm"
	"sluice/internal/route"
	"sluice/internal/telemetry"
	"sluice/internal/upstream"
	"sluice/internal/wire"
)

// maxOperation bounds the body of an operator's request, but for the call that one wants explained.
const maxOperation = 64 << 10

// operations are the paths of the operators' listener beside its own.
func (a *App) operations() []telemetry.Operation {
	return append([]telemetry.Operation{
		{Pattern: "GET /admin/upstreams", Handler: a.getUpstreams},
		{Pattern: "POST /admin/upstreams", Handler: a.postUpstreams},
		{Pattern: "POST /admin/explain", Handler: a.postExplain},
		{Pattern: "POST /admin/keys/revoke", Handler: a.postRevoke},
		a.money.recounter().operation(),
	}, slices.Concat(admin.Operations(a.people.control), admin.Settings(a.people.control), admin.Ledger(a.money.db.Ledger(), nil))...)
}

// Upstreams is what GET /admin/upstreams answers.
type Upstreams struct {
	Replicas    int             `json:"replicas"` // that share the deployments, this one included
	Shared      string          `json:"shared"`   // none, ok, or lost: whether the other replicas can be reached
	Redis       *redis.State    `json:"redis,omitempty"`
	Deployments []upstream.View `json:"deployments"`
}

func (a *App) getUpstreams(w http.ResponseWriter, _ *http.Request) error {
	u := Upstreams{Replicas: a.fleet.Replicas(), Shared: "none", Deployments: a.fleet.Views()}
	if a.shared != nil {
		u.Shared = "ok"
		if !a.fleet.Linked() {
			u.Shared = "lost"
		}
		state := a.shared.State()
		u.Redis = &state
	}
	return writeJSON(w, u)
}

// An Operation is what POST /admin/upstreams takes.
type Operation struct {
	Deployment string `json:"deployment"` // as GET names it
	Action     string `json:"action"`     // drain, disable, enable or reset
}

// Actions are what may be done with a deployment.
var Actions = []string{"drain", "disable", "enable", "reset"}

func (a *App) postUpstreams(w http.ResponseWriter, r *http.Request) error {
	var op Operation
	if err := readJSON(r, maxOperation, &op); err != nil {
		return err
	}
	var err error
	switch op.Action {
	case "drain":
		err = a.fleet.SetMode(op.Deployment, upstream.Draining)
	case "disable":
		err = a.fleet.SetMode(op.Deployment, upstream.Disabled)
	case "enable":
		err = a.fleet.SetMode(op.Deployment, upstream.Active)
	case "reset":
		err = a.fleet.Reset(op.Deployment)
	default:
		return llm.Errorf(llm.KindInvalid, "action: must be one of %v", Actions)
	}
	if errors.Is(err, upstream.ErrNoDeployment) {
		return llm.Errorf(llm.KindNotFound, "deployment: there is no %q; GET /admin/upstreams names those there are", op.Deployment)
	}
	if err != nil {
		return err
	}
	a.log.Info("upstream changed by an operator", "event", "operation", "deployment", op.Deployment, "action", op.Action)
	for _, v := range a.fleet.Views() {
		if v.Deployment == op.Deployment {
			return writeJSON(w, v)
		}
	}
	return nil
}

// Revocation is what POST /admin/keys/revoke takes.
type Revocation struct {
	Key string `json:"key"` // its public part, as logs have it, or its name
}

// postRevoke refuses a key on every replica from now on, whatever the configuration says. A stored one is disabled.
func (a *App) postRevoke(w http.ResponseWriter, r *http.Request) error {
	var rev Revocation
	if err := readJSON(r, maxOperation, &rev); err != nil {
		return err
	}
	who := a.who(rev.Key)
	if who == nil {
		k, err := a.people.control.Keys().SetDisabled(r.Context(), control.Owner("operator"), rev.Key, true)
		if err != nil {
			return err
		}
		return writeJSON(w, Revocation{Key: k.ID})
	}
	rev.Key = who.Public() // what a key that has a public part is refused by
	err := a.revoked.Add(rev.Key)
	a.fleet.Revoke(rev.Key) // even if this replica will have forgotten it after a restart
	if err != nil {
		return err
	}
	a.log.Warn("key revoked", "event", "key_revoked", "key", rev.Key)
	return writeJSON(w, rev)
}

// Question is what POST /admin/explain takes: a call, and who would make it.
type Question struct {
	Key     string            `json:"key"`               // the key's name or public part
	Path    string            `json:"path,omitempty"`    // where the call would go; /v1/chat/completions
	Headers map[string]string `json:"headers,omitempty"` //
	Body    json.RawMessage   `json:"body"`              // the request as it would be sent
}

func (a *App) postExplain(w http.ResponseWriter, r *http.Request) error {
	a.mu.Lock()
	b, limit := a.current, int64(a.cfg.Limits.Body)
	a.mu.Unlock()
	var q Question
	if err := readJSON(r, limit+maxOperation, &q); err != nil {
		return err
	}
	if b.who(q.Key) == nil { // a stored one, then
		switch who, err := a.people.who(r.Context(), q.Key); {
		case err == nil:
			b = &built{state: b.state, callers: []*auth.Who{who}}
			q.Key = who.ID
		case llm.AsError(err).Kind != llm.KindNotFound:
			return err
		}
	}
	e, err := b.explain(&q)
	if err != nil {
		return err
	}
	return writeJSON(w, e)
}

// explain plans a call without making it.
func (b *built) explain(q *Question) (*route.Explanation, error) {
	who := b.who(q.Key)
	if who == nil {
		return nil, llm.Errorf(llm.KindNotFound, "key: there is no key %q; give its name or its public part", q.Key)
	}
	call, err := readQuestion(q)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	for name, v := range q.Headers {
		h.Set(name, v)
	}
	if err := who.Permits(call.Op); err != nil {
		return nil, err
	}
	ask, err := route.ReadAsk(h, who)
	if err != nil {
		return nil, err
	}
	return b.state.Router.Explain(who, call, ask)
}

// who finds a key by its public part or its name.
func (b *built) who(name string) *auth.Who {
	i := slices.IndexFunc(b.callers, func(w *auth.Who) bool { return name != "" && (w.ID == name || w.Name == name) })
	if i < 0 {
		return nil
	}
	return b.callers[i]
}

func (a *App) who(name string) *auth.Who {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current.who(name)
}

// Explain plans a call by a configuration alone: nothing is known of its deployments, and nobody is called.
// Where the configuration names no key, the call is the first key's.
func Explain(cfg *config.Config, q *Question) (*route.Explanation, error) {
	providers := withMocks(cfg, "")
	prices, err := newPricing(cfg, providers)
	if err != nil {
		return nil, err
	}
	places := newPlaces(cfg, providers)
	b := &built{state: &gateway.State{Router: route.New(route.Options{Catalog: places.catalog(prices)})}}
	for i := range cfg.Keys {
		b.callers = append(b.callers, caller(&cfg.Keys[i]))
	}
	if len(b.callers) == 0 {
		b.callers = []*auth.Who{{Name: "first", Models: []string{"*"}}}
		q.Key = "first"
	}
	return b.explain(q)
}

// readQuestion reads the call in question as the gateway would read it.
func readQuestion(q *Question) (call *llm.Call, err error) {
	path := cmp.Or(q.Path, "/v1/chat/completions")
	r, err := http.NewRequest(http.MethodPost, path, http.NoBody) //nolint:noctx // it is never sent
	if err != nil || r.URL.Host != "" {
		return nil, llm.Errorf(llm.KindInvalid, "path: must be one that takes calls, such as /v1/chat/completions")
	}
	err = llm.Errorf(llm.KindInvalid, "path: %s takes no calls; docs/api.md lists those that do", path)
	mux := http.NewServeMux()
	for _, e := range endpoints {
		mux.HandleFunc(e.Path, func(_ http.ResponseWriter, r *http.Request) {
			if f, ok := e.Format(r); ok {
				call, err = wire.ReadCall(f, r, q.Body, "explain")
			}
		})
	}
	mux.ServeHTTP(nowhere{}, r)
	return call, err
}

// nowhere takes what a mux answers to a path that it does not know.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

func readJSON(r *http.Request, most int64, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, most))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &llm.Error{Kind: llm.KindInvalid, Msg: "the body is not the JSON object that this path takes (docs/routing.md)", Err: err}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}
