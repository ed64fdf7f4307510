package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // how Redis names scripts
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"sluice/internal/quota"
)

// A script is run by its hash, and sent whole to a server that does not have it.
type script struct{ source, sha string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // the same
	return &script{source, hex.EncodeToString(sum[:])}
}

// A call is a script's keys and arguments. The first argument are words, parted by spaces: a reservation has eighty of them, and each as
// an argument of its own would cost both sides more. What may hold spaces comes after them, a text each.
type call struct {
	org                string
	tag                string // begins every key of the organisation
	epoch, count       int64  // that were seen before
	keys, texts, words []byte
	keyEnds, textEnds  []int
	more               []*quota.Ask // whose keys come after those of the asks
	line               *line
}

// call begins a call of a script without a head.
func (q *Quota) call(org string) *call {
	c, ok := q.calls.Get().(*call)
	if !ok {
		c = new(call)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	st := q.standing(org)
	clear(c.more)
	*c = call{
		org: org, tag: st.tag, epoch: st.epoch, count: st.count, line: st.line, keys: c.keys[:0], texts: c.texts[:0], words: c.words[:0],
		keyEnds: c.keyEnds[:0], textEnds: c.textEnds[:0], more: c.more[:0],
	}
	return c
}

// begin makes a call with the arguments that every script has first.
func (q *Quota) begin(org string) *call {
	c := q.call(org)
	c.key("org", "")
	c.nums(c.epoch, c.count, quota.Grace.Milliseconds(), quota.Lease.Milliseconds(), keepQuota.Milliseconds(), q.ahead.Load())
	return c
}

// key adds the key of a counter.
func (c *call) key(kind, name string) {
	c.keys = append(append(append(c.keys, c.tag...), kind...), name...)
	c.keyEnds = append(c.keyEnds, len(c.keys))
}

// holds adds the keys of an organisation's holds.
func (c *call) holds() {
	c.key("expires", "")
	c.key("holds", "")
}

func (c *call) text(s string) {
	c.texts = append(c.texts, s...)
	c.endText()
}

func (c *call) endText() { c.textEnds = append(c.textEnds, len(c.texts)) }

// word adds what has no spaces and is not empty.
func (c *call) word(s string) { c.words = append(append(c.words, s...), ' ') }

func (c *call) nums(all ...int64) {
	for _, n := range all {
		c.words = append(strconv.AppendInt(c.words, n, 10), ' ')
	}
}

// counters writes the names of the asks' budgets as netstrings, for the sweeper.
func (c *call) counters(asks []quota.Ask) {
	for i := range asks {
		if asks[i].Kind.Budget() {
			c.texts = append(strconv.AppendInt(c.texts, int64(len(asks[i].Key)), 10), ':')
			c.texts = append(c.texts, asks[i].Key...)
		}
	}
	c.endText()
}

// number is that of a counter's key, after those of the holds. The call has the keys of asks, and the key is added if it is none of
// them.
func (c *call) number(asks []quota.Ask, a *quota.Ask) int64 {
	for i := range asks {
		if b := &asks[i]; b.Kind == a.Kind && b.Key == a.Key {
			return int64(i + 1)
		}
	}
	i := slices.IndexFunc(c.more, func(b *quota.Ask) bool { return b.Kind == a.Kind && b.Key == a.Key })
	if i < 0 {
		i = len(c.more)
		c.more = append(c.more, a)
		c.key(letter(a.Kind), a.Key)
	}
	return int64(len(asks) + i + 1)
}

// strings ends the call. They share an allocation.
func (c *call) strings() (keys, args []string) {
	c.keys = append(append(c.keys, c.texts...), c.words...)
	text, from := string(c.keys), 0
	all := make([]string, 0, len(c.keyEnds)+1+len(c.textEnds))
	for _, end := range c.keyEnds {
		all = append(all, text[from:end])
		from = end
	}
	texts, n := text[from:from+len(c.texts)], len(all)
	all = append(all, text[from+len(c.texts):])
	from = 0
	for _, end := range c.textEnds {
		all = append(all, texts[from:end])
		from = end
	}
	return all[:n:n], all[n:]
}

// run runs a script that answers with an array: the epoch, the count, and what it gives beside them.
func (q *Quota) run(ctx context.Context, s *script, c *call) ([]string, error) {
	org := c.org
	msg, err := q.do(ctx, s, c)
	if err != nil {
		return nil, err
	}
	out, err := msg.AsStrSlice()
	if err != nil {
		return nil, fmt.Errorf("redis: answer: %w", err)
	}
	n, err := numbers(out, 2)
	if err != nil {
		return nil, err
	}
	q.saw(org, n[0], n[1])
	return out, nil
}

// do runs a script and waits for its answer. The call is not used afterwards.
func (q *Quota) do(ctx context.Context, s *script, c *call) (rueidis.RedisMessage, error) {
	defer q.calls.Put(c)
	if !q.s.enter() {
		return rueidis.RedisMessage{}, ErrResting
	}
	defer q.s.rest.Cancel() // how it went the line tells for all who ask at once
	keys, args := c.strings()
	r := c.line.do(ctx, ask{s, false, keys, args})
	if isNoScript(r.Error()) {
		r = c.line.do(ctx, ask{s, true, keys, args})
	}
	msg, err := r.ToMessage()
	if err != nil {
		return msg, fmt.Errorf("redis: %w", err)
	}
	return msg, nil
}

// numbers reads the numbers that an answer begins with.
func numbers(all []string, n int) ([]int64, error) {
	if len(all) < n {
		return nil, fmt.Errorf("redis: an answer of %d members, want %d", len(all), n)
	}
	out := make([]int64, n)
	for i := range out {
		v, err := strconv.ParseInt(all[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("redis: answer: %w", err)
		}
		out[i] = v
	}
	return out, nil
}
