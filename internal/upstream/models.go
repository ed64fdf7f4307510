package upstream

import (
	"context"
	"sync"
	"time"

	"sluice/internal/llm"
)

const (
	listAge     = 10 * time.Minute // how long a provider's list of models is taken for current
	listRetry   = 30 * time.Second // after a failure
	listTimeout = 3 * time.Second
)

// Listed are the models that one provider offers, by its own names.
type Listed struct {
	Provider string
	Models   []string
}

// Models asks the providers that can name their models, and remembers the answers. A provider that fails is
// left with what it said before: a list is a help, not a promise.
func (p *Pool) Models(ctx context.Context) []Listed {
	var all sync.WaitGroup
	out := make([]Listed, len(p.lists))
	for i, l := range p.lists {
		all.Go(func() { out[i] = Listed{l.provider, l.get(ctx)} })
	}
	all.Wait()
	return out
}

// A list is one provider's, asked for by one caller at a time.
type list struct {
	provider string
	lister   llm.Lister
	secret   llm.Secret

	mu     sync.Mutex // guards the rest, and is held while the provider is asked
	models []string
	until  time.Time
}

func (l *list) get(ctx context.Context) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		return l.models
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	models, err := l.lister.Models(ctx, l.secret)
	if err != nil {
		if ctx.Err() != context.Canceled { // a client that left says nothing about the provider
			l.until = time.Now().Add(listRetry)
		}
		return l.models
	}
	l.models, l.until = models, time.Now().Add(listAge)
	return models
}
