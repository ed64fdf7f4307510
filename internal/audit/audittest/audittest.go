// Package audittest is what every audit.Store must do, as a suite.
package audittest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/audit"
)

// A Harness makes stores to be tested.
type Harness struct {
	// Stores gives two handles of one empty store, as two processes have them.
	Stores func(t *testing.T) (a, b audit.Store)
}

// Seed is a private key for tests.
const Seed = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// New makes a log over a store, with its own public key.
func New(t testing.TB, s audit.Store, now func() time.Time) (*audit.Log, audit.PublicKey) {
	t.Helper()
	signer, err := audit.NewSigner(Seed)
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.New(audit.Options{Store: s, Signer: signer, Wrap: bytes.Repeat([]byte{1}, 32), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return l, signer.Public()
}

// Event is one that somebody caused in an organisation.
func Event(org, actor, act string) *audit.Event {
	return &audit.Event{
		Org: org, Actor: audit.Actor{ID: actor, Kind: "person", Name: "Name of " + actor, Request: "r"}, Act: act,
		Object: audit.Object{Kind: "key", ID: "k-" + org, Name: "ci"}, Result: audit.Done,
	}
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, audit.Store, audit.Store){
		"chains": chains, "numbers are taken once": taken, "transactions": transactions, "find": find, "replicas": replicas, "keys": keys, "pages": pages,
		"checkpoints by many": checkpoints,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := h.Stores(t)
			test(t, a, b)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// whole fails unless a store verifies, and gives the report.
func whole(t *testing.T, s audit.Store, key audit.PublicKey) *audit.Report {
	t.Helper()
	r, err := audit.VerifyStore(t.Context(), s, audit.VerifyOptions{Keys: []audit.PublicKey{key}, Now: time.Now()})
	must(t, err)
	for i := range r.Findings {
		t.Error(r.Findings[i].String())
	}
	return r
}

// What is stored comes back as it was, to the microsecond and byte.
func chains(t *testing.T, a, b audit.Store) {
	l, key := New(t, a, nil)
	for i, org := range []string{"", "b", "a", "b", "Ä\\%_", "b"} {
		must(t, l.Record(t.Context(), Event(org, fmt.Sprint("p", i%2), "keys.create")))
	}
	c, err := l.Checkpoint(t.Context())
	must(t, err)
	must(t, l.Record(t.Context(), Event("b", "p", "keys.delete")))
	if r := whole(t, b, key); r.Waiting != 1 || len(r.Chains) != 4 || r.Checkpoints != 1 {
		t.Errorf("the other sees %+v", r)
	}
	var got []string
	heads, err := b.Chains(t.Context())
	must(t, err)
	for _, h := range heads {
		got = append(got, fmt.Sprintf("%s %d", h.Org, h.Seq))
	}
	if diff := cmp.Diff([]string{" 1", "a 1", "b 4", "Ä\\%_ 1"}, got); diff != "" {
		t.Errorf("chains (-want +got):\n%s", diff)
	}
	if moved, err := b.Moved(t.Context()); err != nil || len(moved) != 1 || moved[0].Org != "b" || moved[0].Seq != 4 {
		t.Errorf("moved: %+v, %v", moved, err)
	}
	list, err := b.Checkpoints(t.Context(), 0, 10)
	must(t, err)
	if len(list) != 1 || !list[0].At.Equal(c.At.Time) {
		t.Fatalf("checkpoints: %+v", list)
	}
	last, err := b.LastCheckpoint(t.Context())
	must(t, err)
	if last.Hash != c.Hash || last.Number != 1 {
		t.Errorf("the last: %+v", last)
	}
	if none, _, err := b.Head(t.Context(), "nowhere", nil); err != nil || none.Seq != 0 || none.Hash != (audit.Hash{}) {
		t.Errorf("head of nothing: %+v, %v", none, err)
	}
}

func taken(t *testing.T, a, b audit.Store) {
	l, key := New(t, a, nil)
	must(t, l.Record(t.Context(), Event("o", "p", "x")))
	c, err := l.Checkpoint(t.Context())
	must(t, err)
	list, err := b.Entries(t.Context(), "o", 0, 1)
	must(t, err)
	if err := b.Append(t.Context(), &list[0]); err == nil {
		t.Error("an entry was put over another")
	}
	if err := b.Together(t.Context(), func(ctx context.Context) error { return b.Append(ctx, &list[0]) }); err == nil {
		t.Error("an entry was put over another, in a transaction")
	}
	if err := b.AddCheckpoint(t.Context(), c); err == nil {
		t.Error("a checkpoint was put over another")
	}
	whole(t, b, key)
}

var errNo = errors.New("it does not happen")

// An event is stored with the transaction that it belongs to, or not at all; and so is the key that it needed.
func transactions(t *testing.T, a, b audit.Store) {
	l, key := New(t, a, nil)
	err := a.Together(t.Context(), func(ctx context.Context) error {
		if err := l.Record(ctx, Event("o", "p", "x")); err != nil {
			return err
		}
		return errNo
	})
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	if _, keys, err := b.Head(t.Context(), "o", []string{"p"}); err != nil || len(keys) != 0 {
		t.Errorf("%d keys are left, %v", len(keys), err)
	}
	must(t, a.Together(t.Context(), func(ctx context.Context) error { return l.Record(ctx, Event("o", "p", "x")) }))
	if r := whole(t, b, key); len(r.Chains) != 1 || r.Chains[0].Seq != 1 {
		t.Errorf("%+v", r)
	}
}

func find(t *testing.T, a, b audit.Store) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	l, _ := New(t, a, func() time.Time { return now })
	for i, e := range []*audit.Event{
		Event("a", "ann", "keys.create"), Event("b", "ann", "keys.delete"), Event("a", "bob", "teams.create"), Event("a", "", "keys.create"), Event("a", "ann", "keys_create"),
	} {
		now = now.Add(time.Duration(i%2) * time.Minute) // some at the same time
		if i == 2 {
			e.Result = audit.Refused
		}
		must(t, l.Record(t.Context(), e))
	}
	if n, err := b.DropKeys(t.Context(), "bob"); n != 1 || err != nil {
		t.Fatalf("dropped %d, %v", n, err)
	}
	at := func(m int) time.Time { return time.Date(2030, 1, 1, 0, m, 0, 0, time.UTC) }
	for name, test := range map[string]struct {
		q    audit.Query
		want string
	}{
		"all":         {audit.Query{}, "[a4 a3 b1 a2 a1]"},
		"a chain":     {audit.Query{Orgs: []string{"b"}}, "[b1]"},
		"two":         {audit.Query{Orgs: []string{"b", "a"}}, "[a4 a3 b1 a2 a1]"},
		"actor":       {audit.Query{Actor: "ann"}, "[a4 b1 a1]"},
		"kind":        {audit.Query{Actor: "person"}, "[a3]"},
		"act":         {audit.Query{Act: "keys.create"}, "[a3 a1]"},
		"glob":        {audit.Query{Act: "keys.*"}, "[a3 b1 a1]"},
		"object":      {audit.Query{Object: "k-b"}, "[b1]"},
		"result":      {audit.Query{Result: audit.Refused}, "[a2]"},
		"from":        {audit.Query{From: at(2)}, "[a4 a3]"},
		"until":       {audit.Query{Until: at(1)}, "[a1]"},
		"both":        {audit.Query{From: at(1), Until: at(2)}, "[b1 a2]"},
		"limit":       {audit.Query{Limit: 2}, "[a4 a3]"},
		"place":       {audit.Query{Before: &audit.Cursor{At: audit.At(at(1)), Org: "b", Seq: 1}}, "[a2 a1]"},
		"injection":   {audit.Query{Actor: "' OR 1=1 --", Act: "%"}, "[]"},
		"not a chain": {audit.Query{Orgs: []string{"a\x00"}}, "[]"},
	} {
		if test.q.Limit == 0 {
			test.q.Limit = 100
		}
		list, known, err := b.Find(t.Context(), &test.q)
		must(t, err)
		got, sealed := make([]string, 0, len(list)), []string{}
		for i := range list {
			got = append(got, fmt.Sprintf("%s%d", list[i].Org, list[i].Seq))
			sealed = append(sealed, list[i].Said.Key, list[i].Changed.Key)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
		there, err := b.Keys(t.Context(), sealed)
		must(t, err)
		want := map[string]audit.DataKey{}
		for _, k := range there {
			want[k.ID] = k
		}
		if diff := cmp.Diff(want, known); diff != "" {
			t.Errorf("%s: keys (-want +got):\n%s", name, diff)
		}
	}
}

// Many record at once, in the same chains: there are no gaps, no forks and nothing is lost.
func replicas(t *testing.T, a, b audit.Store) {
	const each = 12
	one, key := New(t, a, nil)
	two, _ := New(t, b, nil)
	var all sync.WaitGroup
	for i, l := range []*audit.Log{one, two, one, two} {
		all.Go(func() {
			for n := range each {
				if err := l.Record(t.Context(), Event([]string{"a", "b"}[n%2], fmt.Sprint("p", i), "x")); err != nil {
					t.Error(err)
				}
				if n%4 == 0 {
					if _, err := l.Checkpoint(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	_, err := one.Checkpoint(t.Context())
	must(t, err)
	r := whole(t, b, key)
	if len(r.Chains) != 2 || r.Chains[0].Entries != 2*each || r.Chains[1].Entries != 2*each || r.Waiting != 0 {
		t.Errorf("%+v", r)
	}
	var out bytes.Buffer
	must(t, two.Export(t.Context(), audit.ExportFilter{}, &out))
	file, err := audit.VerifyFile(&out, audit.VerifyOptions{Keys: []audit.PublicKey{key}})
	must(t, err)
	if !file.OK() || file.Readable != 2*4*each {
		t.Errorf("the export: %+v", file)
	}
}

// Each of many who make a checkpoint at once makes the next one, or none.
func checkpoints(t *testing.T, a, b audit.Store) {
	one, key := New(t, a, nil)
	two, _ := New(t, b, nil)
	must(t, one.Record(t.Context(), Event("a", "p", "x")))
	var all sync.WaitGroup
	for _, l := range []*audit.Log{one, two, one, two} {
		all.Go(func() {
			if _, err := l.Checkpoint(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if r := whole(t, b, key); r.Checkpoints != 1 {
		t.Errorf("%d checkpoints of one entry", r.Checkpoints)
	}
}

func keys(t *testing.T, a, b audit.Store) {
	made := time.Date(2030, 1, 1, 0, 0, 0, 1000, time.UTC)
	want := []audit.DataKey{{ID: "1", Subject: "ann", Wrapped: []byte{1}, Made: made}, {ID: "2", Subject: "bob", Wrapped: []byte{2}, Made: made}, {ID: "3", Subject: "ann", Wrapped: []byte{3}, Made: made}}
	for i := range want {
		must(t, a.AddKey(t.Context(), &want[i]))
	}
	got, err := b.Keys(t.Context(), []string{"2", "none", "\x00'"})
	must(t, err)
	if diff := cmp.Diff(want[1:2], got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	_, got, err = b.Head(t.Context(), "o", []string{"bob", "none", "\x00'", "ann"})
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys of subjects (-want +got):\n%s", diff)
	}
	if n, err := b.DropKeys(t.Context(), "ann"); n != 2 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
	if got, err := a.Keys(t.Context(), []string{"1", "3"}); len(got) != 0 || err != nil {
		t.Errorf("%d are left, %v", len(got), err)
	}
	if _, got, err := a.Head(t.Context(), "o", []string{"ann"}); len(got) != 0 || err != nil {
		t.Errorf("%d are left, %v", len(got), err)
	}
	if n, err := b.DropKeys(t.Context(), "ann"); n != 0 || err != nil {
		t.Errorf("dropped %d again, %v", n, err)
	}
}

// Lists that are longer than a store gives at once are read whole.
func pages(t *testing.T, a, b audit.Store) {
	l, key := New(t, a, nil)
	const n = audit.MaxList + 2
	const some = 34 // at a time: a transaction has its time limit
	for range n / some {
		must(t, a.Together(t.Context(), func(ctx context.Context) error {
			for range some {
				if err := l.Record(ctx, Event("o", "p", "x")); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for range n % some {
		must(t, l.Record(t.Context(), Event("o", "p", "x")))
	}
	for range n {
		must(t, a.Together(t.Context(), func(ctx context.Context) error {
			if err := l.Record(ctx, Event("", "p", "x")); err != nil {
				return err
			}
			_, err := l.Checkpoint(ctx)
			return err
		}))
	}
	if r := whole(t, b, key); r.Checkpoints != n || len(r.Chains) != 2 || r.Chains[0].Entries != n || r.Chains[1].Entries != n {
		t.Errorf("%d checkpoints, %+v", r.Checkpoints, r.Chains)
	}
}
