package sql

import (
	"context"
	"sync/atomic"
)

// counting is the key under which a context carries a count of statements.
type counting struct{}

// Counted gives a context under which statements are counted, and the count: whether a page of a list is one question is told by it.
func Counted(ctx context.Context) (context.Context, *atomic.Int64) {
	n := new(atomic.Int64)
	return context.WithValue(ctx, counting{}, n), n
}

func tally(ctx context.Context) {
	if n, ok := ctx.Value(counting{}).(*atomic.Int64); ok {
		n.Add(1)
	}
}
