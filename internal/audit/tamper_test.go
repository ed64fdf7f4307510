package audit

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// has tells whether a report has a finding of a kind that says where.
func (r *Report) has(f Fault, where string) bool {
	return slices.ContainsFunc(r.Findings, func(g Finding) bool { return g.Fault == f && strings.Contains(g.String(), where) })
}

// rehash makes the chain of an entry whole again from there on, as somebody would who has the database but not the private key.
func rehash(m *Memory, org string) {
	var prev Hash
	var seq uint64
	for i := range m.entries {
		if e := &m.entries[i]; e.Org == org {
			seq++
			e.Seq, e.Prev = seq, prev
			e.Hash = e.sum()
			prev = e.Hash
		}
	}
}

func (m *Memory) at(org string, seq uint64) int {
	return slices.IndexFunc(m.entries, func(e Entry) bool { return e.Org == org && e.Seq == seq })
}

// cases are what can be done to a log, each by itself. Entries of chain a are 1 to 5; the checkpoints know 2, 4 and 5 of it.
var tampers = []struct {
	name  string
	do    func(t *testing.T, r *rig)
	fault Fault
	where string
}{
	{"edit", func(_ *testing.T, r *rig) { r.store.entries[r.store.at("a", 3)].Act = "keys.read" }, Edited, `chain "a", entry 3`},
	{"edit of what is sealed", func(_ *testing.T, r *rig) { r.store.entries[r.store.at("a", 3)].Said.Data[40] ^= 1 }, Edited, `chain "a", entry 3`},
	{"edit, its hash made anew", func(_ *testing.T, r *rig) {
		e := &r.store.entries[r.store.at("a", 3)]
		e.Result = Refused
		e.Hash = e.sum()
	}, Broken, `chain "a", entry 4`},
	{"edit, all hashes made anew", func(_ *testing.T, r *rig) {
		r.store.entries[r.store.at("a", 3)].Result = Refused
		rehash(r.store, "a")
	}, Rewritten, `chain "a", entry 4, checkpoint 2`},
	{"delete", func(_ *testing.T, r *rig) {
		i := r.store.at("a", 3)
		r.store.entries = slices.Delete(r.store.entries, i, i+1)
	}, Missing, `chain "a", entry 4: number 3 of the entries`},
	{"delete, numbers and hashes made anew", func(_ *testing.T, r *rig) {
		i := r.store.at("a", 3)
		r.store.entries = slices.Delete(r.store.entries, i, i+1)
		rehash(r.store, "a")
	}, Rewritten, `chain "a", entry 4, checkpoint 2`},
	{"delete the first", func(_ *testing.T, r *rig) {
		i := r.store.at("a", 1)
		r.store.entries = slices.Delete(r.store.entries, i, i+1)
	}, Missing, `chain "a", entry 2: number 1 of the entries`},
	{"insert", func(_ *testing.T, r *rig) {
		i := r.store.at("a", 3)
		e := r.store.entries[i]
		e.Act = "keys.delete"
		r.store.entries = slices.Insert(r.store.entries, i, e)
		rehash(r.store, "a")
	}, Rewritten, `chain "a", entry 4, checkpoint 2`},
	{"insert at the end of what is covered", func(_ *testing.T, r *rig) {
		e := r.store.entries[r.store.at("a", 5)]
		e.Seq, e.Prev = 6, e.Hash
		e.Hash = e.sum()
		r.now = r.now.Add(time.Hour)
		r.store.entries = append(r.store.entries, e)
	}, Uncovered, `chain "a", entry 6`},
	{"insert with number 0", func(_ *testing.T, r *rig) {
		e := r.store.entries[r.store.at("a", 1)]
		e.Seq = 0
		e.Hash = e.sum()
		r.store.entries = slices.Insert(r.store.entries, 0, e)
	}, Misplaced, "an entry with the number 0"},
	{"reorder", func(_ *testing.T, r *rig) {
		i, j := r.store.at("a", 3), r.store.at("a", 4)
		r.store.entries[i], r.store.entries[j] = r.store.entries[j], r.store.entries[i]
	}, Misplaced, `chain "a", entry 3: it stands after entry 4`},
	{"swap two entries", func(_ *testing.T, r *rig) {
		a, b := &r.store.entries[r.store.at("a", 2)], &r.store.entries[r.store.at("a", 4)]
		*a, *b = *b, *a
		a.Seq, b.Seq = 2, 4
	}, Edited, `chain "a", entry 2`},
	{"swap the entries of two chains", func(_ *testing.T, r *rig) {
		for i := range r.store.entries {
			switch e := &r.store.entries[i]; e.Org {
			case "a":
				e.Org = "b"
			case "b":
				e.Org = "a"
			}
		}
	}, Edited, `chain "a", entry 1`},
	{"truncate entries", func(_ *testing.T, r *rig) {
		i := r.store.at("a", 5)
		r.store.entries = slices.Delete(r.store.entries, i, i+1)
	}, Truncated, `chain "a", entry 5, checkpoint 3: entries 5 to 5 are missing`},
	{"truncate a whole chain", func(_ *testing.T, r *rig) {
		r.store.entries = slices.DeleteFunc(r.store.entries, func(e Entry) bool { return e.Org == "b" })
	}, Truncated, `chain "b", entry 1, checkpoint 1`},
	{"truncate checkpoints", func(_ *testing.T, r *rig) {
		r.store.checkpoints = r.store.checkpoints[:2]
		r.now = r.now.Add(time.Hour)
	}, Uncovered, `chain "a", entry 5`},
	{"truncate all checkpoints", func(_ *testing.T, r *rig) {
		r.store.checkpoints = nil
		r.now = r.now.Add(time.Hour)
	}, Truncated, "there is no checkpoint"},
	{"delete a checkpoint", func(_ *testing.T, r *rig) { r.store.checkpoints = slices.Delete(r.store.checkpoints, 1, 2) }, Missing, "checkpoint 3: number 2 of the checkpoints"},
	{"move a checkpoint", func(_ *testing.T, r *rig) { c := r.store.checkpoints; c[0], c[1] = c[1], c[0] }, Misplaced, "checkpoint 1: it stands after checkpoint 2"},
	{"clock back in an entry", func(_ *testing.T, r *rig) {
		e := &r.store.entries[r.store.at("a", 5)]
		e.At = At(e.At.Add(-time.Hour))
		e.Hash = e.sum()
	}, ClockBack, `chain "a", entry 5`},
	{"clock back in a checkpoint, by whoever has the key", func(_ *testing.T, r *rig) {
		c := &r.store.checkpoints[2]
		c.At = At(c.At.Add(-time.Hour))
		r.o.Signer.sign(c)
	}, ClockBack, "checkpoint 3"},
	{"edit a checkpoint", func(_ *testing.T, r *rig) { r.store.checkpoints[1].Heads[0].Hash[0] ^= 1 }, Edited, "checkpoint 2"},
	{"hide a head", func(_ *testing.T, r *rig) { r.store.checkpoints[2].only("b") }, Hiding, "checkpoint 3"},
	{"forge a checkpoint", func(_ *testing.T, r *rig) {
		c := &r.store.checkpoints[2]
		mine := forger(c)
		c.Key = r.Public().ID()
		c.Hash = c.sum()
		c.Signature = ed25519.Sign(mine.private, statement(c.Number, c.Hash))
	}, Forged, "checkpoint 3"},
	{"sign with another key", func(_ *testing.T, r *rig) { forger(&r.store.checkpoints[2]) }, WrongKey, "checkpoint 3"},
	{"rewrite it all", func(_ *testing.T, r *rig) {
		r.store.entries[r.store.at("a", 1)].Result = Failed
		rehash(r.store, "a")
		resign(r.store, forger(new(Checkpoint)))
	}, WrongKey, "checkpoint 1"},
}

// forger signs a checkpoint with a key of its own.
func forger(c *Checkpoint) *Signer {
	s := &Signer{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))}
	s.sign(c)
	return s
}

// resign makes all checkpoints anew.
func resign(m *Memory, s *Signer) {
	var prev Hash
	for i := range m.checkpoints {
		c := &m.checkpoints[i]
		for j := range c.Heads {
			h := &c.Heads[j]
			h.Hash = m.entries[m.at(h.Org, h.Seq)].Hash
		}
		c.Prev = prev
		s.sign(c)
		prev = c.Hash
	}
}

// Whatever is done to a store is found, with the place. What can be told from an export of it is found there, too.
func TestTampered(t *testing.T) {
	for _, test := range tampers {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.fill(t)
			test.do(t, r)
			got := r.verifyStore(t)
			if !got.has(test.fault, test.where) {
				t.Errorf("want %s at %q, got\n%s", test.fault, test.where, texts(got.Findings))
			}
			if len(got.Findings) > 12 {
				t.Errorf("%d findings of one deed:\n%s", len(got.Findings), texts(got.Findings))
			}
			for i := range got.Findings {
				t.Log(got.Findings[i].String())
			}
		})
	}
}

// Who has the database and the private key can rewrite what no anchor has seen; and who only has the database can take away what
// no anchor has seen.
func TestAnchors(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(*rig)
		fault Fault
		where string
	}{
		{"truncate both tables", func(r *rig) {
			i := r.store.at("a", 5)
			r.store.entries = slices.Delete(r.store.entries, i, i+1)
			r.store.checkpoints = r.store.checkpoints[:2]
		}, Truncated, "checkpoint 3: the anchor knows it"},
		{"rewrite it all with the private key", func(r *rig) {
			r.store.entries[r.store.at("a", 3)].Result = Failed
			rehash(r.store, "a")
			resign(r.store, r.o.Signer)
		}, Rewritten, "checkpoint 2: the anchor knows it with another hash"},
		{"an empty database", func(r *rig) { *r.store = *NewMemory() }, Truncated, "checkpoint 1: the anchor knows it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.fill(t)
			log := "{\"msg\":\"something else\"}\nplain text \"signature\"\n" + r.anchor.String()
			anchors, err := ReadAnchors(strings.NewReader(log))
			if err != nil || len(anchors) != 3 {
				t.Fatalf("%d anchors, %v", len(anchors), err)
			}
			test.do(r)
			if got := r.verifyStore(t); test.name != "an empty database" && !got.OK() {
				t.Fatalf("it should not be found without the anchor:\n%s", texts(got.Findings))
			}
			if got := r.verifyStore(t, anchors...); !got.has(test.fault, test.where) {
				t.Errorf("want %s at %q, got\n%s", test.fault, test.where, texts(got.Findings))
			}
		})
	}
	t.Run("a forged anchor", func(t *testing.T) {
		r := newRig(t)
		r.fill(t)
		a := r.store.checkpoints[2].anchor()
		a.Hash[0] ^= 1
		if got := r.verifyStore(t, a); !got.has(Forged, "checkpoint 3: the anchor's line") {
			t.Error(texts(got.Findings))
		}
	})
}

// Every byte and every line of an export is covered: no single change of one goes unseen.
func TestExportIsCovered(t *testing.T) {
	r := newRig(t)
	r.record(t, event("", "root", 1), event("a", "ann", 2))
	r.checkpoint(t)
	r.record(t, event("a", "ann", 3))
	r.checkpoint(t)
	org := "a"
	for name, f := range map[string]ExportFilter{"all": {}, "sealed": {Sealed: true}, "one chain": {Org: &org}} {
		text := r.export(t, f)
		if got := r.verifyFile(t, text); !got.OK() {
			t.Fatal(texts(got.Findings))
		}
		seen := 0
		try := func(what string, changed []byte) {
			if bytes.Equal(changed, text) {
				return
			}
			seen++
			if r.verifyFile(t, changed).OK() {
				t.Errorf("%s: %s is not found", name, what)
			}
		}
		step := 3
		if name != "all" || testing.Short() {
			step = 29 // most of it is the same
		}
		for i := 0; i < len(text); i += step {
			changed := bytes.Clone(text)
			for _, b := range []byte{text[i] ^ 1, text[i] ^ 0x20, ' '} {
				changed[i] = b
				try(fmt.Sprintf("byte %d made %q", i, b), changed)
			}
			try(fmt.Sprintf("byte %d taken out", i), slices.Delete(bytes.Clone(text), i, i+1))
			try(fmt.Sprintf("a blank before byte %d", i), slices.Insert(bytes.Clone(text), i, ' '))
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		lines = lines[:len(lines)-1]
		join := func(list [][]byte) []byte { return bytes.Join(list, nil) }
		for i := range lines {
			try(fmt.Sprintf("line %d taken out", i), join(slices.Delete(slices.Clone(lines), i, i+1)))
			try(fmt.Sprintf("line %d twice", i), join(slices.Insert(slices.Clone(lines), i, lines[i])))
			for j := range lines {
				swapped := slices.Clone(lines)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				try(fmt.Sprintf("lines %d and %d swapped", i, j), join(swapped))
				moved := slices.Insert(slices.Delete(slices.Clone(lines), i, i+1), min(j, len(lines)-1), lines[i])
				try(fmt.Sprintf("line %d moved to %d", i, j), join(moved))
			}
		}
		t.Logf("%s: %d changes, each found", name, seen)
	}
}

// The export of another gateway is not this one's, and that of one chain is not another's, whatever they are called.
func TestSwappedFiles(t *testing.T) {
	r, other := newRig(t), newRig(t)
	other.o.Signer = &Signer{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))}
	r.fill(t)
	other.fill(t)
	if got := r.verifyFile(t, other.export(t, ExportFilter{})); !got.has(WrongKey, "checkpoint 1") {
		t.Error(texts(got.Findings))
	}
	a, b := "a", "b"
	mixed := append(r.export(t, ExportFilter{Org: &a}), r.export(t, ExportFilter{Org: &b})...)
	if got := r.verifyFile(t, mixed); got.OK() {
		t.Error("two exports are taken for one")
	}
}

// The end of a chain cannot be taken away by hiding in later checkpoints that there was more.
func TestHiddenEnd(t *testing.T) {
	r := newRig(t)
	r.fill(t)
	var out []byte
	for text := range bytes.SplitAfterSeq(r.export(t, ExportFilter{}), []byte("\n")) {
		l, err := parseLine(bytes.TrimSuffix(text, []byte("\n")))
		if err != nil {
			continue
		}
		if e := l.Entry; e != nil && e.Org == "a" && e.Seq == 5 {
			continue
		}
		if c := l.Checkpoint; c != nil && c.Number == 3 {
			c.only("b")
		}
		text, err := l.marshal()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text...)
	}
	if got := r.verifyFile(t, out); len(got.Findings) != 1 || !got.has(Hiding, "checkpoint 3") {
		t.Error(texts(got.Findings))
	}
}

// FuzzVerifyFile: whatever a file holds, there is an answer; and what is found to be whole is in the one form that exports have.
func FuzzVerifyFile(f *testing.F) {
	r := newRig(f)
	r.fill(f)
	org := "a"
	for _, filter := range []ExportFilter{{}, {Sealed: true}, {Org: &org}} {
		f.Add(r.export(f, filter))
	}
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"entry":{"v":1}}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got := r.verifyFile(t, text)
		if !got.OK() {
			return
		}
		for part := range bytes.SplitAfterSeq(text, []byte("\n")) {
			if _, err := parseLine(bytes.TrimSuffix(part, []byte("\n"))); len(part) > 0 && err != nil {
				t.Errorf("verified, but not in form: %q", part)
			}
		}
	})
}

// FuzzReadAnchors: whatever an anchor file holds, reading it ends.
func FuzzReadAnchors(f *testing.F) {
	r := newRig(f)
	r.fill(f)
	f.Add(r.anchor.Bytes())
	f.Add([]byte(`{"number":1,"signature":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ReadAnchors(bytes.NewReader(text))
		if err != nil {
			return
		}
		for i := range list {
			if list[i].Number == 0 {
				t.Error("an anchor of no checkpoint")
			}
		}
	})
}

// FuzzParseCursor: a place that is taken is written as it came.
func FuzzParseCursor(f *testing.F) {
	f.Add((&Cursor{At: At(time.UnixMicro(1)), Org: "a", Seq: 7}).String())
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseCursor(text); err == nil && c.String() != text {
			t.Errorf("%q is written as %q", text, c)
		}
	})
}

func TestPublicKeyText(t *testing.T) {
	r := newRig(t)
	k, err := ParsePublicKey(r.Public().String() + "\n")
	if err != nil || k.ID() != r.Public().ID() {
		t.Errorf("%v, %v", k, err)
	}
	for _, bad := range []string{"", keyPrefix, keyPrefix + "AAAA", r.Public().String() + "A", rigSeed + "="} {
		if k, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%q: %v", bad, k)
		}
	}
	for _, bad := range []string{"", "changeme", rigSeed[:40]} {
		if _, err := NewSigner(bad); err == nil {
			t.Errorf("seed %q is taken", bad)
		}
	}
	if a, b := NewSeed(), NewSeed(); a == b {
		t.Error("the same key twice")
	}
}
