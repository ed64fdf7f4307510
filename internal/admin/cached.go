package admin

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/audit"
	"sluice/internal/control"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// Cache is what GET /admin/cache answers: what this process has seen of the cache of answers since it began, and what it holds.
type Cache struct {
	Store       string           `json:"store"`            // memory, of this process; or redis, of all replicas
	Entries     int64            `json:"entries,omitzero"` // in memory; those in Redis are not counted
	Bytes       int64            `json:"bytes,omitzero"`   // that they take
	Calls       map[string]int64 `json:"calls"`            // for which there is a cache, by what X-Sluice-Cache told
	Bypassed    map[string]int64 `json:"bypassed"`         // by X-Sluice-Cache-Reason
	Stored      int64            `json:"stored"`           // answers that were kept
	Refused     map[string]int64 `json:"refused"`          // answers that were not, by why
	Purged      int64            `json:"purged"`           // by purges that came here
	StoreErrors int64            `json:"store_errors"`     // each is a miss
	Semantic    CacheSemantic    `json:"semantic"`
}

// CacheSemantic is what was done to find answers by what their questions mean.
type CacheSemantic struct {
	Lookups         map[string]int64 `json:"lookups"` // by what became of them
	Indexed         map[string]int64 `json:"indexed"` // answers made known so, and why others were not
	Checks          map[string]int64 `json:"checks"`  // answers that were held against the model's own: equal, near, far
	EmbedderResting bool             `json:"embedder_resting"`
	IndexResting    bool             `json:"index_resting"`
}

// Purge is what POST /admin/cache/purge takes: which kept answers to forget. All that is said must match.
type Purge struct {
	Organisation string `json:"organisation,omitzero"` // by id or name
	Team         string `json:"team,omitzero"`         // the same; answers that its whole organisation shares are forgotten, too
	Key          string `json:"key,omitzero"`          // the same; answers that its team or organisation shares are forgotten, too
	Model        string `json:"model,omitzero"`        // as clients name it
	OlderThan    string `json:"older_than,omitzero"`   // a span: 10m, 1h, 2d
	All          bool   `json:"all,omitzero"`          // everything; it stands alone
}

// Purged is what was forgotten.
type Purged struct {
	Removed int `json:"removed"`
}

// A Selection is a purge whose names are found. Empty members select all.
type Selection struct {
	Organisation, Team, Key string // ids
	Model                   string
	Before                  time.Time
}

// cached are the routes of the cache of answers.
func (h *Handler) cached() []Route {
	return []Route{
		{
			Method: http.MethodGet, Path: "/admin/cache", Act: "cache.read", Summary: "Show what the cache of answers has seen and holds.", Out: Cache{}, Status: http.StatusOK, Running: true,
			serve: func(*request) (any, error) { return h.o.Gateway.Cache(), nil },
		},
		{
			Method: http.MethodPost, Path: "/admin/cache/purge", Act: "cache.purge", Summary: "Forget kept answers: of an organisation, a team, a key, a model, of an age, or all.",
			In: Purge{}, Out: Purged{}, Status: http.StatusOK, Running: true, serve: h.purge,
		},
	}
}

func (h *Handler) purge(q *request) (any, error) {
	var in Purge
	if err := q.read(&in); err != nil {
		return nil, err
	}
	bad := func(at, msg string) error {
		return &llm.Error{Kind: llm.KindInvalid, Msg: "the body cannot be taken", Problems: []llm.Problem{{At: at, Msg: msg}}}
	}
	some := in != Purge{All: in.All}
	switch {
	case in.All && some:
		return nil, bad("/all", "stands alone: leave the rest out, or this")
	case !in.All && !some:
		return nil, bad("", "say which answers to forget, or all")
	case in.Team != "" && in.Key != "":
		return nil, bad("/team", "is the key's own: leave it out")
	}
	var at Selection
	text, err := json.Marshal(&in)
	if err != nil {
		return nil, err
	}
	out := new(Purged)
	err = h.effect(q, audit.Object{Kind: "cache"}, text, func() (err error) {
		at, err = h.selection(q.Context(), q.actor, &in)
		return err
	}, func() (err error) {
		out.Removed, err = h.o.Gateway.Purge(q.Context(), &at)
		return err
	})
	if err != nil {
		return nil, err
	}
	h.o.Log.Info("answers purged", "event", "cache_purged", "actor", q.actor.Name, "removed", out.Removed)
	return out, nil
}

// selection finds what a purge names. What is not in the store is taken for what keys of the configuration say.
func (h *Handler) selection(ctx context.Context, a control.Actor, in *Purge) (s Selection, err error) {
	s.Model = in.Model
	if in.OlderThan != "" {
		d, err := rules.ParseSpan(in.OlderThan)
		if err != nil {
			return s, &llm.Error{Kind: llm.KindInvalid, Msg: "the body cannot be taken", Problems: []llm.Problem{{At: "/older_than", Msg: err.Error()}}}
		}
		s.Before = time.Now().Add(-d)
	}
	missing := func(err error) bool { return err != nil && llm.AsError(err).Kind == llm.KindNotFound }
	if in.Organisation != "" {
		o, err := h.o.Control.Organisations().Show(ctx, a, in.Organisation)
		switch {
		case err == nil:
			s.Organisation = o.ID
		case !missing(err):
			return s, err
		default:
			s.Organisation = in.Organisation
		}
	}
	switch {
	case in.Team != "":
		t, err := h.o.Control.Teams().Show(ctx, a, in.Team)
		switch {
		case err == nil && (s.Organisation == "" || s.Organisation == t.Organisation):
			s.Organisation, s.Team = t.Organisation, t.ID
		case err == nil || missing(err):
			s.Organisation, s.Team = cmp.Or(s.Organisation, "default"), in.Team
		default:
			return s, err
		}
	case in.Key != "":
		org, public, ok := h.o.Gateway.Owner(in.Key)
		if !ok {
			k, err := h.o.Control.Keys().Show(ctx, a, in.Key)
			if err != nil {
				return s, err
			}
			org, public = k.Organisation, k.ID
		}
		if s.Organisation != "" && s.Organisation != org {
			return s, llm.Errorf(llm.KindNotFound, "key: there is no %q in that organisation", clip(in.Key))
		}
		s.Organisation, s.Key = org, public
	}
	return s, nil
}
