package control

import (
	"context"
	"errors"
	"fmt"

	"sluice/internal/audit"
	"sluice/internal/directory"
	"sluice/internal/llm"
)

// An Actor is who acts. Its realm bounds what it can see and change: what belongs to one subject, and never that
// subject itself, so that nobody widens their own limits.
type Actor struct {
	ID     string // of the account or token; "": whoever runs the gateway
	Name   string // for the records
	Role   Role
	Scopes []string // globs of acts, of a token that may do less than its role; nil: all of them
	Fresh  bool     // they have shown within minutes that it is them

	Account string // the account that acts, or that made the token; "": whoever runs the gateway
	Session string // the id of the session; "": it is none

	Kind  directory.Kind // of the subject that is its realm; "": everything there is
	Realm string         // the subject's id
	Org   string         // the organisation that the realm is in, or is

	Audit audit.Actor // who it is for the audit log
	Why   string      // what they said about this act

	// Within runs the act, in its transaction, between what must hold before and after it; nil: nothing must. Its error ends the
	// act; one that is ErrDone says that nothing was tried.
	Within func(ctx context.Context, e *audit.Event, act func() error) error
}

// ErrDone tells that an act was not tried, as it was done before.
var ErrDone = errors.New("it was done before")

// Owner is the actor that may do everything: whoever runs the gateway.
func Owner(name string) Actor {
	return Actor{Name: name, Role: RoleOwner, Fresh: true, Audit: audit.Actor{Name: name, Kind: "operator"}}
}

// Perform does one act that changes something: whether the actor may, the act itself and its record in the audit log. All of it
// happens, or nothing. do says in the event what it changed, and may run again with another. What is refused or fails is recorded,
// too.
func (c *Control) Perform(ctx context.Context, a Actor, act Act, do func(context.Context, *audit.Event) error) error {
	e := new(audit.Event)
	begin := func() { *e = audit.Event{Org: a.Org, Actor: a.Audit, Act: string(act), Why: a.Why} }
	begin()
	err := a.May(act)
	if err == nil {
		err = c.o.Together(ctx, func(ctx context.Context) error {
			begin()
			if err := a.within(context.WithValue(ctx, seen{}, map[string]any{}), e, do); err != nil {
				return err
			}
			e.Result = audit.Done
			return c.record(ctx, e)
		})
	}
	if err == nil || errors.Is(err, audit.ErrUnwritten) || errors.Is(err, directory.ErrVersion) || errors.Is(err, ErrDone) {
		return err
	}
	e.Result, e.After, e.Detail = audit.Refused, nil, llm.AsError(err).Msg
	if k := llm.AsError(err).Kind; k == llm.KindInternal || k == llm.KindOverloaded {
		e.Result = audit.Failed
	}
	if unrecorded := c.record(context.WithoutCancel(ctx), e); unrecorded != nil { // it changed nothing, and says so
		c.o.Log.Error("a refused act is not in the audit log", "event", "audit_lost", "act", e.Act, "actor", e.Actor.Name, "error", unrecorded.Error())
	}
	return err
}

func (a Actor) within(ctx context.Context, e *audit.Event, do func(context.Context, *audit.Event) error) error {
	if a.Within == nil {
		return do(ctx, e)
	}
	return a.Within(ctx, e, func() error { return do(ctx, e) })
}

func (c *Control) record(ctx context.Context, e *audit.Event) error {
	if c.o.Audit == nil {
		return nil
	}
	if err := c.o.Audit.Record(ctx, e); err != nil {
		return &llm.Error{Kind: llm.KindOverloaded, Msg: "the audit log cannot be written, so nothing was changed", Err: fmt.Errorf("%w: %w", audit.ErrUnwritten, err)}
	}
	return nil
}
