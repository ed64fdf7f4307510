package cache

import (
	"context"
	"maps"
	"slices"
)

// Spaces are the names of the spaces that have something in them.
func (x *MemoryIndex) Spaces(context.Context) ([]string, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Keys(x.spaces)), nil
}
