package audit

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A View is an entry as people read it.
type View struct {
	Organisation string         `json:"organisation,omitzero"` // left out: the gateway's own
	Seq          uint64         `json:"seq"`
	At           time.Time      `json:"at"`
	Actor        ActorView      `json:"actor"`
	Act          string         `json:"act"`
	Object       ObjectView     `json:"object,omitzero"`
	Result       Result         `json:"result"`
	Before       jsontext.Value `json:"before,omitzero"`
	After        jsontext.Value `json:"after,omitzero"`
	Why          string         `json:"why,omitzero"`
	Detail       string         `json:"detail,omitzero"`
	Request      string         `json:"request_id,omitzero"`
	Redacted     bool           `json:"redacted,omitzero"` // something of it was, and nobody can read it any more
	Hash         Hash           `json:"hash"`
}

// ActorView is who acted.
type ActorView struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitzero"`
	Name string `json:"name,omitzero"`
	From string `json:"from,omitzero"`
}

// ObjectView is what was acted on.
type ObjectView struct {
	Kind string `json:"kind,omitzero"`
	ID   string `json:"id,omitzero"`
	Name string `json:"name,omitzero"`
}

// A Page is a piece of a list, the newest first.
type Page struct {
	Data []View `json:"data"`
	Next string `json:"next,omitzero"` // to be said as after; "": that was all
}

// List looks for entries.
func (l *Log) List(ctx context.Context, q Query) (*Page, error) {
	if q.Limit <= 0 || q.Limit > MaxList {
		q.Limit = MaxList
	}
	want := q.Limit
	q.Limit++
	list, keys, err := l.o.Store.Find(ctx, &q)
	if err != nil {
		return nil, fmt.Errorf("list audit log: %w", err)
	}
	p := &Page{Data: make([]View, 0, len(list))}
	if len(list) > want {
		list = list[:want]
		p.Next = cursorOf(&list[want-1]).String()
	}
	r := newReading(l)
	for i := range list {
		e := &list[i]
		err := r.take(keys, e.Said.Key, e.Changed.Key)
		if err == nil {
			err = r.open(e)
		}
		if err != nil {
			return nil, fmt.Errorf("list audit log: %w", err)
		}
		p.Data = append(p.Data, list[i].View())
	}
	return p, nil
}

// View is an entry for people: with what is personal in it where that is told.
func (e *Entry) View() View {
	v := View{
		Organisation: e.Org, Seq: e.Seq, At: e.At.Time, Actor: ActorView{Kind: e.Actor.Kind, ID: e.Actor.ID}, Act: e.Act,
		Object: ObjectView{Kind: e.Object.Kind, ID: e.Object.ID}, Result: e.Result, Request: e.Request, Hash: e.Hash,
	}
	var a Account
	var c Change
	v.Redacted = !e.Said.read(&a) || e.Changed.Key != "" && !e.Changed.read(&c)
	v.Actor.Name, v.Actor.From, v.Why, v.Detail = a.Name, a.From, a.Why, a.Detail
	v.Object.Name, v.Before, v.After = c.Name, c.Before, c.After
	return v
}

func (s *Sealed) read(v any) bool { return s.Plain != nil && json.Unmarshal(s.Plain, v) == nil }

func cursorOf(e *Entry) *Cursor { return &Cursor{e.At, e.Org, e.Seq} }

// String is what ParseCursor reads.
func (c *Cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d.%s", c.At.UnixMicro(), c.Seq, c.Org))
}

// ParseCursor reads a place that a page gave.
func ParseCursor(text string) (*Cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	c := new(Cursor)
	var at int64
	if err == nil {
		place, org, ok := cutSecond(string(b))
		if _, err = fmt.Sscanf(place, "%d.%d", &at, &c.Seq); err == nil && !ok {
			err = errForm
		}
		c.At, c.Org = At(time.UnixMicro(at)), org
	}
	if err != nil || c.String() != text {
		return nil, fmt.Errorf("not a place in a list of the audit log")
	}
	return c, nil
}

// cutSecond cuts a text at its second dot.
func cutSecond(s string) (before, after string, ok bool) {
	first, rest, _ := strings.Cut(s, ".")
	second, after, ok := strings.Cut(rest, ".")
	return first + "." + second, after, ok
}

// Redact destroys the keys of a subject: whatever the log says about them stays in it, sealed, and nobody can read it any more. What
// is recorded after that has another key. It tells how many keys there were.
func (l *Log) Redact(ctx context.Context, subject string) (n int, err error) {
	if n, err = l.o.Store.DropKeys(ctx, subject); err != nil {
		return 0, fmt.Errorf("redact: %w", err)
	}
	return n, nil
}
