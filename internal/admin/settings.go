package admin

import (
	"context"
	"net/http"
	"strconv"

	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/llm"
	"sluice/internal/telemetry"
)

// Settings are the acts on objects of the configuration that are kept in the store, and on their document as a whole.
func Settings(c *control.Control) []telemetry.Operation {
	s := c.Settings()
	all := []telemetry.Operation{
		{Pattern: "GET /admin/config", Handler: get(s.Status)},
		{Pattern: "GET /admin/config/history", Handler: history(s)},
		{Pattern: "GET /admin/config/revisions/{ref}", Handler: show(numbered(s.Revision))},
		{Pattern: "POST /admin/config/plan", Handler: create(s.Plan)},
		{Pattern: "POST /admin/config/apply", Handler: create(s.Apply)},
		{Pattern: "POST /admin/config/rollback", Handler: create(s.Rollback)},
		{Pattern: "POST /admin/secrets/rotate", Handler: create(func(ctx context.Context, a control.Actor, _ Nothing) (*control.Rotated, error) {
			return s.RotateSecrets(ctx, a)
		})},
	}
	for _, k := range []struct{ kind, path string }{
		{config.KindProvider, "/admin/providers"},
		{config.KindCredential, "/admin/providers/{of}/credentials"},
		{config.KindModel, "/admin/models"},
		{config.KindDeployment, "/admin/models/{of}/deployments"},
		{config.KindRule, "/admin/rules"},
	} {
		all = append(all, objects(s, k.kind, k.path)...)
	}
	return all
}

// objects are the acts on objects of one kind.
func objects(s control.Settings, kind, path string) []telemetry.Operation {
	at := func(r *http.Request) config.Place {
		return config.Place{Kind: kind, Of: r.PathValue("of"), Name: r.PathValue("ref")}
	}
	return []telemetry.Operation{
		{Pattern: "GET " + path, Handler: func(w http.ResponseWriter, r *http.Request) error {
			out, err := s.List(r.Context(), actor(r), kind, r.PathValue("of"))
			return answer(w, out, err)
		}},
		{Pattern: "POST " + path, Handler: func(w http.ResponseWriter, r *http.Request) error {
			return create(func(ctx context.Context, a control.Actor, in control.NewObject) (*control.Object, error) {
				return s.Create(ctx, a, kind, r.PathValue("of"), in)
			})(w, r)
		}},
		{Pattern: "GET " + path + "/{ref}", Handler: func(w http.ResponseWriter, r *http.Request) error {
			out, err := s.Show(r.Context(), actor(r), at(r))
			return answer(w, out, err)
		}},
		{Pattern: "POST " + path + "/{ref}/update", Handler: func(w http.ResponseWriter, r *http.Request) error {
			return create(func(ctx context.Context, a control.Actor, in control.ObjectUpdate) (*control.Object, error) {
				return s.Update(ctx, a, at(r), in)
			})(w, r)
		}},
		{Pattern: "POST " + path + "/{ref}/delete", Handler: func(w http.ResponseWriter, r *http.Request) error {
			return create(func(ctx context.Context, a control.Actor, in control.ObjectRemoval) (*control.Object, error) {
				return s.Delete(ctx, a, at(r), in)
			})(w, r)
		}},
	}
}

func get[Out any](do func(context.Context, control.Actor) (*Out, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		out, err := do(r.Context(), actor(r))
		return answer(w, out, err)
	}
}

// numbered reads the number of a revision; newest is the newest.
func numbered[Out any](do func(context.Context, control.Actor, int64) (*Out, error)) func(context.Context, control.Actor, string) (*Out, error) {
	return func(ctx context.Context, a control.Actor, ref string) (*Out, error) {
		n, err := strconv.ParseInt(ref, 10, 64)
		if ref != "newest" && (err != nil || n < 1) {
			return nil, llm.Errorf(llm.KindNotFound, "a revision is a number from 1, or newest")
		}
		return do(ctx, a, n)
	}
}

func history(s control.Settings) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		l, err := readList(r)
		if err != nil {
			return err
		}
		out, err := s.History(r.Context(), actor(r), l.After, l.Limit)
		return answer(w, out, err)
	}
}
