package admin

import (
	"context"
	"net/http"
	"slices"

	"sluice/internal/control"
)

// ended is how many sessions an act ended.
type ended struct {
	Ended int64 `json:"ended"`
}

// people are the routes of accounts, their sessions, and tokens.
func (h *Handler) people() []Route {
	a, t, s := h.o.Control.Accounts(), h.o.Control.Tokens(), h.o.Control.Sessions()
	again := func(ctx context.Context, who control.Actor, id string) (*control.Invited, error) {
		v, err := a.Show(ctx, who, id)
		if err != nil {
			return nil, err
		}
		return &control.Invited{Account: *v}, nil
	}
	madeAgain := func(ctx context.Context, who control.Actor, id string) (*control.MadeToken, error) {
		v, err := t.Show(ctx, who, id)
		if err != nil {
			return nil, err
		}
		return &control.MadeToken{TokenView: *v}, nil
	}
	return []Route{
		list("/admin/accounts", "accounts.read", "List accounts.", slices.Concat(byOrg, page), a.List),
		create(h, "/admin/accounts", "accounts.create", "Make an account. The answer has the token of the one-time link by which its owner sets a password, once.", a.Create, again),
		show("/admin/accounts/{ref}", "accounts.read", "Show an account, by its id or e-mail address.", a.Show),
		update("/admin/accounts/{ref}", "accounts.update", "Change an account. Another role or realm ends its sessions.", a.Update),
		remove("/admin/accounts/{ref}", "accounts.delete", "Remove an account, with its sessions and the tokens it made.", a.Delete),
		set("/admin/accounts/{ref}/disable", "accounts.disable", "Let nobody sign in to an account any more, and end its sessions.", a.SetDisabled),
		set("/admin/accounts/{ref}/enable", "accounts.enable", "Let its owner sign in to an account again.", a.SetDisabled),
		act("/admin/accounts/{ref}/reset", "accounts.reset", "Give the token of a one-time link by which an account's owner sets another password, once.", func(ctx context.Context, who control.Actor, ref string, _ Nothing) (*control.Invited, error) {
			return a.Reset(ctx, who, ref)
		}),

		{Method: http.MethodGet, Path: "/admin/accounts/{ref}/sessions", Act: "sessions.read", Summary: "List an account's sessions.", Out: control.Page[control.SessionView]{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			return some(s.List(q.Context(), q.actor, q.ref()))
		}},
		{Method: http.MethodDelete, Path: "/admin/accounts/{ref}/sessions", Act: "sessions.end", Summary: "End all sessions of an account.", Out: ended{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			n, err := s.EndAll(q.Context(), q.actor, q.ref())
			return some(&ended{n}, err)
		}},
		{Method: http.MethodDelete, Path: "/admin/accounts/{ref}/sessions/{id}", Act: "sessions.end", Summary: "End one session of an account.", Out: control.SessionView{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			return some(s.End(q.Context(), q.actor, q.ref(), q.PathValue("id")))
		}},
		{Method: http.MethodGet, Path: "/admin/sessions", For: ForSignedIn, Summary: "List one's own sessions.", Out: control.Page[control.SessionView]{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			if err := h.ours(q); err != nil {
				return nil, err
			}
			return some(s.List(q.Context(), q.actor, ""))
		}},
		{Method: http.MethodDelete, Path: "/admin/sessions", For: ForSignedIn, Summary: "End one's own sessions, but this.", Out: ended{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			if err := h.ours(q); err != nil {
				return nil, err
			}
			n, err := s.EndAll(q.Context(), q.actor, "")
			return some(&ended{n}, err)
		}},
		{Method: http.MethodDelete, Path: "/admin/sessions/{ref}", For: ForSignedIn, Summary: "End one of one's own sessions.", Out: control.SessionView{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			if err := h.ours(q); err != nil {
				return nil, err
			}
			return some(s.End(q.Context(), q.actor, "", q.ref()))
		}},

		list("/admin/tokens", "tokens.read", "List automation tokens.", slices.Concat(byOrg, page), t.List),
		create(h, "/admin/tokens", "tokens.create", "Make a token, which may do no more than its maker. The answer has its secret, once.", t.Create, madeAgain),
		show("/admin/tokens/{ref}", "tokens.read", "Show a token, by its id.", t.Show),
		{Method: http.MethodDelete, Path: "/admin/tokens/{ref}", Act: "tokens.delete", Summary: "End a token.", Out: control.TokenView{}, Status: http.StatusOK, serve: func(q *request) (any, error) {
			return some(t.Delete(q.Context(), q.actor, q.ref()))
		}},
	}
}
