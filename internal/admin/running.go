package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/audit"
	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/rules"
	"sluice/internal/upstream"
)

// A Gateway is the one that runs in this process.
type Gateway interface {
	Upstreams() *Upstreams
	// Operate does an action of Actions with a deployment. upstream.ErrNoDeployment where there is none of the name.
	Operate(deployment, action string) error
	// Explain plans a call of a key, by its id or name. stored tells that it is a key of the store, which the actor may see.
	Explain(ctx context.Context, q *Question, stored bool) (*route.Explanation, error)
	// Configured finds a key of the configuration by its public part or its name.
	Configured(key string) (public string, ok bool)
	// Revoke refuses a key of the configuration, by its public part, on every replica from now on.
	Revoke(public string) error
	// Standing is how the limits and budgets stand that hold for a key, a team, a user or an organisation, by its id, or with a
	// project for that project of the organisation.
	Standing(ctx context.Context, kind directory.Kind, id, project string) (*quota.Standing, error)
	// Prices are what each deployment costs now.
	Prices() *Prices
	// Cache is what the cache of answers has seen.
	Cache() *Cache
	// Purge forgets kept answers on all replicas that share them, and tells how many.
	Purge(ctx context.Context, s *Selection) (int, error)
	// Owner tells whose a key of the configuration is, and its public part.
	Owner(key string) (org, public string, ok bool)
	// MaxBody is the largest request that the gateway takes, in bytes.
	MaxBody() int64
}

// Upstreams is what GET /admin/upstreams answers.
type Upstreams struct {
	Replicas    int             `json:"replicas"` // that share the deployments, this one included
	Shared      string          `json:"shared"`   // none, ok, or lost: whether the other replicas can be reached
	Redis       *Redis          `json:"redis,omitempty"`
	Deployments []upstream.View `json:"deployments"`
}

// Redis is how the connection to Redis stands.
type Redis struct {
	Kind    string    `json:"kind"`            // single, sentinel or cluster
	Up      bool      `json:"up"`              // the last call succeeded
	Since   time.Time `json:"since"`           // that it is so
	Error   string    `json:"error,omitempty"` // of the last call that failed, if it is not up
	Failed  int64     `json:"failed"`          // calls tried in vain
	Skipped int64     `json:"skipped"`         // calls not tried, because those before had failed
	Listens int       `json:"listens"`         // subscriptions that stand
}

// Prices is what GET /admin/prices answers.
type Prices struct {
	At   time.Time `json:"at"` // for calls that begin then: prices have days, and hours
	Data []Price   `json:"data"`
}

// A Price is what a deployment of a model costs. Amounts are decimal dollars: rates for a million tokens, fees for a call of a tool
// that runs at the vendor.
type Price struct {
	Model      string            `json:"model"` // as clients call it
	Deployment string            `json:"deployment"`
	Provider   string            `json:"provider"`
	Upstream   string            `json:"upstream_model"`
	From       string            `json:"from"` // own (it stands beside the deployment, or in model_prices), table (of prices), guess (prices.unknown), or none
	Rates      map[string]string `json:"rates,omitzero"`
	Above      []PriceAbove      `json:"above,omitzero"`
	Service    map[string]int64  `json:"service_percent,omitzero"`
	Fees       map[string]string `json:"fees,omitzero"`
	Source     string            `json:"source,omitzero"`  // where the price was seen
	Checked    string            `json:"checked,omitzero"` // when it was
	Version    string            `json:"version,omitzero"` // as rows of the ledger name it
}

// PriceAbove is what all tokens of a call cost when the model reads more than so many.
type PriceAbove struct {
	Over  int64             `json:"over"`
	Rates map[string]string `json:"rates"`
}

// An Operation is what POST /admin/upstreams takes.
type Operation struct {
	Deployment string `json:"deployment"` // as GET names it
	Action     string `json:"action"`     // drain, disable, enable or reset
}

// Actions are what may be done with a deployment.
var Actions = []string{"drain", "disable", "enable", "reset"}

// Revocation is what POST /admin/keys/revoke takes and answers.
type Revocation struct {
	Key string `json:"key"` // its public part, as logs have it, or its name
}

// Question is what POST /admin/explain takes: a call, and who would make it.
type Question struct {
	Key     string            `json:"key"`              // the key's name or public part
	Path    string            `json:"path,omitzero"`    // where the call would go; /v1/chat/completions
	Headers map[string]string `json:"headers,omitzero"` //
	Body    jsontext.Value    `json:"body"`             // the request as it would be sent
}

// running are the routes of what runs, rather than of what is stored.
func (h *Handler) running() []Route {
	get := func(path string, act control.Act, summary string, out any, serve func(*request) (any, error)) Route {
		return Route{Method: http.MethodGet, Path: path, Act: act, Summary: summary, Out: out, Status: http.StatusOK, Running: true, serve: serve}
	}
	post := func(path string, act control.Act, summary string, in, out any, serve func(*request) (any, error)) Route {
		return Route{Method: http.MethodPost, Path: path, Act: act, Summary: summary, In: in, Out: out, Status: http.StatusOK, Running: true, serve: serve}
	}
	recompute := post("/admin/ledger/recompute", "ledger.recompute", "Hold sums and the counters of budgets against the rows of the ledger, and with fix make them right.", Recount{}, Recounted{}, h.recompute)
	recompute.Running = false
	return []Route{
		get("/admin/upstreams", "upstreams.read", "Show how the deployments fare.", Upstreams{}, func(*request) (any, error) { return h.o.Gateway.Upstreams(), nil }),
		post("/admin/upstreams", "upstreams.change", "Drain, disable, enable or reset a deployment, on all replicas.", Operation{}, upstream.View{}, h.operate),
		get("/admin/prices", "prices.read", "Show what each deployment of each model costs now.", Prices{}, func(*request) (any, error) { return h.o.Gateway.Prices(), nil }),
		post("/admin/explain", "explain", "Plan a call without making it.", Question{}, route.Explanation{}, h.explain),
		post("/admin/keys/revoke", "keys.disable", "Refuse a key of the configuration on all replicas, whatever it says; a stored one is disabled.", Revocation{}, Revocation{}, h.revoke),
		recompute,
	}
}

func (h *Handler) operate(q *request) (any, error) {
	var op Operation
	if err := q.read(&op); err != nil {
		return nil, err
	}
	if !isAction(op.Action) {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the body cannot be taken", Problems: []llm.Problem{{At: "/action", Msg: "must be drain, disable, enable or reset"}}}
	}
	object := audit.Object{Kind: "deployment", ID: op.Deployment, Name: op.Deployment}
	missing := llm.Errorf(llm.KindNotFound, "deployment: there is no %q; GET /admin/upstreams names those there are", clip(op.Deployment))
	before := h.deployment(op.Deployment)
	err := h.effect(q, object, jsontext.Value(`{"action":"`+op.Action+`"}`), func() error {
		if before == nil {
			return missing
		}
		return nil
	}, func() error {
		err := h.o.Gateway.Operate(op.Deployment, op.Action)
		if errors.Is(err, upstream.ErrNoDeployment) {
			return missing
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	h.o.Log.Info("upstream changed by an operator", "event", "operation", "actor", q.actor.Name, "deployment", op.Deployment, "action", op.Action)
	return some(h.deployment(op.Deployment), nil)
}

func isAction(s string) bool {
	for _, a := range Actions {
		if a == s {
			return true
		}
	}
	return false
}

func (h *Handler) deployment(name string) *upstream.View {
	list := h.o.Gateway.Upstreams().Deployments
	for i := range list {
		if list[i].Deployment == name {
			return &list[i]
		}
	}
	return nil
}

// effect does an act whose effect no transaction holds. It is recorded first, so that nothing happens unrecorded; that it failed
// after all is recorded, too.
func (h *Handler) effect(q *request, object audit.Object, after jsontext.Value, check, do func() error) error {
	err := h.o.Control.Perform(q.Context(), q.actor, q.route.Act, func(_ context.Context, e *audit.Event) error {
		e.Object, e.After = object, after
		return check()
	})
	if err != nil {
		return err
	}
	if failed := do(); failed != nil {
		return cmpErr(h.o.Control.Perform(q.Context(), q.actor, q.route.Act, func(_ context.Context, e *audit.Event) error {
			e.Object = object
			return failed
		}), failed)
	}
	return nil
}

// maxAround bounds what a question has around the call in question.
const maxAround = 64 << 10

func (h *Handler) explain(q *request) (any, error) {
	text, err := q.body(h.o.Gateway.MaxBody() + maxAround)
	if err != nil {
		return nil, err
	}
	var in Question
	if err := rules.Decode(text, &in); err != nil {
		return nil, err
	}
	stored := false
	if _, configured := h.o.Gateway.Configured(in.Key); !configured {
		k, err := h.o.Control.Keys().Show(q.Context(), q.actor, in.Key)
		if err != nil {
			return nil, err
		}
		in.Key, stored = k.ID, true
	}
	return some(h.o.Gateway.Explain(q.Context(), &in, stored))
}

// revoke refuses a key. Keys of the configuration belong to the whole gateway.
func (h *Handler) revoke(q *request) (any, error) {
	var in Revocation
	if err := q.read(&in); err != nil {
		return nil, err
	}
	public, configured := h.o.Gateway.Configured(in.Key)
	if !configured || q.actor.Kind != "" {
		k, err := h.o.Control.Keys().SetDisabled(q.Context(), q.actor, in.Key, true)
		if err != nil {
			return nil, err
		}
		return &Revocation{k.ID}, nil
	}
	object := audit.Object{Kind: "key", ID: public, Name: in.Key}
	err := h.effect(q, object, jsontext.Value(`{"revoked":true}`), func() error { return nil }, func() error { return h.o.Gateway.Revoke(public) })
	if err != nil {
		return nil, err
	}
	h.o.Log.Warn("key revoked", "event", "key_revoked", "actor", q.actor.Name, "key", public)
	return &Revocation{public}, nil
}

// standing serves how the limits and budgets of an object stand that show finds, as the actor may see it.
func standing[V object](h *Handler, kind directory.Kind, summary string, show func(context.Context, control.Actor, string) (*V, error)) Route {
	return Route{
		Method: http.MethodGet, Path: "/admin/" + string(kind) + "s/{ref}/budgets", Act: control.Act(kind + "s.read"), Summary: summary,
		Out: quota.Standing{}, Status: http.StatusOK, Running: true, serve: func(q *request) (any, error) {
			v, err := show(q.Context(), q.actor, q.ref())
			if err != nil {
				return nil, err
			}
			project := q.PathValue("project")
			if project != "" && !control.IsProject(project) {
				return nil, llm.Errorf(llm.KindNotFound, "project: there can be none of the name %q", clip(project))
			}
			id, _ := (*v).Tag()
			return some(h.o.Gateway.Standing(q.Context(), kind, id, project))
		},
	}
}

// projectStanding is that of a project, which is no object: a name that keys have. Whoever sees the organisation sees it.
func projectStanding(h *Handler) Route {
	r := standing(h, directory.KindOrganisation, "Show the limits that hold for a project of an organisation, and what is spent, held and left of the budgets.", h.o.Control.Organisations().Show)
	r.Path = "/admin/organisations/{ref}/projects/{project}/budgets"
	return r
}

func (h *Handler) recompute(q *request) (any, error) {
	var in Recount
	if err := q.read(&in); err != nil {
		return nil, err
	}
	var out *Recounted
	after := jsontext.Value(`{"fix":false}`)
	if in.Fix {
		after = jsontext.Value(`{"fix":true}`)
	}
	err := h.effect(q, audit.Object{Kind: "ledger"}, after, func() error { return nil }, func() (err error) {
		out, err = h.o.Recount(q.Context(), in.Fix)
		return err
	})
	return some(out, err)
}

// clip cuts a text of somebody's for a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}
