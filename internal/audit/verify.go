package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Fault is what kind of thing somebody did to a log.
type Fault string

// Faults.
const (
	Edited    Fault = "edited"     // the content of an entry or checkpoint is not the one that was hashed
	Missing   Fault = "missing"    // entries or checkpoints between others are gone
	Truncated Fault = "truncated"  // the newest are gone
	Misplaced Fault = "misplaced"  // something stands where it does not belong: it was moved, copied or put in
	Broken    Fault = "broken"     // something does not follow what stands before it: one of them was replaced
	Rewritten Fault = "rewritten"  // the hashes hold together, but a signed checkpoint or an anchor knows others
	Uncovered Fault = "uncovered"  // no checkpoint covers entries: they were put in, or the checkpoint was taken away
	ClockBack Fault = "clock_back" // something says it is older than what stands before it
	Forged    Fault = "forged"     // a checkpoint is not signed by the key that it names
	WrongKey  Fault = "wrong_key"  // a checkpoint is signed by a key that was not given: of another gateway, or somebody's
	Content   Fault = "content"    // what stands beside a sealed part is not what is sealed
	Hiding    Fault = "hiding"     // the head of a chain is hidden that the export is about
	Malformed Fault = "malformed"  // bytes that are not a line of an export
)

// A Finding is one thing that is wrong.
type Finding struct {
	Fault      Fault  `json:"fault"`
	Line       int    `json:"line,omitzero"` // of a file, from 1
	Chain      string `json:"chain,omitzero"`
	Seq        uint64 `json:"seq,omitzero"`        // of the entry
	Checkpoint uint64 `json:"checkpoint,omitzero"` // its number
	Text       string `json:"text"`                // what it means
}

func (f *Finding) String() string {
	where := []string{}
	if f.Line > 0 {
		where = append(where, fmt.Sprintf("line %d", f.Line))
	}
	if f.Seq > 0 {
		where = append(where, fmt.Sprintf("chain %s, entry %d", ChainLabel(f.Chain), f.Seq))
	}
	if f.Checkpoint > 0 {
		where = append(where, fmt.Sprintf("checkpoint %d", f.Checkpoint))
	}
	if len(where) == 0 {
		return fmt.Sprintf("%s: %s", f.Fault, f.Text)
	}
	return fmt.Sprintf("%s: %s: %s", f.Fault, strings.Join(where, ", "), f.Text)
}

// ChainLabel is what people call a chain.
func ChainLabel(org string) string {
	if org == "" {
		return "of the gateway itself"
	}
	return fmt.Sprintf("%q", org)
}

// mostFindings bounds a report: whoever has seen so many knows enough.
const mostFindings = 200

// A Report is what a verification found.
type Report struct {
	Findings    []Finding     `json:"findings"`
	More        int           `json:"more_findings,omitzero"` // beside those
	Chains      []ChainReport `json:"chains"`
	Hidden      int           `json:"hidden_chains"` // chains of others, which are not in the export
	Checkpoints int           `json:"checkpoints"`
	First       Time          `json:"first_checkpoint_at,omitzero"`
	Last        Anchor        `json:"last_checkpoint,omitzero"`
	Anchored    int           `json:"anchored"` // checkpoints that anchors know, too
	Readable    int           `json:"readable"` // sealed parts that were opened and are as they are told
	Sealed      int           `json:"sealed"`   // sealed parts without their keys: redacted, or left out
	Waiting     int           `json:"waiting"`  // of a store: new entries, for the next checkpoint
}

// A ChainReport is what a chain has.
type ChainReport struct {
	Chain   string `json:"chain"`
	Entries int    `json:"entries"`
	Seq     uint64 `json:"seq"` // of the last
	At      Time   `json:"at,omitzero"`
	Hash    Hash   `json:"hash"`
}

// OK tells that nothing is wrong, as far as it can be told.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// VerifyOptions say what is known beside the log itself.
type VerifyOptions struct {
	Keys    []PublicKey
	Anchors []Anchor
	Now     time.Time // for stores: entries that are much older must be covered
}

// grace is how old an entry of a store may be that no checkpoint covers.
const grace = 10 * time.Minute

// A chain is what is known of one so far.
type chain struct {
	Head
	entries int
	covered uint64 // up to here a checkpoint has it
}

type verifier struct {
	o       VerifyOptions
	keys    map[string]PublicKey
	anchors map[uint64][]Anchor
	chains  map[string]*chain
	names   map[Hash]string // of those chains
	hidden  map[Hash]bool
	fresh   map[string]bool // chains that have grown since the last checkpoint
	last    *Checkpoint
	before  *Entry // the line before, if it is one
	report  Report
	at      int // the line; 0: there are none
}

func newVerifier(o VerifyOptions) *verifier {
	v := &verifier{
		o: o, keys: map[string]PublicKey{}, anchors: map[uint64][]Anchor{}, chains: map[string]*chain{}, names: map[Hash]string{},
		hidden: map[Hash]bool{}, fresh: map[string]bool{},
	}
	v.report.Findings, v.report.Chains = []Finding{}, []ChainReport{}
	for _, k := range o.Keys {
		v.keys[k.ID()] = k
	}
	for i, a := range o.Anchors {
		if k := v.keys[a.Key]; k == nil || !k.verify(a.Number, a.Hash, a.Signature) {
			v.find(Finding{Fault: Forged, Checkpoint: a.Number, Text: fmt.Sprintf("the anchor's line about it, the %d. of all, is not signed by a key that was given: somebody else wrote it, or it was changed", i+1)})
			continue
		}
		v.anchors[a.Number] = append(v.anchors[a.Number], a)
	}
	return v
}

func (v *verifier) find(f Finding) {
	f.Line = v.at
	if len(v.report.Findings) == mostFindings {
		v.report.More++
		return
	}
	v.report.Findings = append(v.report.Findings, f)
}

// VerifyFile verifies an export. Nothing is needed beside it but the public key.
func VerifyFile(r io.Reader, o VerifyOptions) (*Report, error) {
	v := newVerifier(o)
	lines := newLineReader(r)
	for {
		text, err := lines.next()
		if err == io.EOF {
			break
		}
		v.at++
		if err == errForm { //nolint:errorlint // it is ours
			v.find(Finding{Fault: Malformed, Text: "the line is too long or has no end: the file was cut off, or is no export"})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read export: %w", err)
		}
		l, err := parseLine(text)
		if err != nil {
			v.find(Finding{Fault: Malformed, Text: "the line is not as exports are written: it was changed, or is no line of an export"})
			continue
		}
		v.take(l)
	}
	v.at = 0
	for _, org := range slices.Sorted(maps.Keys(v.fresh)) {
		v.uncovered(org, "no checkpoint follows them: entries were put in at the end, or the checkpoint that covers them was taken away")
	}
	return v.end(), nil
}

// VerifyStore verifies what is in a store.
func VerifyStore(ctx context.Context, s Store, o VerifyOptions) (*Report, error) {
	v := newVerifier(o)
	take := func(l line) error { v.take(l); return nil }
	until, err := newest(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if err := walk(ctx, s, nil, until, take); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	chains, err := s.Chains(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	for i := range chains {
		org := chains[i].Org
		if err := walkChain(ctx, s, org, v.chain(org).Seq, all, take); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	for _, org := range slices.Sorted(maps.Keys(v.fresh)) {
		c := v.chains[org]
		if o.Now.Sub(c.At.Time) > grace {
			v.uncovered(org, fmt.Sprintf("no checkpoint covers them, though the last is older than %v: checkpoints were taken away, or no gateway has run since", grace))
			continue
		}
		v.report.Waiting += int(c.Seq - c.covered)
	}
	return v.end(), nil
}

// uncovered finds that a chain's newest entries are in no checkpoint.
func (v *verifier) uncovered(org, why string) {
	c := v.chains[org]
	v.find(Finding{Fault: Uncovered, Chain: org, Seq: c.covered + 1, Text: fmt.Sprintf("entries %d to %d: %s", c.covered+1, c.Seq, why)})
}

// end closes the report.
func (v *verifier) end() *Report {
	var number uint64
	if v.last != nil {
		number = v.last.Number
		v.report.Last = v.last.anchor()
	} else if v.report.Waiting == 0 {
		v.find(Finding{Fault: Truncated, Text: "there is no checkpoint: this proves nothing"})
	}
	for _, n := range slices.Sorted(maps.Keys(v.anchors)) {
		if n > number {
			v.find(Finding{Fault: Truncated, Checkpoint: n, Text: fmt.Sprintf("the anchor knows it, made at %s, but the log ends before it, at checkpoint %d: entries and checkpoints after that were taken away, or the log is an older one", v.anchors[n][0].At, number)})
			break
		}
	}
	for _, org := range slices.Sorted(maps.Keys(v.chains)) {
		c := v.chains[org]
		v.report.Chains = append(v.report.Chains, ChainReport{org, c.entries, c.Seq, c.At, c.Hash})
	}
	v.report.Hidden = len(v.hidden)
	return &v.report
}

func (v *verifier) chain(org string) *chain {
	c := v.chains[org]
	if c == nil {
		c = &chain{Head: Head{Org: org}}
		v.chains[org] = c
		name := chainName(org)
		v.names[name] = org
		if v.hidden[name] {
			v.find(Finding{Fault: Hiding, Chain: org, Text: "an earlier checkpoint hides the head of this chain, " + ChainLabel(org)})
		}
	}
	return c
}

func (v *verifier) take(l line) {
	if l.Checkpoint != nil {
		v.checkpoint(l.Checkpoint)
		v.before = nil
		return
	}
	v.entry(l.Entry)
	v.before = l.Entry
}

// entry verifies that an entry is whole and follows the one before it.
func (v *verifier) entry(e *Entry) {
	c := v.chain(e.Org)
	find := func(f Fault, format string, args ...any) {
		v.find(Finding{Fault: f, Chain: e.Org, Seq: e.Seq, Text: fmt.Sprintf(format, args...)})
	}
	if v.before != nil && e.Org < v.before.Org {
		find(Misplaced, "it stands after an entry of the chain %s: lines were moved", ChainLabel(v.before.Org))
	}
	whole := e.Version == Version && e.sum() == e.Hash
	if !whole {
		find(Edited, "its content does not make its hash: it was changed after it was written")
	}
	switch {
	case e.Seq == 0:
		find(Misplaced, "an entry with the number 0 of chain %s: it was put in", ChainLabel(e.Org))
		return
	case e.Seq <= c.Seq:
		find(Misplaced, "it stands after entry %d: it was moved, copied or put in", c.Seq)
		return // what is known of the chain stays
	case e.Seq > c.Seq+1:
		find(Missing, "%s", missing("entries", c.Seq+1, e.Seq-1))
	case e.Prev != c.Hash && whole:
		find(Broken, "it does not follow entry %d as that stands here: one of them was replaced", c.Seq)
	}
	if e.At.Before(c.At.Time) {
		find(ClockBack, "its time, %s, is before that of entry %d, %s: a gateway never writes that", e.At, c.Seq, c.At)
	}
	v.part(e, "said", &e.Said)
	v.part(e, "changed", &e.Changed)
	c.Seq, c.Hash, c.At = e.Seq, e.Hash, e.At
	c.entries++
	v.fresh[e.Org] = true
}

func missing(what string, from, until uint64) string {
	if from == until {
		return fmt.Sprintf("number %d of the %s before it is missing: it was deleted", from, what)
	}
	return fmt.Sprintf("numbers %d to %d of the %s before it are missing: they were deleted", from, until, what)
}

// part verifies that what is told of a sealed part is in it.
func (v *verifier) part(e *Entry, name string, s *Sealed) {
	switch {
	case s.Key == "":
		return
	case s.Open == nil && s.Plain == nil:
		v.report.Sealed++
		return
	}
	plain, err := open(s.Open, s.Data)
	if err != nil || !bytes.Equal(plain, s.Plain) {
		v.find(Finding{Fault: Content, Chain: e.Org, Seq: e.Seq, Text: fmt.Sprintf("what stands in %q in plain, or its key, is not what is sealed there: it was changed", name)})
		return
	}
	v.report.Readable++
}

// checkpoint verifies that a checkpoint is signed, follows the one before it, and states the heads that are here.
func (v *verifier) checkpoint(c *Checkpoint) {
	find := func(f Fault, format string, args ...any) {
		v.find(Finding{Fault: f, Checkpoint: c.Number, Text: fmt.Sprintf(format, args...)})
	}
	v.signed(c, find)
	var last Checkpoint
	if v.last != nil {
		last = *v.last
	}
	switch {
	case c.Number <= last.Number:
		find(Misplaced, "it stands after checkpoint %d: it was moved, copied or put in", last.Number)
		return
	case c.Number > last.Number+1:
		find(Missing, "%s", missing("checkpoints", last.Number+1, c.Number-1))
	case c.Prev != last.Hash:
		find(Broken, "it does not follow checkpoint %d as that stands here: one of them was replaced", last.Number)
	}
	if c.At.Before(last.At.Time) {
		find(ClockBack, "its time, %s, is before that of checkpoint %d, %s: a gateway never writes that", c.At, last.Number, last.At)
	}
	for _, a := range v.anchors[c.Number] {
		if a.Hash != c.Hash {
			find(Rewritten, "the anchor knows it with another hash, %s, made at %s: from the checkpoint before it on, the log was replaced", a.Hash, a.At)
			continue
		}
		v.report.Anchored++
	}
	for i := range c.Heads {
		v.head(c, &c.Heads[i], find)
	}
	for _, org := range slices.Sorted(maps.Keys(v.fresh)) {
		v.uncovered(org, fmt.Sprintf("checkpoint %d, which follows them, does not know them: they were put in or moved", c.Number))
		v.chains[org].covered = v.chains[org].Seq
	}
	clear(v.fresh)
	for i := range c.Others {
		v.hidden[c.Others[i].Chain] = true
		if org, here := v.names[c.Others[i].Chain]; here {
			find(Hiding, "it hides the head of chain %s, which is in this export: its end may be missing", ChainLabel(org))
		}
	}
	if v.last == nil {
		v.report.First = c.At
	}
	v.last = c
	v.report.Checkpoints++
}

// signed verifies a checkpoint by itself.
func (v *verifier) signed(c *Checkpoint, find func(Fault, string, ...any)) {
	key := v.keys[c.Key]
	switch {
	case c.Version != Version || c.sum() != c.Hash || !c.ordered():
		find(Edited, "its content does not make its hash: it was changed after it was written")
	case key == nil:
		find(WrongKey, "it is signed by the key %s, which was not given: it is another gateway's, or somebody made it who has not the private key", c.Key)
	case !key.verify(c.Number, c.Hash, c.Signature):
		find(Forged, "its signature is not of the key that it names: somebody made it who has not the private key")
	}
}

// ordered tells whether the lists are in their one order, which the hash does not depend on.
func (c *Checkpoint) ordered() bool {
	for i := 1; i < len(c.Heads); i++ {
		if c.Heads[i-1].Org >= c.Heads[i].Org {
			return false
		}
	}
	for i := 1; i < len(c.Others); i++ {
		if bytes.Compare(c.Others[i-1].Chain[:], c.Others[i].Chain[:]) >= 0 {
			return false
		}
	}
	return true
}

// head verifies that a chain is what a checkpoint says, and goes on with what that says.
func (v *verifier) head(c *Checkpoint, h *Head, find func(Fault, string, ...any)) {
	mine := v.chain(h.Org)
	label := ChainLabel(h.Org)
	switch {
	case h.Seq <= mine.covered:
		find(Broken, "it states entry %d as the newest of chain %s, of which an earlier checkpoint knew entry %d", h.Seq, label, mine.covered)
	case mine.Seq < h.Seq:
		v.find(Finding{Fault: Truncated, Chain: h.Org, Seq: mine.Seq + 1, Checkpoint: c.Number, Text: fmt.Sprintf("entries %d to %d are missing, which the checkpoint covers: the end of the chain was taken away", mine.Seq+1, h.Seq)})
	case mine.Seq > h.Seq:
		v.find(Finding{Fault: Uncovered, Chain: h.Org, Seq: h.Seq + 1, Checkpoint: c.Number, Text: fmt.Sprintf("entries %d to %d stand before the checkpoint, which ends with entry %d: they were put in or moved", h.Seq+1, mine.Seq, h.Seq)})
	case mine.Hash != h.Hash:
		v.find(Finding{Fault: Rewritten, Chain: h.Org, Seq: h.Seq, Checkpoint: c.Number, Text: fmt.Sprintf("the checkpoint has another hash for it: entries from %d to %d were replaced", mine.covered+1, h.Seq)})
	case c.At.Before(mine.At.Time):
		find(ClockBack, "its time, %s, is before that of entry %d of chain %s, which it covers", c.At, mine.Seq, label)
	}
	if mine.Seq <= h.Seq {
		mine.Seq, mine.Hash = h.Seq, h.Hash
	}
	mine.covered = mine.Seq
	delete(v.fresh, h.Org)
}
