package usage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/internal/llm"
	"sluice/internal/usage/wal"
)

// A shipper follows the log and brings the ends of calls to the store, with the calls that are open at each
// step. So the store always has a snapshot, and the log goes on from there.
type shipper struct {
	j      *Journal
	reader *wal.Reader
	wake   chan struct{}

	open    map[uint64]*begun // by the position of the intent
	touched []*begun          // since the last batch
	batch   Batch
	rows    rowReader
	most    int // rows of the batch

	after uint64 // the position of the last batch, as the store knows it
	heard time.Time
	kept  time.Time // when Prepare and Retain ran
	asked time.Time // when Claim ran
}

// begun is an open call: as the log has it until the batch is made, as the store gets it from then on.
type begun struct {
	at           uint64
	intent, mark []byte // records in the log, new since the last batch
	open         *Open
	touched      bool
	ended        bool
}

func newShipper(j *Journal) *shipper {
	return &shipper{j: j, reader: j.log.Reader(0), wake: make(chan struct{}, 1), open: map[uint64]*begun{}, rows: rowReader{names: names{}}, most: j.o.Batch}
}

// crowdedBatch is how many rows a batch has at most while others wait for the store: some 1.5 ms.
const crowdedBatch = 128

// yield makes room for others at the store: one of them waits for a small batch at most, and as soon as nobody has waited, batches grow
// again, as a row costs half as much in large ones.
func (s *shipper) yield() {
	s.most = min(2*s.most, s.j.o.Batch)
	if s.j.o.Crowded() {
		s.most = min(crowdedBatch, s.j.o.Batch)
	}
}

// full tells whether the batch has what it may have.
func (s *shipper) full() bool { return len(s.batch.Rows) >= s.most || len(s.touched) >= 4*s.most }

func (s *shipper) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *shipper) run(ctx context.Context) {
	if s.join(ctx, true) != nil {
		return
	}
	close(s.j.joined)
	for ctx.Err() == nil {
		s.housekeeping(ctx)
		full := s.collect(ctx)
		if s.send(ctx) != nil {
			return
		}
		if !full {
			s.pause(ctx)
		}
	}
}

// collect reads what the log has until a batch is full or its time is over, and tells which.
func (s *shipper) collect(ctx context.Context) (full bool) {
	var due <-chan time.Time
	for {
		for !s.full() {
			pos, payload, ok := s.reader.Next()
			if !ok {
				break
			}
			s.read(pos, payload)
		}
		switch {
		case s.full():
			return true
		case s.reader.Passed() == s.after, s.j.hurry.Load() > 0 && !s.behind():
			return false
		case due == nil:
			t := time.NewTimer(s.j.o.Wait)
			defer t.Stop()
			due = t.C
		}
		select {
		case <-ctx.Done():
			return false
		case <-due:
			return false
		case <-s.wake:
		case <-s.reader.Wait():
		}
	}
}

// behind tells whether there is more to be read.
func (s *shipper) behind() bool { return s.reader.Passed() < s.j.log.Synced() }

// pause waits for more.
func (s *shipper) pause(ctx context.Context) {
	if s.behind() {
		return
	}
	tick := time.Second
	if s.j.retryLate() > 0 {
		tick = 100 * time.Millisecond
	}
	t := time.NewTimer(tick)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-s.reader.Wait():
	case <-t.C:
	}
}

// read takes in a record.
func (s *shipper) read(pos uint64, payload []byte) {
	switch kindOf(payload) {
	case recordIntent:
		s.touch(&begun{at: pos, intent: payload})
	case recordProgress:
		if b := s.open[intentAt(payload)]; b != nil {
			b.mark = payload
			s.touch(b)
		}
	case recordFinal:
		row, err := s.batch.take(payload, &s.rows)
		if err != nil {
			s.j.unreadable(pos, err)
			s.batch.drop()
			return
		}
		at := intentAt(payload)
		b := s.open[at]
		if b != nil {
			b.ended = true
			delete(s.open, at)
		}
		if s.j.others(row.RequestID) {
			s.j.o.Log.Warn("ledger claimed", "request_id", row.RequestID, "position", pos)
			s.batch.drop()
			return
		}
		row.Position = pos
		if b == nil || b.open != nil {
			s.batch.Ended = append(s.batch.Ended, row.RequestID)
		}
	default:
		s.j.o.Log.Warn("ledger record of an unknown kind", "position", pos)
	}
}

func (s *shipper) touch(b *begun) {
	s.open[b.at] = b
	if !b.touched {
		b.touched = true
		s.touched = append(s.touched, b)
	}
}

// decodeOpen brings an open call up to what the log says, and keeps nothing of the log.
func (s *shipper) decodeOpen(b *begun) error {
	if b.open == nil {
		rec, err := decode(b.intent)
		if err != nil {
			return err
		}
		b.open = &Open{Replica: s.j.Replica(), Position: b.at, Intent: *rec.intent}
	}
	if b.mark != nil {
		rec, err := decode(b.mark)
		if err != nil {
			return err
		}
		o := *b.open // the store may still read the other one
		o.Mark = rec.mark
		b.open = &o
	}
	b.intent, b.mark = nil, nil
	return nil
}

// send ships what was collected, however long it takes.
func (s *shipper) send(ctx context.Context) error {
	b := &s.batch
	passed := s.reader.Passed()
	if passed > s.after {
		b.Replica, b.After, b.Position = s.j.Replica(), s.after, passed
		for i := range b.Rows {
			b.Rows[i].Replica = b.Replica
		}
		for _, t := range s.touched {
			t.touched = false
			if t.ended {
				continue
			}
			if err := s.decodeOpen(t); err != nil {
				s.j.unreadable(t.at, err)
				delete(s.open, t.at)
				continue
			}
			b.Open = append(b.Open, *t.open)
		}
		if err := s.deliver(ctx); err != nil {
			return err
		}
		s.yield()
		s.after, s.heard = passed, time.Now()
		s.reader.Done(passed)
		b.clear()
		s.touched = s.touched[:0]
		s.j.move(func() { s.j.shipped, s.j.open = passed, len(s.open) })
	}
	if !s.j.replayed.Load() && passed >= s.j.log.Born() {
		s.closeOrphans()
		s.j.replayed.Store(true)
		s.j.move(func() {})
	}
	return nil
}

// deliver gives the batch to the store until it takes it.
func (s *shipper) deliver(ctx context.Context) error {
	return s.j.retry(ctx, "ship", func() error {
		err := s.j.o.Store.Ship(ctx, &s.batch)
		if errors.Is(err, ErrGone) {
			if err := s.join(ctx, false); err != nil {
				return err
			}
			s.forget()
			err = s.j.o.Store.Ship(ctx, &s.batch)
		}
		s.note(err)
		return err
	})
}

// note keeps the store's trouble for Stats.
func (s *shipper) note(err error) {
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	if err != nil && s.j.trouble == nil {
		s.j.since = time.Now()
	}
	s.j.trouble = err
}

// join tells the store that this replica lives, and learns where it stands. At the start the journal goes on
// from there.
func (s *shipper) join(ctx context.Context, start bool) error {
	var st Standing
	renamed := false
	err := s.j.retry(ctx, "join", func() (err error) {
		st, err = s.j.o.Store.Join(ctx, s.j.Replica())
		if err == nil && start && st.Shipped > s.j.log.Born() {
			// The store has records that this log does not: the disk is an older copy. Its positions are not
			// those that others know by this name.
			s.j.o.Log.Error("ledger log is older than the store", "replica", s.j.Replica(), "log", s.j.log.Born(), "store", st.Shipped)
			if _, err = s.j.log.Rename(); err == nil {
				renamed = true
				err = fmt.Errorf("going on as %s", s.j.Replica())
			}
		}
		s.note(err)
		return err
	})
	if err != nil {
		return err
	}
	s.heard = time.Now()
	s.j.mu.Lock()
	for _, id := range st.Claimed {
		s.j.claimed[id] = true
	}
	s.j.mu.Unlock()
	if !start {
		return nil
	}
	from := st.Shipped
	if renamed { // what is older is accounted for under the old name
		from = s.j.log.Born()
		s.j.move(func() { s.j.first = from })
	}
	if at := s.reader.Seek(from); at > from {
		s.j.o.Log.Error("ledger records are missing", "after", from, "before", at+1)
	}
	s.after = st.Shipped
	for i := range st.Open {
		o := &st.Open[i]
		s.open[o.Position] = &begun{at: o.Position, open: o}
	}
	s.j.move(func() { s.j.shipped, s.j.open = from, len(s.open) })
	return nil
}

// forget takes out of the batch and of what is open what others have closed meanwhile.
func (s *shipper) forget() {
	others := func(id string) bool { return s.j.others(id) }
	s.batch.keep(func(i int) bool { return !others(s.batch.Rows[i].RequestID) })
	s.batch.Open = slices.DeleteFunc(s.batch.Open, func(o Open) bool { return others(o.RequestID) })
	s.batch.Ended = slices.DeleteFunc(s.batch.Ended, others)
	for at, b := range s.open {
		if b.open != nil && others(b.open.RequestID) {
			delete(s.open, at)
		}
	}
}

// closeOrphans ends the calls that earlier processes on this log began and did not end.
func (s *shipper) closeOrphans() {
	var list []*Open
	for _, b := range s.open {
		if b.at <= s.j.log.Born() {
			list = append(list, b.open)
		}
	}
	slices.SortFunc(list, func(a, b *Open) int { return int(a.Position) - int(b.Position) })
	for _, o := range list {
		s.endOrphan(o, o.Position)
	}
	if len(list) > 0 {
		s.j.o.Log.Warn("ledger closed calls of an earlier process", "calls", len(list))
	}
}

// endOrphan writes down the end of a call of which nothing more will be heard.
func (s *shipper) endOrphan(o *Open, at uint64) {
	f := orphan(o)
	f.at = at
	record := appendFinal(nil, &f)
	if _, err := s.j.log.Append(record, 0, 0); err != nil {
		s.j.keepLate(late{record, 0}, err)
	}
}

// orphan makes the end of a call from what is known of it: its last mark, or the input that it was to have.
func orphan(o *Open) final {
	f := final{row: Row{Call: o.Call}, counters: o.Counters}
	if r := &f.row; o.Mark != nil {
		r.Mark = *o.Mark
	} else {
		if o.Input > 0 { // else nobody reckoned it: no rule held for the call
			r.Usage.Input = llm.Tokens(o.Input)
		}
		r.Costs.Input, r.PriceVersion = o.InputCost, o.Price
		r.Estimated, r.Partial = true, true
	}
	return f
}

// housekeeping does what has its time.
func (s *shipper) housekeeping(ctx context.Context) {
	now := time.Now()
	if now.Sub(s.kept) >= time.Hour {
		s.kept = now
		if err := s.j.o.Store.Prepare(ctx, now); err != nil {
			s.kept = time.Time{}
			s.j.o.Log.Error("ledger prepare", "error", err)
		}
		if keep := s.j.o.Keep; keep > 0 {
			if err := s.j.o.Store.Retain(ctx, now.Add(-keep), now.Add(-5*keep)); err != nil {
				s.j.o.Log.Error("ledger retain", "error", err)
			}
		}
	}
	if now.Sub(s.heard) >= s.j.o.Gone/4 {
		_ = s.join(ctx, false)
	}
	if now.Sub(s.asked) >= s.j.o.Gone/2 && s.j.rests() {
		s.asked = now
		s.claim(ctx)
	}
}

// rests tells whether all that is written down is in the store and settled.
func (j *Journal) rests() bool {
	if !j.replayed.Load() || j.queued.Load() > 0 || j.retryLate() > 0 {
		return false
	}
	s := j.Stats()
	return s.Shipped >= s.Last && s.Settled >= s.Last && !j.rewind.Load()
}

// claim ends the open calls of replicas that are gone. It is called when all that this one has written is in
// the store and settled, so no call is ended twice.
func (s *shipper) claim(ctx context.Context) {
	list, err := s.j.o.Store.Claim(ctx, s.j.Replica(), s.j.o.Gone)
	if err != nil {
		s.j.o.Log.Error("ledger claim", "error", err)
		return
	}
	for i := range list {
		s.j.move(func() { delete(s.j.claimed, list[i].RequestID) }) // others had it, and it came back
		s.j.o.Log.Warn("ledger closed a call of a replica that is gone", "request_id", list[i].RequestID, "replica", list[i].Replica)
		s.endOrphan(&list[i], 0)
	}
}
