// Package audit keeps the log of what people did to the gateway: who, what, before and after, why, from where, and what came
// of it. The log can only grow, and whoever has a copy of it and the public key can tell whether anybody changed it.
package audit

import (
	"context"
	"net/netip"

	"github.com/go-json-experiment/json/jsontext"
)

// An Actor is who acted.
type Actor struct {
	ID      string // of the account or token; "" for whoever runs the gateway
	Person  string // the account that a token belongs to; "": the ID is the person's own
	Name    string
	Kind    string     // person, token, operator (who runs the gateway), or unknown (somebody who failed to sign in)
	From    netip.Addr // the client's own address; zero: the machine itself
	Request string     // the id of the request
}

// An Object is what was acted on.
type Object struct {
	Kind   string // key, team, account, provider, ...
	ID     string
	Name   string
	Person string // the id of the person that it is or belongs to; "": nobody's
}

// A Result is what came of an act.
type Result string

// Results.
const (
	Done    Result = "done"
	Refused Result = "refused" // the actor may not, or it made no sense
	Failed  Result = "failed"  // the gateway could not
)

// An Event is one act, as it is told to the log.
type Event struct {
	Org           string // the organisation whose chain it is in; "": the gateway's own
	Actor         Actor
	Act           string // as control names it: keys.create
	Object        Object
	Before, After jsontext.Value // the object without its secrets; nil: there was none, or it is not told
	Why           string         // what the actor said about it
	Result        Result
	Detail        string // why it was refused or failed
}

// A Recorder writes events. Where the context is that of a store's transaction, an event is written if and only if the rest of the
// transaction is.
type Recorder interface {
	Record(ctx context.Context, e *Event) error
}
