package admin

import (
	"context"
	"net/http"
	"strings"

	"sluice/internal/control"
	"sluice/internal/llm"
)

// A Route is one line of the table: what this listener takes at a path, from whom, and what it answers. The mux, the 405s, the
// OpenAPI document and the walk test are made of it, so that nothing is served that is not in it.
type Route struct {
	Method, Path string // {ref} is an object's id or name
	Act          control.Act
	For          For // who may come, where there is no act
	Summary      string
	Query        []Param
	In           any // a value of the type that its body is; nil: it takes none
	Out          any // the same of its answer; nil: it has none
	Status       int // of an answer that went well
	Media        string
	Matches      bool // it takes If-Match, of a version
	Tagged       bool // it is about an object whose ETag is its own to make; a change takes If-Match
	Named        bool // it takes an Idempotency-Key
	Running      bool // it asks a running gateway, not only its store
	Foreign      bool // its query is another's to make

	serve func(*request) (any, error) // gives a value of Out
	write func(*request) error        // instead, for an answer that is no JSON object
}

// For is who may use a route that does no act of control's table.
type For string

// Who may come.
const (
	ForAnybody  For = "anybody"   // also somebody who has not said who they are
	ForSignedIn For = "signed in" // whoever is identified, in whatever role: it is about themselves
)

// A Param is a member of a query. Each is said once at most, and what a route does not have is refused.
type Param struct {
	Name, Doc string
	Number    bool
}

func (r *Route) pattern() string { return r.Method + " " + r.Path }

// changes tells whether the route may change something.
func (r *Route) changes() bool { return r.Method != http.MethodGet }

// A request is one that its maker may make.
type request struct {
	*http.Request
	w       http.ResponseWriter
	route   *Route
	who     identity
	actor   control.Actor
	version int64  // of If-Match; 0: whatever is there
	tag     string // the same, where the route is Tagged
	text    []byte
}

// ref is the object that the path names.
func (q *request) ref() string { return q.PathValue("ref") }

// page is what lists have in common.
var page = []Param{
	{Name: "after", Doc: "The next of the page before; left out: the first page."},
	{Name: "limit", Doc: "How many at most: 1 to 500, 100 when left out.", Number: true},
}

// show serves one object.
func show[Out any](path string, act control.Act, summary string, do func(context.Context, control.Actor, string) (*Out, error)) Route {
	return Route{Method: http.MethodGet, Path: path, Act: act, Summary: summary, Out: *new(Out), Status: http.StatusOK, serve: func(q *request) (any, error) {
		return some(do(q.Context(), q.actor, q.ref()))
	}}
}

// list serves a page of objects.
func list[Out any](path string, act control.Act, summary string, query []Param, do func(context.Context, control.Actor, control.List) (*Out, error)) Route {
	return Route{Method: http.MethodGet, Path: path, Act: act, Summary: summary, Query: query, Out: *new(Out), Status: http.StatusOK, serve: func(q *request) (any, error) {
		p := params{values: q.URL.Query()}
		l := control.List{
			Organisation: p.text("organisation"), Team: p.text("team"), User: p.text("user"), Name: p.text("name"), After: p.text("after"),
			Limit: p.number("limit", 0, mostListed),
		}
		if p.err != nil {
			return nil, p.err
		}
		return some(do(q.Context(), q.actor, l))
	}}
}

// mostListed is how many objects a page has at most, as the stores have it.
const mostListed = 500

// create serves the making of an object. again shows one that a twin of the request made.
func create[In, Out any](h *Handler, path string, act control.Act, summary string, do func(context.Context, control.Actor, In) (*Out, error), again func(context.Context, control.Actor, string) (*Out, error)) Route {
	return Route{Method: http.MethodPost, Path: path, Act: act, Summary: summary, In: *new(In), Out: *new(Out), Status: http.StatusCreated, Named: true, serve: func(q *request) (any, error) {
		var in In
		if err := q.read(&in); err != nil {
			return nil, err
		}
		return h.once(q, func(ctx context.Context, a control.Actor) (any, error) {
			return some(do(ctx, a, in))
		}, func(ctx context.Context, a control.Actor, id string) (any, error) {
			return some(again(ctx, a, id))
		})
	}}
}

// A bounded is a change that can be bounded to a version of what it changes.
type bounded[In any] interface {
	*In
	At(version int64)
}

// update serves a change of an object, of the version that If-Match names where it is sent.
func update[In any, P bounded[In], Out any](path string, act control.Act, summary string, do func(context.Context, control.Actor, string, In) (*Out, error)) Route {
	return Route{Method: http.MethodPatch, Path: path, Act: act, Summary: summary, In: *new(In), Out: *new(Out), Status: http.StatusOK, Matches: true, serve: func(q *request) (any, error) {
		var in In
		if err := q.read(&in); err != nil {
			return nil, err
		}
		P(&in).At(q.version)
		return some(do(q.Context(), q.actor, q.ref(), in))
	}}
}

// act serves an act on one object, with what it takes.
func act[In, Out any](path string, act control.Act, summary string, do func(context.Context, control.Actor, string, In) (*Out, error)) Route {
	return Route{Method: http.MethodPost, Path: path, Act: act, Summary: summary, In: *new(In), Out: *new(Out), Status: http.StatusOK, serve: func(q *request) (any, error) {
		var in In
		if err := q.read(&in); err != nil {
			return nil, err
		}
		return some(do(q.Context(), q.actor, q.ref(), in))
	}}
}

// Nothing is the body of an act that needs none. It may be left out.
type Nothing struct{}

// set serves disable and enable.
func set[Out any](path string, name control.Act, summary string, do func(context.Context, control.Actor, string, bool) (*Out, error)) Route {
	disabled := strings.HasSuffix(path, "/disable")
	return act(path, name, summary, func(ctx context.Context, a control.Actor, ref string, _ Nothing) (*Out, error) {
		return do(ctx, a, ref, disabled)
	})
}

// remove serves a deletion. The answer is the object as it was.
func remove[Out any](path string, act control.Act, summary string, do func(context.Context, control.Actor, string, int64) (*Out, error)) Route {
	return Route{Method: http.MethodDelete, Path: path, Act: act, Summary: summary, Out: *new(Out), Status: http.StatusOK, Matches: true, serve: func(q *request) (any, error) {
		return some(do(q.Context(), q.actor, q.ref(), q.version))
	}}
}

// some makes an answer of what an act gave: never a pointer to nothing beside an error.
func some[Out any](out *Out, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, llm.Errorf(llm.KindInternal, "internal error")
	}
	return out, nil
}
