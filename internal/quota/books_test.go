package quota_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/quota"
)

// TestBooks: every counter that calls have asked for is listed, by what the database knows it by, until its period is over;
// and all of an organisation's are begun anew on demand, with what the database has and what is settled again.
func TestBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var behind atomic.Int64
		marks := map[string]uint64{}
		l := start(t, func(o *quota.Options) {
			o.Spent = func(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
				mu.Lock()
				defer mu.Unlock()
				out := make([]quota.Level, len(qs))
				for i, q := range qs {
					out[i] = quota.Level{Counter: q.Counter, Parts: []quota.Part{{Amount: 40}}, Marks: map[string]uint64{"r1": marks["r1"]}}
					if q.Part > 0 {
						out[i].Parts = []quota.Part{{Start: q.From.Unix() - 1, Amount: 9}, {Start: q.From.Unix(), Amount: 40}}
					}
				}
				return out, nil
			}
			o.Behind = func() { behind.Add(1) }
		})
		who := caller(llm.Rule{Name: "b", Models: []string{"gpt*"}, Budgets: []llm.Budget{
			{Money: 1000, Every: llm.Hourly, Mode: llm.Hard}, {Tokens: 5000, Every: llm.RollDay, Mode: llm.Soft},
		}})
		g, err := l.Reserve(t.Context(), who, call(1))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the soft budget is seeded by Run
		type view struct {
			Models      []string
			Tokens      bool
			Spent, Held int64
			Cold        bool
		}
		see := func() (all []view) {
			t.Helper()
			list, err := l.Books(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range list {
				if b.Org != "acme" || b.Subject != "key:k1" || b.Until.Sub(b.From) <= 0 || b.Query.Counter != b.Level.Counter {
					t.Errorf("a book of %+v", b)
				}
				all = append(all, view{b.Models, b.Tokens, b.Spent(), b.Held, b.Cold})
			}
			return all
		}
		want := []view{{[]string{"gpt*"}, false, 40, 110, false}, {[]string{"gpt*"}, true, 40, 110, false}}
		if diff := cmp.Diff(want, see()); diff != "" {
			t.Errorf("books (-want +got):\n%s", diff)
		}
		settle := func() {
			if err := l.Settle(t.Context(), []quota.Settlement{{ID: "1", Position: 1, Counters: g.Counters(), Money: 5, Tokens: 6}}); err != nil {
				t.Fatal(err)
			}
		}
		settle()
		g.Release(t.Context(), 6)
		mu.Lock()
		marks["r1"] = 1
		mu.Unlock()
		if err := l.Restart(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if n := behind.Load(); n != 1 {
			t.Errorf("the log was gone back in %d times, want 1", n)
		}
		settle() // again, and the database has it: 40 is with it now
		want = []view{{[]string{"gpt*"}, false, 0, 0, true}, {[]string{"gpt*"}, true, 0, 0, true}}
		if diff := cmp.Diff(want, see()); diff != "" {
			t.Errorf("restarted (-want +got):\n%s", diff)
		}
		before := time.Now()
		if g, err = l.Reserve(t.Context(), who, call(2)); err != nil { // waits for the grace
			t.Fatal(err)
		}
		if waited := time.Since(before); waited < quota.Grace {
			t.Errorf("a hard budget was asked %v after it was begun anew", waited)
		}
		g.Cancel(t.Context())
		synctest.Wait()
		want = []view{{[]string{"gpt*"}, false, 40, 0, false}, {[]string{"gpt*"}, true, 40, 0, false}}
		if diff := cmp.Diff(want, see()); diff != "" {
			t.Errorf("counted anew (-want +got):\n%s", diff)
		}
		time.Sleep(4 * time.Hour)
		if got := see(); len(got) != 1 || !got[0].Tokens {
			t.Errorf("after the hour: %+v", got)
		}
		time.Sleep(24 * time.Hour)
		if got := see(); len(got) > 0 {
			t.Errorf("of periods that are over: %+v", got)
		}
	})
}
