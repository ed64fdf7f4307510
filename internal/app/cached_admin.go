package app

import (
	"context"

	"sluice/internal/admin"
	"sluice/internal/llm"
)

// Cache is what the cache of answers has seen.
func (a running) Cache() *admin.Cache {
	s := a.cacheState()
	out := &admin.Cache{
		Store: "memory", Entries: max(0, s.Entries), Bytes: max(0, s.Bytes), Calls: s.Looked, Bypassed: counts(s.Bypassed), Stored: s.Stored,
		Refused: counts(s.Refused), Purged: s.Purged, StoreErrors: s.StoreErrors,
		Semantic: admin.CacheSemantic{
			Lookups: counts(s.Found), Indexed: counts(s.Indexed), Checks: counts(s.Agreed), EmbedderResting: s.EmbedderRests, IndexResting: s.IndexRests,
		},
	}
	if a.answersAt != nil {
		out.Store = "redis"
	}
	return out
}

// counts is m, and not nil.
func counts(m map[string]int64) map[string]int64 {
	if m == nil {
		m = make(map[string]int64)
	}
	return m
}

// Purge forgets kept answers.
func (a running) Purge(ctx context.Context, s *admin.Selection) (int, error) {
	f := a.cache.Select(s.Organisation, s.Team, s.Key, s.Model)
	f.Before = s.Before
	n, err := a.cache.Purge(ctx, f)
	if err != nil {
		return n, &llm.Error{Kind: llm.KindOverloaded, Msg: "the store of answers does not answer; some may be left: try again", Err: err}
	}
	return n, nil
}

// Owner tells whose a key of the configuration is.
func (a running) Owner(key string) (org, public string, ok bool) {
	who := a.who(key)
	if who == nil {
		return "", "", false
	}
	return who.Org, who.Public(), true
}
