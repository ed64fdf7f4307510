package audit

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// A rig is a log with a clock of its own.
type rig struct {
	*Log
	store  *Memory
	now    time.Time
	anchor bytes.Buffer
}

// rigSeed is the private key of rigs, so that exports of two of them can be mixed up.
const rigSeed = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{store: NewMemory(), now: time.Date(2030, 1, 2, 3, 4, 5, 678901000, time.UTC)}
	signer, err := NewSigner(rigSeed)
	if err != nil {
		t.Fatal(err)
	}
	if r.Log, err = New(Options{Store: r.store, Signer: signer, Wrap: bytes.Repeat([]byte{7}, 32), Anchor: &r.anchor, Now: func() time.Time { return r.now }}); err != nil {
		t.Fatal(err)
	}
	return r
}

// event is one of somebody who changes a key.
func event(org, actor string, n int) *Event {
	return &Event{
		Org: org, Actor: Actor{ID: actor, Name: "Ann of " + actor, Kind: "person", From: netip.MustParseAddr("192.0.2.7"), Request: fmt.Sprintf("req-%d", n)},
		Act: "keys.update", Object: Object{Kind: "key", ID: fmt.Sprintf("k%d", n), Name: "ci"},
		Before: jsontext.Value(`{"name": "old",  "n": 9007199254740993, "t": "\u00e4\u2028<"}`), After: jsontext.Value(`{"name":"new"}`),
		Why: "since " + org, Result: Done,
	}
}

func (r *rig) record(t testing.TB, events ...*Event) {
	t.Helper()
	for _, e := range events {
		r.now = r.now.Add(time.Second)
		if err := r.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) checkpoint(t testing.TB) *Checkpoint {
	t.Helper()
	r.now = r.now.Add(time.Minute)
	c, err := r.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fill makes a log of three chains and three checkpoints.
func (r *rig) fill(t testing.TB) {
	t.Helper()
	r.record(t, event("", "root", 1), event("a", "ann", 2), event("b", "bob", 3), event("a", "bob", 4))
	r.checkpoint(t)
	r.record(t, event("a", "ann", 5), event("a", "ann", 6), event("b", "bob", 7))
	r.checkpoint(t)
	r.record(t, event("a", "ann", 8))
	r.checkpoint(t)
}

func (r *rig) export(t testing.TB, f ExportFilter) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Export(t.Context(), f, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (r *rig) verifyFile(t testing.TB, text []byte) *Report {
	t.Helper()
	report, err := VerifyFile(bytes.NewReader(text), VerifyOptions{Keys: []PublicKey{r.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (r *rig) verifyStore(t testing.TB, anchors ...Anchor) *Report {
	t.Helper()
	report, err := VerifyStore(t.Context(), r.store, VerifyOptions{Keys: []PublicKey{r.Public()}, Anchors: anchors, Now: r.now})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func texts(list []Finding) string {
	var b strings.Builder
	for i := range list {
		fmt.Fprintln(&b, "   ", list[i].String())
	}
	return b.String()
}

func TestWhole(t *testing.T) {
	r := newRig(t)
	r.fill(t)
	org := "a"
	for name, f := range map[string]ExportFilter{"all": {}, "sealed": {Sealed: true}, "one chain": {Org: &org}} {
		text := r.export(t, f)
		got := r.verifyFile(t, text)
		if !got.OK() || got.Checkpoints != 3 {
			t.Errorf("%s: %d checkpoints, findings:\n%s", name, got.Checkpoints, texts(got.Findings))
		}
		for _, secret := range []string{"Ann of", "192.0.2.7", "since a", "9007199254740993"} {
			if has := bytes.Contains(text, []byte(secret)); has == f.Sealed {
				t.Errorf("%s: holds %q: %v", name, secret, has)
			}
		}
		if name == "one chain" && (len(got.Chains) != 1 || got.Hidden != 2 || got.Chains[0].Entries != 5) {
			t.Errorf("one chain: %+v", got)
		}
	}
	if got := r.verifyStore(t); !got.OK() || got.Waiting != 0 || len(got.Chains) != 3 {
		t.Errorf("store: %+v\n%s", got, texts(got.Findings))
	}
	r.record(t, event("b", "bob", 9))
	if got := r.verifyStore(t); !got.OK() || got.Waiting != 1 {
		t.Errorf("store with a new entry: %+v\n%s", got, texts(got.Findings))
	}
	anchors, err := ReadAnchors(&r.anchor)
	if err != nil || len(anchors) != 3 {
		t.Fatalf("%d anchors, %v", len(anchors), err)
	}
	if got := r.verifyStore(t, anchors...); !got.OK() || got.Anchored != 3 {
		t.Errorf("with anchors: %+v\n%s", got, texts(got.Findings))
	}
}

// Numbers and texts in what was changed come out as they went in.
func TestList(t *testing.T) {
	r := newRig(t)
	r.fill(t)
	var got []string
	q := Query{Orgs: []string{"a", ""}, Limit: 2}
	for {
		p, err := r.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range p.Data {
			got = append(got, fmt.Sprintf("%s/%d %s %s", v.Organisation, v.Seq, v.Actor.Name, v.Object.Name))
			if want := `{"name":"old","n":9007199254740993,"t":"ä` + "\u2028" + `<"}`; string(v.Before) != want {
				t.Errorf("before: %s, want %s", v.Before, want)
			}
		}
		if p.Next == "" {
			break
		}
		if q.Before, err = ParseCursor(p.Next); err != nil {
			t.Fatal(err)
		}
	}
	want := "a/5 Ann of ann ci|a/4 Ann of ann ci|a/3 Ann of ann ci|a/2 Ann of bob ci|a/1 Ann of ann ci|/1 Ann of root ci"
	if text := strings.Join(got, "|"); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	for _, bad := range []string{"", "x", "MS4y", "MS4yLg==", (&Cursor{}).String() + "A"} {
		if c, err := ParseCursor(bad); err == nil {
			t.Errorf("cursor %q: %v", bad, c)
		}
	}
}

// The clock may step back: the log does not, and says so.
func TestClockBack(t *testing.T) {
	r := newRig(t)
	r.record(t, event("a", "ann", 1))
	first := r.now
	r.now = r.now.Add(-time.Hour)
	r.record(t, event("a", "ann", 2), event("b", "ann", 3))
	c := r.checkpoint(t)
	list, err := r.store.Entries(t.Context(), "a", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if e := list[1]; !e.At.Equal(first) || time.Duration(e.Behind)*time.Microsecond != time.Hour-time.Second {
		t.Errorf("the entry is of %s, behind by %d µs", e.At, e.Behind)
	}
	if !c.At.Equal(first) {
		t.Errorf("the checkpoint is of %s, before %s of an entry that it covers", c.At, first)
	}
	if got := r.verifyStore(t); !got.OK() {
		t.Error(texts(got.Findings))
	}
}

// What a person was part of can no longer be read, the rest can, and the log still verifies. What comes after has a new key.
func TestRedact(t *testing.T) {
	r := newRig(t)
	r.fill(t)
	about := event("a", "bob", 8)
	about.Object = Object{Kind: "user", ID: "ann", Name: "Ann Example", Person: "ann"}
	r.record(t, about)
	n, err := r.Redact(t.Context(), "ann")
	if err != nil || n != 1 {
		t.Fatalf("%d keys, %v", n, err)
	}
	r.record(t, event("a", "ann", 9))
	text := r.export(t, ExportFilter{})
	got := r.verifyFile(t, text)
	if !got.OK() || got.Sealed != 5 {
		t.Errorf("%d parts cannot be read, want 5; findings:\n%s", got.Sealed, texts(got.Findings))
	}
	if n := bytes.Count(text, []byte("Ann of ann")); n != 1 || bytes.Contains(text, []byte("Ann Example")) {
		t.Errorf("%d entries tell her name, want 1", n)
	}
	p, err := r.List(t.Context(), Query{Orgs: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Data[1]; !v.Redacted || v.Object.ID != "ann" || v.Object.Name != "" || v.Before != nil || v.Actor.Name != "Ann of bob" {
		t.Errorf("about her: %+v", v)
	}
	if v := p.Data[0]; v.Redacted || v.Actor.Name != "Ann of ann" {
		t.Errorf("after it: %+v", v)
	}
}

// Whatever people type can be recorded.
func TestRecordsAnything(t *testing.T) {
	r := newRig(t)
	wild := "\x00\xff" + strings.Repeat("ä", 5000)
	r.record(t, &Event{Actor: Actor{Kind: "unknown", Name: wild, ID: wild, Request: wild}, Act: wild, Object: Object{wild, wild, wild, wild}, Why: wild, Detail: wild, Result: Refused})
	got := r.verifyFile(t, r.export(t, ExportFilter{}))
	if !got.OK() || got.Readable != 2 {
		t.Errorf("%+v\n%s", got, texts(got.Findings))
	}
	err := r.Record(t.Context(), &Event{Act: "x", Result: Done, After: jsontext.Value(`"` + strings.Repeat("x", mostSealed) + `"`)})
	if err == nil {
		t.Error("an event of any size was recorded")
	}
}

func TestCheckpointsOnlyWhatIsNew(t *testing.T) {
	r := newRig(t)
	if c := r.checkpoint(t); c != nil {
		t.Errorf("of nothing: %+v", c)
	}
	r.fill(t)
	if c := r.checkpoint(t); c != nil {
		t.Errorf("of nothing new: %+v", c)
	}
	r.record(t, event("b", "x", 1))
	if c, err := r.Log.checkpoint(t.Context(), time.Hour); c != nil || err != nil {
		t.Errorf("just after another: %+v, %v", c, err)
	}
	if c := r.checkpoint(t); c == nil || len(c.Heads) != 1 || c.Heads[0].Org != "b" || c.Number != 4 {
		t.Errorf("got %+v", c)
	}
}

// The parts of one entry have different keys, and neither opens the other or that of another entry.
func TestKeysOpenOnePart(t *testing.T) {
	subject := bytes.Repeat([]byte{1}, 32)
	seen := map[string]bool{}
	for _, org := range []string{"", "a"} {
		for seq := range uint64(3) {
			for _, part := range []string{"said", "changed"} {
				k, err := partKey(subject, org, seq, part)
				if err != nil || seen[string(k)] {
					t.Fatalf("%s %d %s: a key of before, %v", org, seq, part, err)
				}
				seen[string(k)] = true
			}
		}
	}
	k, _ := partKey(subject, "a", 1, "said")
	data, err := seal(k, Account{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		if _, err := open(k, changed); err == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
	other, _ := partKey(subject, "a", 2, "said")
	if _, err := open(other, data); err == nil {
		t.Error("another key opens it")
	}
}

var _ Recorder = (*Log)(nil)

func TestRunEnds(t *testing.T) {
	r := newRig(t)
	r.record(t, event("a", "x", 1))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	r.Run(ctx) // makes the last one although its context has ended
	if got := r.verifyStore(t); got.Checkpoints != 1 || !got.OK() {
		t.Errorf("%d checkpoints\n%s", got.Checkpoints, texts(got.Findings))
	}
	if s := r.Stats(); s.Recorded[Done] != 1 || s.Failing || s.Newest.IsZero() {
		t.Errorf("%+v", s)
	}
}
