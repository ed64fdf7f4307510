package usage

import (
	"context"
	"errors"
	"time"

	"sluice/internal/usage/wal"
)

// A settler follows the log and gives the costs of calls to their budgets' counters.
type settler struct {
	j      *Journal
	reader *wal.Reader
	wake   chan struct{}
	epoch  int64
	first  uint64 // the position at which this process began
	given  uint64 // positions up to here may have been settled before

	older, newer uint64    // what was settled at the last two rounds
	round        time.Time // of newer

	lists    []*Settlements // of this step
	counters []string       // of all of them
	refs     [][]byte       // of one record
	names    names
}

// recall is how far back the settler can go, at least: a counter may have been seeded by another replica a
// little before this one hears that it was lost, and what was shipped in between is not in the seed.
const recall = 10 * time.Second

const mostSettlements = 200

func newSettler(j *Journal) *settler {
	return &settler{j: j, reader: j.log.Reader(0), wake: make(chan struct{}, 1), given: j.log.Born(), names: names{}}
}

func (s *settler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run follows the log. It begins with the oldest record there is: what earlier processes settled is not known, but
// the log has kept all that they did not.
func (s *settler) run(ctx context.Context) {
	if wait(ctx, s.j.joined) != nil {
		return
	}
	s.j.mu.Lock()
	s.first = s.j.first
	s.j.mu.Unlock()
	s.older, s.newer, s.round = s.first, s.first, time.Now()
	s.back(s.first)
	for ctx.Err() == nil {
		if s.j.rewind.Load() {
			s.begin(ctx)
			continue
		}
		more := s.step(ctx)
		s.forget()
		if more {
			continue
		}
		t := time.NewTimer(s.j.o.recall)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-s.reader.Wait():
		case <-t.C:
		}
		t.Stop()
	}
}

// forget lets go of what was settled long enough ago.
func (s *settler) forget() {
	now := time.Now()
	if now.Sub(s.round) < s.j.o.recall {
		return
	}
	s.older, s.newer, s.round = s.newer, s.j.Stats().Settled, now
	s.reader.Done(s.older)
}

// begin goes back to what the store has, and a little further.
func (s *settler) begin(ctx context.Context) {
	epoch := s.j.epoch.Load()
	var shipped uint64
	err := s.j.retry(ctx, "shipped", func() (err error) {
		shipped, err = s.j.o.Store.Shipped(ctx, s.j.Replica())
		return err
	})
	if err != nil {
		return
	}
	s.epoch = epoch
	s.back(max(min(shipped, s.older), s.first))
	s.j.rewind.Store(false)
	if s.j.epoch.Load() != epoch { // and again, meanwhile
		s.j.rewind.Store(true)
	}
	s.j.move(func() {}) // who waits for the log to be settled waits for this, too
}

func (s *settler) back(to uint64) {
	to = s.reader.Seek(to)
	s.j.move(func() { s.j.settled = to })
}

// step settles the next costs, and tells whether there may be more.
func (s *settler) step(ctx context.Context) bool {
	begin := s.reader.Passed()
	more := true
	for n := 0; n < mostSettlements; {
		pos, payload, ok := s.reader.Next()
		if !ok {
			more = false
			break
		}
		if s.take(pos, payload) {
			n++
		}
	}
	passed := s.reader.Passed()
	if passed == begin {
		return false
	}
	defer s.clear()
	for _, list := range s.lists {
		if len(list.List) == 0 {
			continue
		}
		list.Again, list.Epoch = begin < s.given, s.epoch
		err := s.j.retry(ctx, "settle", func() error {
			if s.j.rewind.Load() { // what is asked for now is another thing
				return nil
			}
			err := s.j.o.Settle(ctx, list)
			list.Again = true
			if lost, ok := errors.AsType[*Lost](err); ok {
				s.j.o.Log.Warn("ledger counters lost", "epoch", lost.Epoch)
				s.j.Rewind(lost.Epoch)
				return nil
			}
			return err
		})
		if err != nil || s.j.rewind.Load() {
			return true
		}
	}
	s.given = max(s.given, passed)
	s.j.move(func() { s.j.settled = passed })
	return more
}

// take reads a record and tells whether somebody must be settled for it.
func (s *settler) take(pos uint64, payload []byte) bool {
	if kindOf(payload) != recordFinal {
		return false
	}
	c, err := decodeCost(payload, s.refs[:0])
	s.refs = c.counters
	if err != nil {
		s.j.unreadable(pos, err)
		return false
	}
	if len(c.counters) == 0 {
		return false
	}
	id := string(c.id)
	if s.j.others(id) {
		return false
	}
	from := len(s.counters)
	for _, ref := range c.counters {
		s.counters = append(s.counters, s.names.of(ref))
	}
	list := s.list(s.names.of(c.org))
	list.List = append(list.List, Settlement{ID: id, Position: pos, Counters: s.counters[from:len(s.counters):len(s.counters)], Cost: c.total(), Tokens: c.tokens()})
	return true
}

// list is that of an organisation.
func (s *settler) list(org string) *Settlements {
	for _, list := range s.lists {
		if list.Org == org {
			return list
		}
	}
	s.lists = append(s.lists, &Settlements{Org: org, Replica: s.j.Replica()})
	return s.lists[len(s.lists)-1]
}

// mostLists bounds the organisations whose lists are used again.
const mostLists = 16

// clear forgets what was given.
func (s *settler) clear() {
	clear(s.counters)
	s.counters = s.counters[:0]
	if len(s.lists) > mostLists {
		s.lists = nil
	}
	for _, list := range s.lists {
		clear(list.List)
		list.List = list.List[:0]
	}
}

// names keep one copy of texts that come again and again.
type names map[string]string

const mostNames = 1 << 14

func (n names) of(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := n[string(b)]; ok {
		return s
	}
	if len(n) >= mostNames {
		clear(n)
	}
	s := string(b)
	n[s] = s
	return s
}

// others tells whether a call's end is another replica's.
func (j *Journal) others(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.claimed[id]
}

// unreadable tells of a record that is whole and makes no sense: a bug, or a log of another program.
func (j *Journal) unreadable(pos uint64, err error) {
	j.dropped.Add(1)
	j.o.Log.Error("ledger record", "position", pos, "error", err)
}
