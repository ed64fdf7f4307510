package gateway

import (
	"net/http"
	"strconv"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// A List is a path that lists models, or describes one, in one vendor's form.
type List struct {
	Path   string // a ServeMux pattern; with {rest...} it describes one model
	Errors wire.Format
	// Write gives the body for the names; one says that the path asks for a single model.
	Write func(r *http.Request, names []string, one bool) []byte
}

// list answers with the models that the caller may use, and with nothing else.
func (g *Gateway) list(w http.ResponseWriter, r *http.Request, l List) {
	id := newID()
	w.Header()["X-Request-Id"] = []string{id}
	s := g.state.Load()
	if s == nil {
		wire.WriteError(w, l.Errors, llm.Errorf(llm.KindOverloaded, "the gateway is starting"), id)
		return
	}
	who, err := s.Auth.Identify(r)
	if err != nil {
		wire.WriteError(w, l.Errors, err, id)
		return
	}
	name := r.PathValue("rest")
	var names []string
	switch {
	case name == "":
		offered := make(map[string][]string)
		for _, l := range s.Pool.Models(r.Context()) {
			offered[l.Provider] = l.Models
		}
		names = s.Router.Models(who, offered)
	case s.Router.Known(who, name):
		names = []string{name}
	default:
		wire.WriteError(w, l.Errors, llm.Errorf(llm.KindModelNotFound, "there is no model %s that this key may use", clipPath(name)), id)
		return
	}
	body := l.Write(r, names, name != "")
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
}
