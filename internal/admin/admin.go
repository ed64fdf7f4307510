// Package admin is the JSON API over package control: it reads a request, calls one act and writes what came of
// it. It decides nothing.
package admin

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"sluice/internal/control"
	"sluice/internal/llm"
	"sluice/internal/rules"
	"sluice/internal/telemetry"
)

// maxBody bounds the body of an act.
const maxBody = 1 << 20

// Operations are the acts on keys and their owners. Whoever may call operations at all is the gateway's owner.
func Operations(c *control.Control) []telemetry.Operation {
	k, t, u, o := c.Keys(), c.Teams(), c.Users(), c.Organisations()
	return []telemetry.Operation{
		{Pattern: "GET /admin/keys", Handler: list(k.List)},
		{Pattern: "POST /admin/keys", Handler: create(k.Create)},
		{Pattern: "GET /admin/keys/{ref}", Handler: show(k.Show)},
		{Pattern: "POST /admin/keys/{ref}/update", Handler: act(k.Update)},
		{Pattern: "POST /admin/keys/{ref}/rotate", Handler: act(k.Rotate)},
		{Pattern: "POST /admin/keys/{ref}/override", Handler: act(k.Override)},
		{Pattern: "POST /admin/keys/{ref}/disable", Handler: set(k.SetDisabled, true)},
		{Pattern: "POST /admin/keys/{ref}/enable", Handler: set(k.SetDisabled, false)},
		{Pattern: "POST /admin/keys/{ref}/delete", Handler: remove(k.Delete)},

		{Pattern: "GET /admin/teams", Handler: list(t.List)},
		{Pattern: "POST /admin/teams", Handler: create(t.Create)},
		{Pattern: "GET /admin/teams/{ref}", Handler: show(t.Show)},
		{Pattern: "POST /admin/teams/{ref}/update", Handler: act(t.Update)},
		{Pattern: "POST /admin/teams/{ref}/override", Handler: act(t.Override)},
		{Pattern: "POST /admin/teams/{ref}/disable", Handler: set(t.SetDisabled, true)},
		{Pattern: "POST /admin/teams/{ref}/enable", Handler: set(t.SetDisabled, false)},
		{Pattern: "POST /admin/teams/{ref}/delete", Handler: remove(t.Delete)},

		{Pattern: "GET /admin/users", Handler: list(u.List)},
		{Pattern: "POST /admin/users", Handler: create(u.Create)},
		{Pattern: "GET /admin/users/{ref}", Handler: show(u.Show)},
		{Pattern: "POST /admin/users/{ref}/update", Handler: act(u.Update)},
		{Pattern: "POST /admin/users/{ref}/override", Handler: act(u.Override)},
		{Pattern: "POST /admin/users/{ref}/disable", Handler: set(u.SetDisabled, true)},
		{Pattern: "POST /admin/users/{ref}/enable", Handler: set(u.SetDisabled, false)},
		{Pattern: "POST /admin/users/{ref}/delete", Handler: remove(u.Delete)},

		{Pattern: "GET /admin/organisations", Handler: list(o.List)},
		{Pattern: "POST /admin/organisations", Handler: create(o.Create)},
		{Pattern: "GET /admin/organisations/{ref}", Handler: show(o.Show)},
		{Pattern: "POST /admin/organisations/{ref}/update", Handler: act(o.Update)},
		{Pattern: "POST /admin/organisations/{ref}/override", Handler: act(o.Override)},
		{Pattern: "POST /admin/organisations/{ref}/disable", Handler: set(o.SetDisabled, true)},
		{Pattern: "POST /admin/organisations/{ref}/enable", Handler: set(o.SetDisabled, false)},
		{Pattern: "POST /admin/organisations/{ref}/delete", Handler: remove(o.Delete)},
	}
}

type handler = func(http.ResponseWriter, *http.Request) error

// actor is who makes a request of the operators' listener.
func actor(*http.Request) control.Actor { return control.Owner("operator") }

// act serves an act on one record.
func act[In, Out any](do func(context.Context, control.Actor, string, In) (*Out, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := read(r, &in); err != nil {
			return err
		}
		out, err := do(r.Context(), actor(r), r.PathValue("ref"), in)
		return answer(w, out, err)
	}
}

func create[In, Out any](do func(context.Context, control.Actor, In) (*Out, error)) handler {
	return act(func(ctx context.Context, a control.Actor, _ string, in In) (*Out, error) { return do(ctx, a, in) })
}

// Nothing is the body of an act that needs none. It may be left out.
type Nothing struct{}

func set[Out any](do func(context.Context, control.Actor, string, bool) (*Out, error), disabled bool) handler {
	return act(func(ctx context.Context, a control.Actor, ref string, _ Nothing) (*Out, error) {
		return do(ctx, a, ref, disabled)
	})
}

// Removal is the body of a deletion, and may be left out.
type Removal struct {
	Version int64 `json:"version,omitzero"` // that was read; 0: whatever is there
}

func remove[Out any](do func(context.Context, control.Actor, string, int64) (*Out, error)) handler {
	return act(func(ctx context.Context, a control.Actor, ref string, in Removal) (*Out, error) {
		return do(ctx, a, ref, in.Version)
	})
}

func show[Out any](do func(context.Context, control.Actor, string) (*Out, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.RawQuery != "" {
			return llm.Errorf(llm.KindInvalid, "this path takes no query")
		}
		out, err := do(r.Context(), actor(r), r.PathValue("ref"))
		return answer(w, out, err)
	}
}

func list[Out any](do func(context.Context, control.Actor, control.List) (*Out, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		l, err := readList(r)
		if err != nil {
			return err
		}
		out, err := do(r.Context(), actor(r), l)
		return answer(w, out, err)
	}
}

// readList reads a query, as strictly as a body: a filter that is mistyped must not list everything.
func readList(r *http.Request) (l control.List, err error) {
	for name, values := range r.URL.Query() {
		into := map[string]*string{"organisation": &l.Organisation, "team": &l.Team, "user": &l.User, "name": &l.Name, "after": &l.After}[name]
		switch {
		case len(values) != 1:
			return l, llm.Errorf(llm.KindInvalid, "query: %q is said %d times", name, len(values))
		case name == "limit":
			if l.Limit, err = strconv.Atoi(values[0]); err != nil || l.Limit < 1 {
				return l, llm.Errorf(llm.KindInvalid, "query: limit must be a number from 1")
			}
		case into == nil:
			return l, llm.Errorf(llm.KindInvalid, "query: there is no %.40q; there are organisation, team, user, name, after and limit", name)
		default:
			*into = values[0]
		}
	}
	return l, nil
}

func read(r *http.Request, v any) error {
	text, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return &llm.Error{Kind: llm.KindInvalid, Msg: fmt.Sprintf("the body cannot be read, or has more than %d bytes", maxBody), Err: err}
	}
	return rules.Decode([]byte(cmp.Or(string(text), "{}")), v)
}

func answer(w http.ResponseWriter, v any, err error) error {
	if err != nil {
		return err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) //nolint:gosec // JSON, and said to be
	return nil
}
