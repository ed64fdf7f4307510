package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Options are what a log is made of.
type Options struct {
	Store  Store
	Signer *Signer   // of checkpoints
	Wrap   []byte    // 32 bytes: what data keys are sealed with in the store
	Anchor io.Writer // is given each checkpoint of this process as a line, once it is stored; nil: nobody is
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// A Log records events and makes checkpoints of them.
type Log struct {
	o    Options
	keys *keyring

	recorded [3]atomic.Int64 // by result, as results lists them
	newest   atomic.Int64    // when the newest checkpoint that is known was made, in Unix microseconds; 0: none is known
	failing  atomic.Bool     // the last try to make one failed
}

var results = [...]Result{Done, Refused, Failed}

// New makes a log.
func New(o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Signer == nil {
		return nil, errors.New("audit log: there is no key to sign with")
	}
	keys, err := newKeyring(o.Wrap)
	if err != nil {
		return nil, err
	}
	return &Log{o: o, keys: keys}, nil
}

// mostSealed bounds a part of an entry, so that whoever reads the log can bound a line of it.
const mostSealed = 4 << 20

// Record implements Recorder.
func (l *Log) Record(ctx context.Context, e *Event) error {
	err := l.o.Store.Together(ctx, func(ctx context.Context) error {
		head, keys, err := l.o.Store.Head(ctx, e.Org, []string{actorOf(e), ownerOf(e)})
		if err != nil {
			return err
		}
		entry, err := l.entry(ctx, &head, keys, e)
		if err != nil {
			return err
		}
		return l.o.Store.Append(ctx, entry)
	})
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if i := slices.Index(results[:], e.Result); i >= 0 {
		l.recorded[i].Add(1)
	}
	return nil
}

// entry makes of an event the entry that follows a head. list has the data keys that there are.
func (l *Log) entry(ctx context.Context, head *Head, list []DataKey, e *Event) (*Entry, error) {
	n := &Entry{
		Version: Version, Org: e.Org, Seq: head.Seq + 1, At: At(l.o.Now()), Prev: head.Hash, Result: e.Result,
		Actor: Ref{tidy(e.Actor.Kind, mostName), tidy(e.Actor.ID, mostName)}, Act: tidy(e.Act, mostName),
		Object: Ref{tidy(e.Object.Kind, mostName), tidy(e.Object.ID, mostName)}, Request: tidy(e.Actor.Request, mostName),
	}
	if head.Seq > 0 && n.At.Before(head.At.Time) {
		n.Behind = head.At.Sub(n.At.Time).Microseconds()
		n.At = head.At
	}
	account := Account{Name: tidy(e.Actor.Name, mostName), Why: tidy(e.Why, mostText), Detail: tidy(e.Detail, mostText)}
	if e.Actor.From.IsValid() {
		account.From = e.Actor.From.String()
	}
	change := Change{Name: tidy(e.Object.Name, mostName)}
	var err error
	if change.Before, err = compact(e.Before); err != nil {
		return nil, err
	}
	if change.After, err = compact(e.After); err != nil {
		return nil, err
	}
	subjects, changed := []string{actorOf(e)}, change.Name != "" || change.Before != nil || change.After != nil
	if changed {
		subjects = append(subjects, ownerOf(e))
	}
	keys, err := l.keysOf(ctx, list, subjects)
	if err == nil {
		n.Said, err = n.seal(keys[subjects[0]], "said", account)
	}
	if err == nil && changed {
		n.Changed, err = n.seal(keys[subjects[1]], "changed", change)
	}
	n.Hash = n.sum()
	return n, err
}

// compact is a value in its one form.
func compact(v jsontext.Value) (jsontext.Value, error) {
	if len(v) == 0 {
		return nil, nil
	}
	v = v.Clone()
	return v, v.Compact()
}

// actorOf is whose key covers who acted. Who could not sign in is taken for whom they said they are, where there is one.
func actorOf(e *Event) string {
	if e.Actor.Kind == "unknown" && e.Object.Person != "" {
		return e.Object.Person
	}
	return tidy(cmp.Or(e.Actor.Person, e.Actor.ID, e.Actor.Kind), mostName)
}

// Subjects of what is nobody's.
const (
	gatewaySubject = "gateway"
	orgSubject     = "organisation:" // and the organisation's id
)

// ownerOf is whose key covers what was changed.
func ownerOf(e *Event) string {
	switch {
	case e.Object.Person != "":
		return tidy(e.Object.Person, mostName)
	case e.Org == "":
		return gatewaySubject
	}
	return orgSubject + e.Org
}

// opened is a data key as it is used.
type opened struct {
	id  string
	key []byte
}

// seal makes a part of an entry that only a data key opens.
func (e *Entry) seal(k opened, part string, v any) (Sealed, error) {
	key, err := partKey(k.key, e.Org, e.Seq, part)
	if err != nil {
		return Sealed{}, err
	}
	data, err := seal(key, v)
	if err == nil && len(data) > mostSealed {
		err = fmt.Errorf("%s changes too much for one entry: %d bytes", e.Act, len(data))
	}
	return Sealed{Key: k.id, Data: data}, err
}

// keysOf finds the keys of subjects in a list; one that has none there gets one. Two processes may each draw one at once: both hold, and
// both go when the subject is redacted.
func (l *Log) keysOf(ctx context.Context, list []DataKey, subjects []string) (map[string]opened, error) {
	keys := make(map[string]opened, len(subjects))
	for i := range list {
		k := &list[i]
		if _, has := keys[k.Subject]; has { // the first by id
			continue
		}
		key, err := l.keys.unwrap(k)
		if err != nil {
			return nil, err
		}
		keys[k.Subject] = opened{k.ID, key}
	}
	for _, subject := range subjects {
		if _, has := keys[subject]; has {
			continue
		}
		k, key := l.keys.draw(subject, At(l.o.Now()).Time)
		if err := l.o.Store.AddKey(ctx, k); err != nil {
			return nil, err
		}
		keys[subject] = opened{k.ID, key}
	}
	return keys, nil
}

// Every is how often a checkpoint is made where there is something new.
const Every = time.Minute

// lastWait bounds the checkpoint that is made at the end.
const lastWait = 5 * time.Second

// Run makes a checkpoint now, every minute, and when ctx ends. Of several processes one makes it.
func (l *Log) Run(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	l.try(ctx, 0)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWait)
			defer cancel()
			l.try(last, 0)
			return
		case <-tick.C:
			l.try(ctx, Every/2) // another process may have just made one
		}
	}
}

func (l *Log) try(ctx context.Context, least time.Duration) {
	_, err := l.checkpoint(ctx, least)
	l.failing.Store(err != nil)
	if err != nil && ctx.Err() == nil {
		l.o.Log.Error("audit checkpoint failed", "event", "audit_checkpoint_failed", "error", err.Error())
	}
}

// Checkpoint makes a checkpoint of all that is not covered by one. nil: there is nothing.
func (l *Log) Checkpoint(ctx context.Context) (*Checkpoint, error) { return l.checkpoint(ctx, 0) }

// checkpoint makes one, unless the last is younger than least.
func (l *Log) checkpoint(ctx context.Context, least time.Duration) (made *Checkpoint, err error) {
	err = l.o.Store.Together(ctx, func(ctx context.Context) error {
		made = nil
		last, err := l.o.Store.LastCheckpoint(ctx)
		if err != nil {
			return err
		}
		c := &Checkpoint{Version: Version, Number: 1, At: At(l.o.Now())}
		if last != nil {
			l.newest.Store(last.At.UnixMicro())
			if c.At.Sub(last.At.Time).Abs() < least {
				return nil
			}
			c.Number, c.Prev, c.At = last.Number+1, last.Hash, later(c.At, last.At)
		}
		if c.Heads, err = l.o.Store.Moved(ctx); err != nil || len(c.Heads) == 0 {
			return err
		}
		for i := range c.Heads {
			c.At = later(c.At, c.Heads[i].At)
		}
		l.o.Signer.sign(c)
		made = c
		return l.o.Store.AddCheckpoint(ctx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("audit checkpoint: %w", err)
	}
	if made != nil {
		l.newest.Store(made.At.UnixMicro())
		l.tell(made)
	}
	return made, nil
}

func later(a, b Time) Time {
	if a.Before(b.Time) {
		return b
	}
	return a
}

// tell has a checkpoint known outside the store.
func (l *Log) tell(c *Checkpoint) {
	a := c.anchor()
	l.o.Log.Info("audit checkpoint", "event", "audit_checkpoint", "number", a.Number, "at", a.At.String(), "hash", a.Hash.String(), "key", a.Key, "signature", a.Signature)
	if l.o.Anchor == nil {
		return
	}
	if _, err := l.o.Anchor.Write(a.line()); err != nil {
		l.o.Log.Error("audit checkpoint is not in the anchor", "event", "audit_anchor_failed", "number", c.Number, "error", err.Error())
	}
}

// Stats are how a log stands, as far as this process knows.
type Stats struct {
	Recorded map[Result]int64 // entries that this process wrote, or tried to in an act that did not happen at last
	Newest   time.Time        // when the newest checkpoint was made; zero: none is known
	Failing  bool             // the last try to make one failed
}

// Stats gives them.
func (l *Log) Stats() Stats {
	s := Stats{Recorded: make(map[Result]int64, len(results)), Failing: l.failing.Load()}
	for i, r := range results {
		s.Recorded[r] = l.recorded[i].Load()
	}
	if at := l.newest.Load(); at != 0 {
		s.Newest = time.UnixMicro(at).UTC()
	}
	return s
}

// Public is the key that verifies this process's checkpoints.
func (l *Log) Public() PublicKey { return l.o.Signer.Public() }
