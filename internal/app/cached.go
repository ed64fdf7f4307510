package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"sluice/internal/backend/redis"
	"sluice/internal/cache"
	"sluice/internal/cache/same"
	"sluice/internal/config"
	"sluice/internal/embed"
	"sluice/internal/llm"
	openaiapi "sluice/internal/provider/openai"
	"sluice/internal/telemetry"
	"sluice/internal/upstream"
	"sluice/internal/wire"
	"sluice/internal/wire/anthropic"
	"sluice/internal/wire/gemini"
)

// openCache makes the cache of answers, which outlives configurations.
func (a *App) openCache(cfg *config.Config) error {
	secret, err := a.people.hasher.Derive("cache partitions")
	if err != nil {
		return err
	}
	store, err := a.answers(cfg)
	if err != nil {
		return err
	}
	meaning, err := a.openMeaning(&cfg.Cache.Semantic)
	if err != nil {
		return fmt.Errorf("cache.semantic: %w", err)
	}
	if a.cache, err = cache.New(cache.Options{Store: store, Secret: secret, Log: a.log, Meaning: meaning}); err != nil {
		return err
	}
	a.metrics.WatchCache(a.cacheState)
	return nil
}

// answers is where answers are kept: in Redis where there is one, over connections of its own, so that large answers keep nothing else
// waiting. Redis sees no answer.
func (a *App) answers(cfg *config.Config) (cache.Store, error) {
	if cfg.Redis.URL == "" || cfg.Cache.Store == "memory" {
		return cache.NewMemory(int64(cfg.Cache.Memory), nil), nil
	}
	key, err := a.people.hasher.Derive("cache answers")
	if err != nil {
		return nil, err
	}
	o, err := redisOptions(&cfg.Redis, a.log.With("for", "cache"))
	if err != nil {
		return nil, err
	}
	o.Timeout, o.Lazy = redis.CacheTimeout, true // most gateways keep no answers
	if a.answersAt, err = redis.Open(o); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return a.answersAt.Answers(key)
}

// openMeaning makes what finds answers by their questions' meaning; nil where there is no embedder.
func (a *App) openMeaning(c *config.Semantic) (*cache.Meaning, error) {
	if c.Embedder == "" {
		return nil, nil //nolint:nilnil // nothing is found so
	}
	dialer := &net.Dialer{Timeout: 3 * time.Second, Control: upstream.Guard(c.AllowPrivate)}
	e, err := embed.Open(embed.Options{
		Kind: c.Embedder, Dir: c.Dir, Parallel: c.Parallel, URL: c.URL, Model: c.Model, Dim: c.Dimensions, Key: c.APIKey,
		Client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: c.Parallel, IdleConnTimeout: time.Minute}},
	})
	if err != nil {
		return nil, err
	}
	var index cache.Index = cache.NewMemoryIndex(cache.MemoryIndexOptions{Max: c.Vectors})
	if a.answersAt != nil {
		index = a.answersAt.Spaced(0)
	}
	return &cache.Meaning{
		Embedder: e, Index: index, Mode: same.Mode(c.Guard),
		Threshold: float32(c.Threshold.Float()), Margin: float32(c.Margin.Float()), Deadline: c.Deadline, Parallel: c.Parallel, Turns: c.Turns,
		Check: int(max(0, c.Check)),
	}, nil
}

// cacheState is what metrics tell of the cache.
func (a *App) cacheState() telemetry.CacheState {
	s := a.cache.Stats()
	out := telemetry.CacheState{
		Entries: s.Entries, Bytes: s.Bytes, Looked: make(map[string]int64), Bypassed: s.Bypassed, Stored: s.Stored, Purged: s.Purged,
		Refused: s.Refused, StoreErrors: s.StoreErrors, Found: s.Found, Indexed: s.Indexed, Agreed: s.Agreed,
	}
	out.EmbedderRests, out.IndexRests = a.cache.Resting()
	for state, n := range s.Looked {
		out.Looked[string(state)] = n
	}
	return out
}

// cacheRules are what a configuration says of it.
func cacheRules(cfg *config.Config, providers []config.Provider) *cache.Rules {
	c := &cfg.Cache
	return &cache.Rules{
		General: cache.Mode(c.Mode), Level: cache.Level(c.Scope), TTL: c.TTL, SemanticTTL: c.SemanticTTL, MaxAnswer: int(c.MaxAnswer),
		MaxTemperature: c.MaxTemperature.Float(), Temperature: c.RequireTemperature, ToolCalls: c.ToolCalls, Wait: c.Wait,
		Read: readers(providers),
	}
}

// readers read answers again, each as its provider does.
func readers(providers []config.Provider) cache.Reader {
	of := make(map[string]string) // kinds, by the provider's name
	for i := range providers {
		of[providers[i].Name] = kindOf(&providers[i])
	}
	return func(t *llm.Target, f llm.Format, stream, raw bool, body []byte) (llm.Stream, error) {
		kind, ok := of[t.Provider]
		if !ok {
			return nil, errors.New("its provider is not configured any more")
		}
		u := speaker(kind, f)
		if u == nil {
			return nil, errors.New("its provider does not speak the format")
		}
		if stream {
			if s := u.ReadStream(io.NopCloser(bytes.NewReader(body)), raw); s != nil {
				return s, nil
			}
			return nil, errors.New("the format has no streams")
		}
		ev, err := u.ReadAnswer(body, raw)
		if err != nil {
			return nil, err
		}
		return &whole{ev}, nil
	}
}

// speaker is how a kind of provider answers in a format; nil: it does not.
func speaker(kind string, f llm.Format) wire.Upstream {
	switch {
	case kind == "anthropic" && f == llm.AnthropicMessages:
		return anthropic.Messages
	case kind != "gemini":
		if u := openaiapi.Reader(kind, f); u != nil {
			return u
		}
		return nil
	}
	for _, u := range []*gemini.Format{gemini.Generate, gemini.EmbedContent, gemini.BatchEmbed} {
		if u.Format() == f {
			return u
		}
	}
	return nil
}

// whole is a stream of one event.
type whole struct{ ev *llm.Event }

// Next implements llm.Stream.
func (w *whole) Next() (*llm.Event, error) {
	ev := w.ev
	if w.ev = nil; ev == nil {
		return nil, io.EOF
	}
	return ev, nil
}

// Close implements llm.Stream.
func (*whole) Close() error { return nil }
