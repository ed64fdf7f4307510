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

// whose gives the account whose sessions are meant, "" for the actor's own, with them, and the act that ending them is.
func (s Sessions) whose(ctx context.Context, a Actor, ref string) (*account.Account, []account.Session, Act, error) {
	const act Act = "sessions.end"
	if ref = cmp.Or(ref, a.Account); ref == "" {
		return nil, nil, act, llm.Errorf(llm.KindInvalid, "whoever runs the gateway has no sessions: name an account")
	}
	if !isText(ref) {
		return nil, nil, act, noAccount(ref)
	}
	v, list, err := s.c.o.Accounts.SessionsOf(ctx, ref, account.NormalEmail(ref))
	if err = a.seen(v, err, ref); err != nil {
		return nil, nil, act, err
	}
	if a.own(v.ID) {
		return v, list, "sessions.end_own", nil
	}
	return v, list, act, nil
}

// List gives those of an account, by its id or e-mail address; "": the actor's own, which everybody may see.
func (s Sessions) List(ctx context.Context, a Actor, ref string) (*Page[SessionView], error) {
	_, list, act, err := s.whose(ctx, a, ref)
	if act != "sessions.end_own" {
		if denied := a.May("sessions.read"); denied != nil {
			return nil, denied
		}
	}
	return paged(func(n *account.Session) *SessionView { return viewSession(n, a.Session) })(list, "", err)
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
func (s Sessions) end(ctx context.Context, a Actor, ref, id string, do func(context.Context, *account.Account, []account.Session) error) error {
	_, _, act, _ := s.whose(ctx, a, ref) // once more below, in the transaction
	return s.c.Perform(ctx, a, act, func(ctx context.Context, e *audit.Event) error {
		e.Object = audit.Object{Kind: "session", ID: clip(id)}
		v, list, again, err := s.whose(ctx, a, ref)
		if err != nil {
			return err
		}
		e.Org, e.Object.Name = v.Realm.Org, v.Name
		if again != "sessions.end_own" {
			if err := a.above(v.Role); err != nil {
				return err
			}
		}
		return s.fault(do(ctx, v, list))
	})
}

// End ends one session of an account; everybody may end their own (account "").
func (s Sessions) End(ctx context.Context, a Actor, ref, id string) (*SessionView, error) {
	var out *SessionView
	err := s.end(ctx, a, ref, id, func(ctx context.Context, v *account.Account, list []account.Session) error {
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
	err = s.end(ctx, a, ref, "", func(ctx context.Context, v *account.Account, _ []account.Session) (err error) {
		but := ""
		if a.own(v.ID) {
			but = a.Session
		}
		ended, err = s.c.o.Accounts.EndSessions(ctx, v.ID, but)
		return err
	})
	return ended, err
}
