package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/llm"
)

// Sessions are the acts on sessions.
type Sessions struct{ c *Control }

// Sessions gives the acts on sessions.
func (c *Control) Sessions() Sessions { return Sessions{c} }

// whose gives the account whose sessions are meant, "" for the actor's own, and the act that ending them is.
func (s Sessions) whose(ctx context.Context, a Actor, ref string) (*account.Account, Act, error) {
	if ref = cmp.Or(ref, a.Account); ref == "" {
		return nil, "sessions.end", llm.Errorf(llm.KindInvalid, "whoever runs the gateway has no sessions: name an account")
	}
	v, err := s.c.Accounts().pick(ctx, a, ref)
	if err != nil {
		return nil, "sessions.end", err
	}
	if a.own(v.ID) {
		return v, "sessions.end_own", nil
	}
	return v, "sessions.end", nil
}

// List gives those of an account, by its id or e-mail address; "": the actor's own, which everybody may see.
func (s Sessions) List(ctx context.Context, a Actor, ref string) (*Page[SessionView], error) {
	v, act, err := s.whose(ctx, a, ref)
	if act != "sessions.end_own" {
		if denied := a.May("sessions.read"); denied != nil {
			return nil, denied
		}
	}
	if err != nil {
		return nil, err
	}
	list, err := s.c.o.Accounts.SessionsOf(ctx, v.ID)
	return paged(func(n *account.Session) *SessionView { return viewSession(n, a.Session) })(list, "", s.fault(err))
}

func (s Sessions) fault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrNotFound):
		return llm.Errorf(llm.KindNotFound, "session: there is none with this id")
	}
	return fmt.Errorf("sessions: %w", err)
}

// end ends sessions of an account.
func (s Sessions) end(ctx context.Context, a Actor, ref, id string, do func(context.Context, *account.Account) error) error {
	_, act, _ := s.whose(ctx, a, ref) // once more below, in the transaction
	return s.c.Perform(ctx, a, act, func(ctx context.Context, e *audit.Event) error {
		e.Object = audit.Object{Kind: "session", ID: clip(id)}
		v, again, err := s.whose(ctx, a, ref)
		if err != nil {
			return err
		}
		e.Org, e.Object.Name = v.Realm.Org, v.Name
		if again != "sessions.end_own" {
			if err := a.above(v.Role); err != nil {
				return err
			}
		}
		return s.fault(do(ctx, v))
	})
}

// End ends one session of an account; everybody may end their own (account "").
func (s Sessions) End(ctx context.Context, a Actor, ref, id string) (*SessionView, error) {
	var out *SessionView
	err := s.end(ctx, a, ref, id, func(ctx context.Context, v *account.Account) error {
		list, err := s.c.o.Accounts.SessionsOf(ctx, v.ID)
		if err != nil {
			return err
		}
		for i := range list {
			if list[i].ID == id {
				out = viewSession(&list[i], a.Session)
				return s.c.o.Accounts.EndSession(ctx, v.ID, id)
			}
		}
		return account.ErrNotFound
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// EndAll ends all sessions of an account, of one's own ("") all but the one that asks.
func (s Sessions) EndAll(ctx context.Context, a Actor, ref string) (ended int64, err error) {
	err = s.end(ctx, a, ref, "", func(ctx context.Context, v *account.Account) (err error) {
		but := ""
		if a.own(v.ID) {
			but = a.Session
		}
		ended, err = s.c.o.Accounts.EndSessions(ctx, v.ID, but)
		return err
	})
	return ended, err
}
