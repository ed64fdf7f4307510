package quota

import "time"

// A held is what a call holds. It lies in one piece: it is touched three times, and each time other calls have had the cache meanwhile.
type held struct {
	id         string // empty: it is over
	in         *tenant
	expires    time.Time
	prev, next *held
	limits     []part  // that are not released yet
	budgets    []share // that are not settled yet
	parts      [2]part // room for as many
	shares     [2]share
}

// A part is what a call has of a limit: of a lease one, or tokens of a pace.
type part struct {
	lease   *lease
	pace    *pace
	slot, n int64 // of a pace: where it counts, and how much
}

// A share is what a call holds of a budget.
type share struct {
	acc  *account
	n    int64
	used int64 // spent by now
	cut  bool  // it has expired, and only used is counted
}

// counted is what the share adds to what its account holds.
func (x *share) counted() int64 {
	if x.cut {
		return min(x.used, x.n)
	}
	return x.n
}

// again fills in what a hold was granted before.
func (e *held) again(h *Hold) {
	for i := range h.Asks {
		a := &h.Asks[i]
		if x := e.budget(a.Key); x != nil {
			a.Granted = x.n
		}
		for _, x := range e.limits {
			if x.pace != nil && x.pace.key == a.Key {
				a.Slot = x.slot
			}
		}
	}
}

func (t *tenant) hold(id string, now time.Time) *held {
	e := t.spares
	if e == nil {
		e = &held{in: t}
		e.limits, e.budgets = e.parts[:0], e.shares[:0]
	} else {
		t.spares, e.next = e.next, nil
		t.spare--
	}
	e.id = id
	t.holds[id] = e
	t.renew(e, now)
	return e
}

// renew makes a hold the last to expire.
func (t *tenant) renew(e *held, now time.Time) {
	t.unlink(e)
	e.expires = now.Add(Lease)
	if t.oldest == nil {
		t.oldest, e.prev, e.next = e, e, e
		return
	}
	last := t.oldest.prev
	last.next, e.prev, e.next, t.oldest.prev = e, last, t.oldest, e
}

func (t *tenant) unlink(e *held) {
	switch e.next {
	case nil:
		return
	case e:
		t.oldest = nil
	default:
		e.prev.next, e.next.prev = e.next, e.prev
		if t.oldest == e {
			t.oldest = e.next
		}
	}
	e.prev, e.next = nil, nil
}

// held finds what a call holds: where Reserve put it, unless that is over or was elsewhere.
func (t *tenant) held(h *Hold) *held {
	if e := h.held; e != nil && e.in == t && e.id != "" && e.id == h.ID {
		return e
	}
	return t.holds[h.ID]
}

// mostSpares bounds the holds that are kept to be used again.
const mostSpares = 1024

// settled forgets a hold of which nothing is left. Nobody may have it afterwards.
func (t *tenant) settled(e *held) {
	if len(e.limits)+len(e.budgets) > 0 {
		return
	}
	t.unlink(e)
	t.drop(e)
	if t.spare < mostSpares {
		e.next, t.spares = t.spares, e
		t.spare++
	}
}

func (t *tenant) drop(e *held) {
	delete(t.holds, e.id)
	e.id = ""
}

func (e *held) budget(key string) *share {
	for i := range e.budgets {
		if x := &e.budgets[i]; x.acc.key == key {
			return x
		}
	}
	return nil
}
