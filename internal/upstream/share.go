package upstream

import (
	"context"
	"sync"
	"time"
)

const (
	syncEvery   = 250 * time.Millisecond // between two reports
	syncTimeout = time.Second            // for one of them; none is on the path of a call
	tellTimeout = time.Second
)

// Share keeps the fleet and the other replicas in step until ctx ends. Without a shared store it returns at
// once. While the store cannot be reached, this replica goes on with what it knows.
func (f *Fleet) Share(ctx context.Context) {
	if f.shared == nil {
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { f.listen(ctx) })
	all.Go(func() { f.sendNotices(ctx) })
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	said := map[string]int64{} // by deployment, the opening reported last
	for {
		f.deliver(ctx)
		f.exchange(ctx, said)
		f.permits(ctx)
		select {
		case <-tick.C:
		case <-f.kick:
		case <-ctx.Done():
			return
		}
	}
}

// tellSurely keeps a notice until it has been told: an operator's word must reach everybody in the end.
func (f *Fleet) tellSurely(n Notice) {
	if f.shared == nil {
		return
	}
	n.From = f.replica
	f.mu.Lock()
	f.must = append(f.must, n)
	f.mu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// deliver tells what must be told, in order, until one of them fails.
func (f *Fleet) deliver(ctx context.Context) {
	for {
		f.mu.Lock()
		if len(f.must) == 0 {
			f.mu.Unlock()
			return
		}
		n := f.must[0]
		f.mu.Unlock()
		try, stop := context.WithTimeout(ctx, tellTimeout)
		err := f.shared.Tell(try, n)
		stop()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.must = f.must[1:]
		f.mu.Unlock()
		if d, ok := f.find(n.Deployment); ok && n.Mode != "" {
			d.unsaid.Add(-1)
		}
	}
}

// Linked tells whether the last exchange with the other replicas went well; true without any to exchange with.
func (f *Fleet) Linked() bool { return f.shared == nil || f.linked.Load() }

// exchange reports what is new and takes in what all know.
func (f *Fleet) exchange(ctx context.Context, said map[string]int64) {
	ctx, stop := context.WithTimeout(ctx, syncTimeout)
	defer stop()
	list := f.all()
	report := Report{Replica: f.replica, Shares: make(map[string]Share, len(list))}
	words := make([]int32, len(list))
	for i, d := range list {
		words[i] = d.words.Load()
		s := Share{InFlight: d.queue.inFlight()}
		s.Samples, s.Latency = d.tracker.take()
		opening := d.told.Load()
		if opening != said[d.key] {
			if opening != 0 {
				_, _, s.Opens = d.breaker.state(time.Now())
				s.Until = time.Unix(0, opening)
			} else {
				s.Closed = true
			}
		}
		if s != (Share{}) {
			report.Shares[d.key] = s
		}
	}
	picture, err := f.shared.Sync(ctx, report)
	f.linked.Store(err == nil)
	if err != nil {
		f.replicas.Store(1)
		for _, d := range list {
			if s := report.Shares[d.key]; s.Samples > 0 {
				d.tracker.giveBack(s.Samples, s.Latency)
			}
			d.queue.setOthers(0)
		}
		return
	}
	f.see(max(picture.Replicas, 1), time.Now())
	for _, public := range picture.Revoked {
		f.revoked(public)
	}
	now := time.Now()
	for i, d := range list {
		if s := report.Shares[d.key]; !s.Until.IsZero() || s.Closed {
			said[d.key] = d.told.Load()
			if !s.Until.IsZero() {
				said[d.key] = s.Until.UnixNano()
			} else if s.Closed {
				said[d.key] = 0
			}
		}
		f.learn(d, picture.Commons[d.key], words[i], now)
	}
}

// learn takes in what all replicas know of a deployment. words is how often its mode had changed when they were asked.
func (f *Fleet) learn(d *deployment, c Common, words int32, now time.Time) {
	d.queue.setOthers(c.Others)
	d.tracker.merge(c.Latency)
	d.wording.Lock()
	switch {
	case d.unsaid.Load() > 0 || d.words.Load() != words: // our own word is newer, or the one that was just heard
	case c.Mode != "":
		f.setMode(d, Mode(c.Mode))
	case d.word() != Active: // the store has forgotten
		d.unsaid.Add(1)
		f.tellSurely(Notice{Deployment: d.key, Mode: string(d.word())})
	}
	d.wording.Unlock()
	first := !d.met.Swap(true)
	switch {
	case c.Until.After(now):
		f.force(d, now, c.Until, c.Opens)
	case first && !c.Until.IsZero(): // half-open, and nobody has closed it: a restart is no reason to trust it
		d.breaker.suspect(c.Until, c.Opens)
	}
}

// setMode takes over an operator's word that another replica was told.
func (f *Fleet) setMode(d *deployment, m Mode) {
	if d.word() != m {
		d.mode.Store(&m)
		d.words.Add(1)
		f.notify(Change{Deployment: d.key, Event: "mode", Mode: m, Remote: true})
	}
}

// force opens a breaker that another replica has opened. What this replica told itself is not news.
func (f *Fleet) force(d *deployment, now, until time.Time, opens int) {
	if told := d.told.Load(); told != 0 && until.UnixNano() <= told+int64(time.Second) {
		return
	}
	d.breaker.force(now, until, opens)
	d.told.Store(until.UnixNano())
	f.notify(Change{Deployment: d.key, Event: "breaker_open", Until: until, Remote: true})
}

// opened tells of a breaker that has just opened.
func (f *Fleet) opened(d *deployment, now time.Time, c class) {
	p, until, opens := d.breaker.state(now)
	if p != phaseOpen {
		return
	}
	was := d.told.Load()
	if was == until.UnixNano() || !d.told.CompareAndSwap(was, until.UnixNano()) {
		return
	}
	f.notify(Change{Deployment: d.key, Event: "breaker_open", Until: until, Class: c.String()})
	f.tell(Notice{Deployment: d.key, Until: until, Opens: opens})
}

// closed tells of a breaker that has just closed.
func (f *Fleet) closed(d *deployment) {
	if d.told.Swap(0) == 0 {
		return
	}
	f.notify(Change{Deployment: d.key, Event: "breaker_closed"})
	f.tell(Notice{Deployment: d.key, Closed: true})
}

// tell hands a notice to sendNotices. One that finds no room is left out: the next report says the same.
func (f *Fleet) tell(n Notice) {
	if f.shared == nil {
		return
	}
	n.From = f.replica
	select {
	case f.notices <- n:
	default:
	}
}

func (f *Fleet) sendNotices(ctx context.Context) {
	for {
		select {
		case n := <-f.notices:
			ctx, stop := context.WithTimeout(ctx, tellTimeout)
			_ = f.shared.Tell(ctx, n) // the next report repeats what matters; without the rest a breaker closes later
			stop()
		case <-ctx.Done():
			return
		}
	}
}

func (f *Fleet) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = f.shared.Listen(ctx, f.hear) // it joins again by itself; an error is the store's last word
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// hear takes in another replica's notice.
func (f *Fleet) hear(n Notice) {
	if n.From == f.replica {
		return
	}
	if n.RevokedKey != "" {
		f.revoked(n.RevokedKey)
		return
	}
	d, ok := f.find(n.Deployment)
	if !ok {
		return
	}
	now := time.Now()
	switch {
	case n.Reset:
		d.reset()
		f.notify(Change{Deployment: d.key, Event: "reset", Remote: true})
	case n.Mode != "":
		d.wording.Lock()
		if d.unsaid.Load() == 0 { // else our own word reaches the store after it
			f.setMode(d, Mode(n.Mode))
		}
		d.wording.Unlock()
	case n.Closed:
		if d.told.Swap(0) != 0 {
			d.breaker.reset()
			f.notify(Change{Deployment: d.key, Event: "breaker_closed", Remote: true})
		}
	case n.Probed:
		d.breaker.credit(now)
	case n.Until.After(now):
		f.force(d, now, n.Until, n.Opens)
	}
}

// permits asks for the cluster's probes, ahead of the calls that would use them. When nobody can be asked,
// this replica lets its own through.
func (f *Fleet) permits(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, syncTimeout)
	defer stop()
	now := time.Now()
	for _, d := range f.all() {
		f.permit(ctx, &d.breaker, d.key, now)
		f.permit(ctx, &d.cred.breaker, d.cred.key, now)
	}
}

func (f *Fleet) permit(ctx context.Context, b *breaker, key string, now time.Time) {
	if !b.wants(now) {
		return
	}
	ours := true
	if f.linked.Load() {
		var err error
		ours, err = f.shared.Permit(ctx, "probe "+key, b.rule().Probe)
		ours = ours || err != nil
	}
	if ours {
		b.grant(now)
	}
}
