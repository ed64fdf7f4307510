package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// A lister is a provider that names its models, or fails.
type lister struct {
	llm.Provider
	models []string
	err    error
	calls  int
	slow   time.Duration
}

func (l *lister) Models(ctx context.Context, _ llm.Secret) ([]string, error) {
	l.calls++
	select {
	case <-time.After(l.slow):
		return l.models, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestModelsAreAskedForAndRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, silent := &lister{models: []string{"x"}}, &lister{models: []string{"y"}, slow: time.Hour}, &lister{models: []string{"z"}}
		p := NewPool(Options{Upstreams: map[string]Upstream{"b": {Provider: b, List: true}, "a": {Provider: a, List: true}, "c": {Provider: silent}, "d": {}}})
		start := time.Now()
		want := []Listed{{"a", []string{"x"}}, {"b", nil}}
		if diff := cmp.Diff(want, p.Models(t.Context())); diff != "" || time.Since(start) != listTimeout {
			t.Errorf("after %v: %s", time.Since(start), diff)
		}
		p.Models(t.Context())
		if a.calls != 1 || b.calls != 1 || silent.calls != 0 {
			t.Errorf("asked %d, %d, %d times; want 1, 1, 0", a.calls, b.calls, silent.calls)
		}
		time.Sleep(listAge) // on synctest's clock
		a.err, b.slow = errors.New("down"), 0
		want = []Listed{{"a", []string{"x"}}, {"b", []string{"y"}}}
		if diff := cmp.Diff(want, p.Models(t.Context())); diff != "" {
			t.Errorf("a provider that fails loses what it said: %s", diff)
		}
	})
}
