package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/go-json-experiment/json"
)

// A line is one line of an export: an entry or a checkpoint. Their order is that of the log: before each checkpoint are the entries
// that it covers and the one before it does not, by chain and number.
type line struct {
	Entry      *Entry      `json:"entry,omitzero"`
	Checkpoint *Checkpoint `json:"checkpoint,omitzero"`
}

// mostLine bounds a line of an export: two parts as long as they may be, in base64 and in plain.
const mostLine = 32 << 20

func (l line) marshal() ([]byte, error) {
	b, err := json.Marshal(l, json.Deterministic(true))
	return append(b, '\n'), err
}

var errForm = errors.New("not a line of an export")

// parseLine reads a line in its one form, without its end.
func parseLine(text []byte) (l line, err error) {
	if err := json.Unmarshal(text, &l, json.RejectUnknownMembers(true)); err != nil {
		return line{}, errForm
	}
	if (l.Entry == nil) == (l.Checkpoint == nil) {
		return line{}, errForm
	}
	again, err := l.marshal()
	if err != nil || !bytes.Equal(again[:len(again)-1], text) {
		return line{}, errForm
	}
	return l, nil
}

// walk goes through what a store has up to a checkpoint, in the order of exports. org is the one chain that is meant; nil: all.
func walk(ctx context.Context, s Store, org *string, until uint64, take func(line) error) error {
	heads := map[string]Head{}
	for after := uint64(0); after < until; {
		list, err := s.Checkpoints(ctx, after, until)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		for i := range list {
			c := &list[i]
			after = c.Number
			if org != nil {
				c.only(*org)
			}
			for _, h := range c.Heads {
				if err := walkChain(ctx, s, h.Org, heads[h.Org].Seq, h.Seq, take); err != nil {
					return err
				}
				heads[h.Org] = h
			}
			if err := take(line{Checkpoint: c}); err != nil {
				return err
			}
		}
	}
	return nil
}

// walkChain goes through entries with numbers in (after, until].
func walkChain(ctx context.Context, s Store, org string, after, until uint64, take func(line) error) error {
	for after < until {
		list, err := s.Entries(ctx, org, after, until)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		for i := range list {
			if err := take(line{Entry: &list[i]}); err != nil {
				return err
			}
		}
		after = list[len(list)-1].Seq
	}
	return nil
}

// only hides all heads but one chain's.
func (c *Checkpoint) only(org string) {
	var kept []Head
	for _, h := range c.Heads {
		if h.Org == org {
			kept = append(kept, h)
		} else {
			c.Others = append(c.Others, h.hide())
		}
	}
	c.Heads = kept
	c.order()
}

// newest is the number of a store's last checkpoint.
func newest(ctx context.Context, s Store) (uint64, error) {
	c, err := s.LastCheckpoint(ctx)
	if err != nil || c == nil {
		return 0, err
	}
	return c.Number, nil
}

// An ExportFilter says what an export has: whole chains only, since nobody could verify parts of them.
type ExportFilter struct {
	Org    *string // nil: all chains
	Sealed bool    // leave out what is personal, and the keys to it
}

// Export writes the log as JSON lines, up to a checkpoint that it makes.
func (l *Log) Export(ctx context.Context, f ExportFilter, w io.Writer) error {
	if _, err := l.Checkpoint(ctx); err != nil {
		return err
	}
	until, err := newest(ctx, l.o.Store)
	if err != nil {
		return fmt.Errorf("audit export: %w", err)
	}
	r := newReading(l)
	err = walk(ctx, l.o.Store, f.Org, until, func(one line) error {
		if one.Entry != nil && !f.Sealed {
			if err := r.disclose(ctx, one.Entry); err != nil {
				return err
			}
		}
		text, err := one.marshal()
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("audit export: %w", err)
	}
	return nil
}

// A reading opens what entries seal, and asks for each key once.
type reading struct {
	l    *Log
	keys map[string][]byte // by id; nil: it is gone
}

func newReading(l *Log) *reading { return &reading{l, map[string][]byte{}} }

// mostKeys bounds the keys that a reading remembers.
const mostKeys = 10_000

// fetch looks up keys that are not known yet.
func (r *reading) fetch(ctx context.Context, ids ...string) error {
	var ask []string
	for _, id := range ids {
		if _, known := r.keys[id]; id != "" && !known {
			ask = append(ask, id)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	if len(r.keys) > mostKeys {
		clear(r.keys)
		ask = ids
	}
	list, err := r.l.o.Store.Keys(ctx, ask)
	if err != nil {
		return err
	}
	found := make(map[string]DataKey, len(list))
	for _, k := range list {
		found[k.ID] = k
	}
	return r.take(found, ask...)
}

// take opens keys that were looked up. One that was not found is gone.
func (r *reading) take(found map[string]DataKey, ids ...string) (err error) {
	for _, id := range ids {
		if _, known := r.keys[id]; known {
			continue
		}
		r.keys[id] = nil
		if k, there := found[id]; there {
			if r.keys[id], err = r.l.keys.unwrap(&k); err != nil {
				return err
			}
		}
	}
	return nil
}

// disclose puts beside what an entry seals what it says, and the keys that show that. What was redacted stays sealed.
func (r *reading) disclose(ctx context.Context, e *Entry) error {
	if err := r.fetch(ctx, e.Said.Key, e.Changed.Key); err != nil {
		return err
	}
	return r.open(e)
}

// open does so with the keys that it has.
func (r *reading) open(e *Entry) error {
	return errors.Join(r.openPart(e, "said", &e.Said), r.openPart(e, "changed", &e.Changed))
}

func (r *reading) openPart(e *Entry, part string, s *Sealed) error {
	subject := r.keys[s.Key]
	if subject == nil {
		return nil
	}
	key, err := partKey(subject, e.Org, e.Seq, part)
	if err != nil {
		return err
	}
	plain, err := open(key, s.Data)
	if err != nil {
		return nil //nolint:nilerr // somebody changed it: verify says so, and the rest can be read
	}
	s.Open, s.Plain = key, plain
	return nil
}

// all is past every number.
const all = math.MaxInt64
