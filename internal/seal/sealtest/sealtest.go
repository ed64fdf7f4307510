// Package sealtest is the suite that every seal.Store must pass.
package sealtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/seal"
)

// A Harness makes stores.
type Harness struct {
	Open func(t *testing.T) seal.Store // an empty one
}

type rig struct {
	seal.Store
	t *testing.T
}

func (r *rig) ok(what string, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
}

func (r *rig) is(what string, err, want error) {
	r.t.Helper()
	if !errors.Is(err, want) {
		r.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

var at = time.Date(2026, 3, 29, 1, 59, 58, 123456000, time.UTC)

func value(id string, p seal.Purpose) *seal.Value {
	return &seal.Value{ID: id, Purpose: p, Object: "providers/'; --/api_key", Key: 4_000_000_000, Sealed: []byte{0, 1, 255, '\''}, Created: at}
}

// Run holds a store to its interface.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(ctx context.Context, r *rig){
		"keyset": testKeyset, "values": testValues, "versions": testVersions, "stale": testStale, "use": testUse,
	} {
		t.Run(name, func(t *testing.T) { test(t.Context(), &rig{h.Open(t), t}) })
	}
}

func testKeyset(ctx context.Context, r *rig) {
	k, err := r.Keyset(ctx)
	if k != nil || err != nil {
		r.t.Errorf("an empty store has the keyset %v, %v", k, err)
	}
	first := &seal.Keyset{Version: 1 << 62, KEK: "key 1", Wrapped: []byte{0, 7}}
	r.is("replace none", r.PutKeyset(ctx, first, 3), seal.ErrVersion)
	r.ok("make", r.PutKeyset(ctx, first, 0))
	r.is("make again", r.PutKeyset(ctx, &seal.Keyset{Version: 8, KEK: "key 2"}, 0), seal.ErrVersion)
	r.is("replace another", r.PutKeyset(ctx, &seal.Keyset{Version: 8, KEK: "key 2"}, 7), seal.ErrVersion)
	if k, err = r.Keyset(ctx); err != nil || cmp.Diff(first, k) != "" {
		r.t.Errorf("%v: %s", err, cmp.Diff(first, k))
	}
	next := &seal.Keyset{Version: 5, KEK: "key 2", Wrapped: []byte{9}}
	r.ok("replace", r.PutKeyset(ctx, next, first.Version))
	if k, err = r.Keyset(ctx); err != nil || cmp.Diff(next, k) != "" {
		r.t.Errorf("%v: %s", err, cmp.Diff(next, k))
	}
}

func (r *rig) keyset(ctx context.Context) {
	r.t.Helper()
	r.ok("make keyset", r.PutKeyset(ctx, &seal.Keyset{Version: 1, KEK: "k", Wrapped: []byte{1}}, 0))
}

func testValues(ctx context.Context, r *rig) {
	r.keyset(ctx)
	_, err := r.Get(ctx, "v")
	r.is("get none", err, seal.ErrNotFound)
	want := value("v", seal.Credential)
	r.ok("put", r.Put(ctx, want, 1))
	r.is("put twice", r.Put(ctx, value("v", seal.TOTP), 1), seal.ErrExists)
	got, err := r.Get(ctx, "v")
	if err != nil || cmp.Diff(want, got) != "" {
		r.t.Errorf("%v: %s", err, cmp.Diff(want, got))
	}
	r.ok("delete", r.Delete(ctx, "v"))
	r.ok("delete again", r.Delete(ctx, "v"))
	_, err = r.Get(ctx, "v")
	r.is("get what is gone", err, seal.ErrNotFound)
}

// testVersions: nothing is sealed under a keyset that is no longer the store's.
func testVersions(ctx context.Context, r *rig) {
	r.is("without a keyset", r.Put(ctx, value("v", seal.TOTP), 1), seal.ErrVersion)
	r.keyset(ctx)
	r.ok("put", r.Put(ctx, value("v", seal.TOTP), 1))
	r.ok("replace", r.PutKeyset(ctx, &seal.Keyset{Version: 2, KEK: "k", Wrapped: []byte{1}}, 1))
	r.is("put under the old one", r.Put(ctx, value("w", seal.TOTP), 1), seal.ErrVersion)
	again := value("v", seal.TOTP)
	again.Key, again.Sealed = 7, []byte("new")
	r.is("reseal under the old one", r.Reseal(ctx, again, 4_000_000_000, 1), seal.ErrVersion)
	r.ok("reseal what another has", r.Reseal(ctx, again, 3, 2))
	r.ok("reseal what is gone", r.Reseal(ctx, value("w", seal.TOTP), 4_000_000_000, 2))
	if got, err := r.Get(ctx, "v"); err != nil || got.Key != 4_000_000_000 {
		r.t.Errorf("resealed all the same: %+v, %v", got, err)
	}
	r.ok("reseal", r.Reseal(ctx, again, 4_000_000_000, 2))
	if got, err := r.Get(ctx, "v"); err != nil || cmp.Diff(again, got) != "" {
		r.t.Errorf("%v: %s", err, cmp.Diff(again, got))
	}
}

func testStale(ctx context.Context, r *rig) {
	r.keyset(ctx)
	for _, id := range []string{"a", "b", "c"} {
		v := value(id, seal.Header)
		if v.Key = 1; id == "b" {
			v.Key = 2
		}
		r.ok("put", r.Put(ctx, v, 1))
	}
	list, err := r.Stale(ctx, 2, 10)
	if err != nil || len(list) != 2 || list[0].Key != 1 || list[1].Key != 1 || string(list[0].Sealed) != string(value("a", "").Sealed) {
		r.t.Errorf("stale: %v, %v", list, err)
	}
	if list, err = r.Stale(ctx, 2, 1); err != nil || len(list) != 1 {
		r.t.Errorf("one that is stale: %v, %v", list, err)
	}
}

func testUse(ctx context.Context, r *rig) {
	r.keyset(ctx)
	for id, p := range map[string]seal.Purpose{"kept": seal.Credential, "dropped": seal.Proxy, "other": seal.TOTP} {
		r.ok("put", r.Put(ctx, value(id, p), 1))
	}
	mine := []seal.Purpose{seal.Credential, seal.Proxy}
	unused := func(want map[string]time.Time) {
		r.t.Helper()
		got := map[string]time.Time{}
		for _, id := range []string{"kept", "dropped", "other"} {
			if v, err := r.Get(ctx, id); err == nil {
				got[id] = v.Unused
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.t.Errorf("-want +got:\n%s", diff)
		}
	}
	r.ok("use", r.Use(ctx, mine, []string{"kept", "nobody"}, at, at.Add(-time.Hour)))
	unused(map[string]time.Time{"kept": {}, "dropped": at, "other": {}})
	r.ok("use", r.Use(ctx, mine, []string{"kept"}, at.Add(time.Minute), at))
	unused(map[string]time.Time{"kept": {}, "dropped": at, "other": {}})
	r.ok("use it again", r.Use(ctx, mine, []string{"kept", "dropped"}, at.Add(time.Minute), at.Add(time.Minute)))
	unused(map[string]time.Time{"kept": {}, "dropped": {}, "other": {}})
	r.ok("use none", r.Use(ctx, mine, nil, at, at.Add(-time.Hour)))
	r.ok("use none", r.Use(ctx, mine, nil, at.Add(2*time.Hour), at.Add(time.Second)))
	unused(map[string]time.Time{"other": {}})
}
