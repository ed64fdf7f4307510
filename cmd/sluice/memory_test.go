package main

import "testing"

func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		kept uint64
		want int
	}{
		{0, 400}, {1 << 20, 400}, {4 << 20, 400}, {6 << 20, 266}, {8 << 20, 200}, {16 << 20, 100}, {1 << 30, 100}, {1 << 62, 100},
	} {
		if got := percentFor(c.kept); got != c.want {
			t.Errorf("a heap of %d bytes may grow by %d %%, want %d", c.kept, got, c.want)
		}
	}
}
