package gateway

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sluice/internal/auth"
	"sluice/internal/cache"
	"sluice/internal/guard"
	"sluice/internal/llm"
	"sluice/internal/route"
	"sluice/internal/usage"
	"sluice/internal/wire"
)

// What an answer says of the cache.
const (
	cacheHeader      = "X-Sluice-Cache"
	cacheWhyHeader   = "X-Sluice-Cache-Reason"
	similarityHeader = "X-Sluice-Cache-Similarity"
)

// lookup looks for an answer that was given before. Nil: there is no cache for this call, which then costs nothing.
func (s *State) lookup(ctx context.Context, w http.ResponseWriter, r *http.Request, f wire.Format, who *auth.Who, call *llm.Call, plan *route.Plan, tags []string, in *guard.Inspection) (*cache.Visit, error) {
	if s.Cache == nil {
		return nil, nil //nolint:nilnil // a nil visit does nothing
	}
	g := plan.Group()
	mode := cache.Effective(cache.Mode(g.Cache), cache.Mode(who.Cache), s.CacheRules.General)
	if mode == cache.Off {
		return nil, nil //nolint:nilnil // a nil visit does nothing
	}
	control, err := cache.ReadControl(r.Header)
	if err != nil {
		return nil, err
	}
	body := call.Body.Raw()
	if body == nil { // edited
		parts, err := call.Body.Bytes(f, &llm.Encoding{Model: call.Model, Stream: call.Stream})
		if err != nil {
			return nil, err
		}
		body = bytes.Join(parts, nil)
	}
	if len(tags) > 0 {
		tags = slices.Concat(who.Tags, tags)
		slices.Sort(tags)
	} else {
		tags = who.Tags
	}
	visit := s.Cache.Lookup(ctx, s.CacheRules, &cache.Ask{Who: who, Call: call, Body: body, Mode: mode, Route: g.Print(), Tags: tags, Control: control, Raw: in.Raw(), Personal: in.Bears()})
	cacheHeaders(w.Header(), visit)
	return visit, nil
}

func cacheHeaders(h http.Header, v *cache.Visit) {
	h[cacheHeader] = []string{string(v.State)}
	if v.Why != "" {
		h[cacheWhyHeader] = []string{v.Why}
	}
	if v.Answered() {
		h["Age"] = []string{strconv.FormatInt(int64(v.Age/time.Second), 10)}
	}
	if v.State == cache.Similar {
		h[similarityHeader] = []string{strconv.FormatFloat(float64(v.Similarity), 'f', 4, 32)}
	}
}

// given is the answer that the cache gives, and what the call met on the way to it: nothing.
func given(v *cache.Visit, entry *usage.Entry) (*llm.Reply, *llm.Trace) {
	if !v.Answered() {
		return nil, nil
	}
	entry.Served(v.How())
	return v.Reply, &llm.Trace{Target: &v.Reply.Target}
}
