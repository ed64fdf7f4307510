package sql

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Of many who claim a name at once one has it, and what it made is found for a day; a claim that comes to nothing is none.
func TestTwins(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		db := open(t, o)
		twins, ctx, now := db.Twins(), t.Context(), time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
		name, print := [32]byte{1}, [32]byte{2}
		broken := errors.New("broken")
		err := db.Together(ctx, func(ctx context.Context) error {
			if ours, err := twins.Claim(ctx, name, print, now); err != nil || !ours {
				t.Errorf("the first claim: %t, %v", ours, err)
			}
			return broken
		})
		if !errors.Is(err, broken) {
			t.Fatal(err)
		}
		if _, _, found, err := twins.Seek(ctx, name, now); found || err != nil {
			t.Errorf("a claim that was taken back is found: %t, %v", found, err)
		}
		var had atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				err := db.Together(ctx, func(ctx context.Context) error {
					ours, err := twins.Claim(ctx, name, print, now)
					if err != nil || !ours {
						return err
					}
					had.Add(1)
					return twins.Made(ctx, name, "made")
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if had.Load() != 1 {
			t.Errorf("%d have the name", had.Load())
		}
		if got, id, found, err := twins.Seek(ctx, name, now.Add(23*time.Hour)); err != nil || !found || id != "made" || got != print {
			t.Errorf("found %t %q %v, %v", found, id, got, err)
		}
		if _, _, found, _ := twins.Seek(ctx, name, now.Add(25*time.Hour)); found {
			t.Error("found after a day")
		}
		if ours, err := twins.Claim(ctx, name, print, now.Add(25*time.Hour)); err != nil || !ours {
			t.Errorf("claimed after a day: %t, %v", ours, err)
		}
	})
}
