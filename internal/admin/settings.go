package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/llm"
)

// settings are the acts on objects of the configuration that are kept in the store, and on their document as a whole.
func (h *Handler) settings() []Route {
	s := h.o.Control.Settings()
	all := []Route{
		{Method: http.MethodGet, Path: "/admin/config", Act: "config.read", Summary: "Show the configuration that holds, with *** for secrets.", Out: control.ConfigView{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			return some(s.Status(q.Context(), q.actor))
		}},
		{Method: http.MethodGet, Path: "/admin/config/history", Act: "config.read", Summary: "List the revisions of the settings, the newest first.", Query: page, Out: control.Page[control.RevisionView]{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			p := params{values: q.URL.Query()}
			after, limit := p.text("after"), p.number("limit", 0, mostListed)
			if p.err != nil {
				return nil, p.err
			}
			return some(s.History(q.Context(), q.actor, after, limit))
		}},
		show("/admin/config/revisions/{ref}", "config.read", "Show a revision of the settings, by its number or as newest.", func(ctx context.Context, a control.Actor, ref string) (*control.RevisionDetails, error) {
			n, err := strconv.ParseInt(ref, 10, 64)
			if ref != "newest" && (err != nil || n < 1) {
				return nil, llm.Errorf(llm.KindNotFound, "a revision is a number from 1, or newest")
			}
			return s.Revision(ctx, a, n)
		}),
		whole("/admin/config/plan", "config.plan", "Tell what a new document of settings would change. Nothing is changed.", s.Plan),
		whole("/admin/config/apply", "config.apply", "Make a document the settings from now on, on all replicas.", s.Apply),
		whole("/admin/config/rollback", "config.rollback", "Make the content of an earlier revision the settings again.", s.Rollback),
		whole("/admin/secrets/rotate", "secrets.rotate", "Seal all secrets under a new key, while the gateway goes on.", func(ctx context.Context, a control.Actor, _ Nothing) (*control.Rotated, error) {
			return s.RotateSecrets(ctx, a)
		}),
	}
	for _, k := range []struct{ kind, path string }{
		{config.KindProvider, "/admin/providers"},
		{config.KindCredential, "/admin/providers/{of}/credentials"},
		{config.KindModel, "/admin/models"},
		{config.KindDeployment, "/admin/models/{of}/deployments"},
		{config.KindRule, "/admin/rules"},
		{config.KindPrice, "/admin/model_prices"},
		{config.KindGuard, "/admin/guards"},
	} {
		all = append(all, objects(s, k.kind, k.path)...)
	}
	return all
}

// whole serves an act on the settings as a whole.
func whole[In, Out any](path string, name control.Act, summary string, do func(context.Context, control.Actor, In) (*Out, error)) Route {
	return Route{Method: http.MethodPost, Path: path, Act: name, Summary: summary, In: *new(In), Out: *new(Out), Status: http.StatusOK, serve: func(q *request) (any, error) {
		var in In
		if err := q.read(&in); err != nil {
			return nil, err
		}
		return some(do(q.Context(), q.actor, in))
	}}
}

// objects are the acts on objects of one kind. An object's name is its id.
func objects(s control.Settings, kind, path string) []Route {
	at := func(q *request) config.Place {
		return config.Place{Kind: kind, Of: q.PathValue("of"), Name: q.ref()}
	}
	noun := strings.ReplaceAll(kind, "_", " ")
	name := func(verb string) control.Act { return control.Act(kind + "s." + verb) }
	route := func(method, path string, act control.Act, summary string, in any, status int, serve func(*request) (any, error)) Route {
		return Route{Method: method, Path: path, Act: act, Summary: summary, In: in, Out: control.Object{}, Status: status, Tagged: true, serve: serve}
	}
	list := route(http.MethodGet, path, "config.read", "List "+noun+"s, of the file and of the store.", nil, http.StatusOK, func(q *request) (any, error) {
		return some(s.List(q.Context(), q.actor, kind, q.PathValue("of")))
	})
	list.Out, list.Tagged = control.Page[control.Object]{}, false
	create := route(http.MethodPost, path, name("create"), "Make a "+noun+", as the configuration file would have it.", control.NewObject{}, http.StatusCreated, func(q *request) (any, error) {
		var in control.NewObject
		if err := q.read(&in); err != nil {
			return nil, err
		}
		return some(s.Create(q.Context(), q.actor, kind, q.PathValue("of"), in))
	})
	create.Tagged = false
	return []Route{
		list, create,
		route(http.MethodGet, path+"/{ref}", "config.read", "Show a "+noun+".", nil, http.StatusOK, func(q *request) (any, error) {
			return some(s.Show(q.Context(), q.actor, at(q)))
		}),
		route(http.MethodPatch, path+"/{ref}", name("update"), "Change a "+noun+" of the store. What is left out stays; null takes it away.", control.ObjectUpdate{}, http.StatusOK, func(q *request) (any, error) {
			var in control.ObjectUpdate
			if err := q.read(&in); err != nil {
				return nil, err
			}
			if q.tag != "" {
				in.ETag = q.tag
			}
			return some(s.Update(q.Context(), q.actor, at(q), in))
		}),
		route(http.MethodDelete, path+"/{ref}", name("delete"), "Remove a "+noun+" of the store that nothing names.", nil, http.StatusOK, func(q *request) (any, error) {
			return some(s.Delete(q.Context(), q.actor, at(q), control.ObjectRemoval{ETag: q.tag}))
		}),
	}
}
