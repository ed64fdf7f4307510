package redis

import (
	"slices"
	"testing"
	"time"

	"sluice/internal/cache"
)

// S10: what was added is found among the names of spaces, by every replica, until it is dropped; then nothing is left of it.
func TestSpaces(t *testing.T) {
	for _, p := range programs(t, true) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			o := patient(single(s))
			o.Prefix = fresh()
			a, b := open(t, o).Spaced(0), open(t, o).Spaced(0)
			for _, space := range []string{"one:*", "two"} {
				for _, id := range []string{"x", "y"} {
					if err := a.Add(t.Context(), space, cache.Entry{ID: id, Vector: []float32{1, 0}, Expires: time.Now().Add(time.Hour)}); err != nil {
						t.Fatal(err)
					}
				}
			}
			settle(t, a.Vectors)
			list, err := b.Spaces(t.Context())
			if slices.Sort(list); err != nil || !slices.Equal(list, []string{"one:*", "two"}) {
				t.Errorf("%q, %v", list, err)
			}
			for _, space := range list {
				if err := b.Drop(t.Context(), space); err != nil {
					t.Error(err)
				}
			}
			if left := s.Do(t, "KEYS", o.Prefix+":*"); len(left) > 2 {
				t.Errorf("left: %s", left)
			}
		})
	}
}
