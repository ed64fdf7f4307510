// Package guardtest holds detectors and what follows them to what package guard relies on.
package guardtest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	godiff "github.com/google/go-cmp/cmp"

	"sluice/internal/guard"
)

// Run holds a detector to its promises, on texts that should hold something it finds: findings are within their text, texts do
// not disturb one another, calls may run side by side, and a text is found to hold the same however it is cut into pieces.
func Run(t *testing.T, d guard.Detector, texts []string) {
	t.Helper()
	whole := make([][]guard.Finding, len(texts))
	some := false
	err := d.Detect(t.Context(), texts, func(i int, f guard.Finding) {
		if i < 0 || i >= len(texts) || f.Type == "" || f.Start < 0 || f.Start >= f.End || f.End > len(texts[i]) {
			t.Fatalf("finding %+v in text %d of %d", f, i, len(texts))
		}
		whole[i], some = append(whole[i], f), true
	})
	if err != nil {
		t.Fatal(err)
	}
	if !some {
		t.Fatal("nothing was found in any text: this would hold for a detector that does nothing")
	}
	var all sync.WaitGroup
	for i, text := range texts {
		all.Go(func() {
			var alone []guard.Finding
			if err := d.Detect(t.Context(), []string{text}, func(_ int, f guard.Finding) { alone = append(alone, f) }); err != nil {
				t.Error(err)
			}
			if diff := godiff.Diff(sorted(whole[i]), sorted(alone)); diff != "" {
				t.Errorf("text %d alone: (-among others +alone)\n%s", i, diff)
			}
			f, ok := d.(guard.Follower)
			if !ok {
				return
			}
			for seed := range uint64(40) {
				if diff := godiff.Diff(sorted(whole[i]), sorted(follow(t, f, Cut(text, seed)))); diff != "" {
					t.Errorf("text %d in pieces, seed %d: (-whole +pieces)\n%s", i, seed, diff)
					return
				}
			}
		})
	}
	all.Wait()
}

func sorted(list []guard.Finding) []guard.Finding {
	return slices.SortedFunc(slices.Values(list), func(a, b guard.Finding) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), cmp.Compare(a.Type, b.Type))
	})
}

func follow(t *testing.T, d guard.Follower, pieces []string) (all []guard.Finding) {
	f := d.Follow()
	done, came := 0, 0
	take := func(settled int, found []guard.Finding, err error) {
		if err != nil {
			t.Error(err)
		}
		for _, v := range found {
			if v.End > settled {
				t.Errorf("finding %+v ends behind the %d bytes that are settled", v, settled)
			}
			v.Start, v.End = v.Start+done, v.End+done
			all = append(all, v)
		}
		if done += settled; done > came {
			t.Errorf("%d bytes are settled of %d that came", done, came)
		}
	}
	for _, p := range pieces {
		came += len(p)
		take(f.Next(p))
	}
	take(f.Close())
	if done != came {
		t.Errorf("%d bytes are settled in the end of %d", done, came)
	}
	return all
}

// Cut cuts a text into pieces: by seed 0 into single bytes, else by chance, within characters, too.
func Cut(text string, seed uint64) (pieces []string) {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's chance must come again
	for len(text) > 0 {
		n := 1
		if seed > 0 {
			n = min(1+r.IntN(1+int(seed%13)*3), len(text))
		}
		pieces, text = append(pieces, text[:n]), text[n:]
	}
	return pieces
}
