package cache

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"sluice/internal/cache/same"
	"sluice/internal/circuit"
	"sluice/internal/llm"
)

// Meaning is how answers are found by what their questions mean. It does so after the same request was not found, for calls whose
// last message alone may differ; and what it finds counts only if reading both questions does not speak against it.
type Meaning struct {
	Embedder  Embedder
	Index     Index
	Mode      same.Mode     // "": Strict
	Threshold float32       // the least similarity; it is the embedder's, whose numbers compare with no other's
	Margin    float32       // by so much the nearest must lead the next one that was answered otherwise
	Deadline  time.Duration // for all of a look-up; 0: DefaultDeadline
	Parallel  int           // look-ups at a time; more are misses; 0: 4
	Turns     bool          // also later in a conversation, all of whose earlier turns are the same
	Check     int           // of a thousand answers found so many are not given, but held against the model's own

	slots           chan struct{}
	embedder, index circuit.Breaker
}

// DefaultDeadline is how long a look-up by meaning may take.
const DefaultDeadline = 25 * time.Millisecond

func (m *Meaning) init() {
	if m.Deadline <= 0 {
		m.Deadline = DefaultDeadline
	}
	if m.Parallel <= 0 {
		m.Parallel = 4
	}
	if m.Mode == "" {
		m.Mode = same.Strict
	}
	m.slots = make(chan struct{}, m.Parallel)
	for _, b := range []*circuit.Breaker{&m.embedder, &m.index} {
		b.After, b.Rest, b.MaxRest = 3, time.Second, time.Minute
	}
}

// What became of look-ups by meaning, beside the reasons of package same, which are told as not_ and the reason.
const (
	foundHit     = "hit"
	foundChecked = "checked" // it was found, and is held against the model's own answer
	foundNone    = "none"    // nothing is near
	foundMargin  = "margin"  // two are near, with two answers
	foundGone    = "gone"    // what was near is kept no more
	foundOld     = "old"     // older than the request allows
	whyTurns     = "turns"   // it has turns before
	whyParts     = "parts"   // more than text
	whyBusy      = "busy"    // too many look at a time
	whyResting   = "resting" // it failed a moment ago
	whyLeft      = "left"    // its caller went away
	whySlow      = "slow"
	whyEmbedder  = "embedder" // it failed
	whySize      = "size"     // a vector is not as long as it should be
	whyIndex     = "index"    // it failed
)

// A question is what a look-up by meaning asks.
type question struct {
	space  string
	text   string
	read   *same.Question
	vector []float32 // nil: not known
}

// question is what a call asks, if that may be looked up by its meaning.
func (c *Cache) question(a *Ask, s Scope) (*question, string) {
	p, err := a.Call.Body.Payload()
	chat, ok := p.(*llm.Chat)
	if err != nil || !ok || len(chat.Messages) == 0 {
		return nil, whyParts
	}
	last := len(chat.Messages) - 1
	if !c.meaning.Turns {
		for i := range last {
			if r := chat.Messages[i].Role; r != llm.RoleSystem && r != llm.RoleDeveloper {
				return nil, whyTurns
			}
		}
	}
	m := chat.Messages[last]
	if m.Role != llm.RoleUser || len(m.Parts) != 1 || !plain(&m.Parts[0]) {
		return nil, whyParts
	}
	q := &question{text: strings.Clone(m.Parts[0].Text), read: same.Read(m.Parts[0].Text)}
	if why := q.read.Refused(); why != "" {
		return nil, "not_" + string(why)
	}
	rest := *chat
	rest.Messages = append(append([]llm.Message{}, chat.Messages[:last]...), llm.Message{Role: m.Role, Name: m.Name, ID: m.ID, Extra: m.Extra, Hints: m.Hints})
	text, err := json.Marshal(&rest)
	if err != nil {
		return nil, whyParts
	}
	sum := c.seal.sum("space", append(a.partition(s), c.meaning.Embedder.ID(), string(c.meaning.Mode), string(text))...)
	k := c.seal.keyOf(s, a.Call.Model)
	q.space = strings.Join([]string{k.Org.String(), k.Team.String(), k.Key.String(), k.Model.String(), hex.EncodeToString(sum[:])}, ":")
	return q, ""
}

// plain tells whether a part is text and nothing else.
func plain(p *llm.Part) bool {
	return p.Text != "" && p.Media == nil && p.Call == nil && p.Result == nil && p.Reasoning == nil && p.Refusal == nil && p.Foreign == nil && p.Extra == nil
}

// similar looks for the answer to a question that means the same.
func (c *Cache) similar(ctx context.Context, v *Visit) bool {
	ctx, stop := context.WithTimeout(ctx, c.meaning.Deadline)
	defer stop()
	why := c.vector(ctx, v.question)
	if why == "" {
		why = c.nearest(ctx, v)
	}
	c.stats.found(why)
	return why == foundHit
}

// vector has the embedder work out the question's vector, for as long as ctx lets it.
func (c *Cache) vector(ctx context.Context, q *question) (why string) {
	m := c.meaning
	select {
	case m.slots <- struct{}{}:
	default:
		return whyBusy
	}
	if !m.embedder.Allow(c.now()) {
		<-m.slots
		return whyResting
	}
	type result struct {
		v   []float32
		err error
	}
	done := make(chan result, 1)
	c.work.Go(func() { // one that does not hear of ctx's end holds its slot, not its caller
		defer func() { <-m.slots }()
		v, err := m.Embedder.Embed(ctx, q.text)
		done <- result{v, err}
	})
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	switch {
	case r.err == nil && len(r.v) != m.Embedder.Dim():
		why = whySize
	case r.err == nil:
		q.vector = r.v
		m.embedder.Succeed()
		return ""
	case errors.Is(ctx.Err(), context.Canceled):
		m.embedder.Cancel()
		return whyLeft
	case errors.Is(r.err, context.DeadlineExceeded):
		why = whySlow
	case llm.AsError(r.err).Kind == llm.KindInvalid: // a text that is too long
		m.embedder.Succeed()
		return "not_" + string(same.Long)
	default:
		why = whyEmbedder
	}
	m.embedder.Fail(c.now())
	return why
}

// tried tells the index's breaker how a call ended.
func (c *Cache) tried(ctx context.Context, err error) {
	switch b := &c.meaning.index; {
	case err == nil, errors.Is(err, ErrFull), errors.Is(err, ErrVector): // it works, but not for this one
		b.Succeed()
	case errors.Is(ctx.Err(), context.Canceled):
		b.Cancel()
	default:
		b.Fail(c.now())
	}
}

// near is how many of the nearest are looked at: some may be gone.
const near = 4

// nearest looks which answer the nearest question has, and whether it may be given.
func (c *Cache) nearest(ctx context.Context, v *Visit) string {
	m, q := c.meaning, v.question
	if !m.index.Allow(c.now()) {
		return whyResting
	}
	list, err := m.Index.Nearest(ctx, q.space, q.vector, near)
	c.tried(ctx, err)
	if err != nil {
		return whyIndex
	}
	why := foundNone
	var best *keptAnswer
	var similarity float32
	for _, n := range list {
		if n.Similarity < m.Threshold {
			break
		}
		if best != nil && similarity-n.Similarity >= m.Margin {
			break
		}
		e := c.entry(ctx, v, n.ID)
		switch {
		case e == nil:
			why = foundGone
			c.forget(ctx, q.space, n.ID)
		case best == nil:
			best, similarity = e, n.Similarity
		case string(e.Print) != string(best.Print):
			return foundMargin
		}
	}
	if best == nil {
		return why
	}
	if ok, why := same.Same(same.Read(best.Question), q.read, m.Mode); !ok {
		return "not_" + string(why)
	}
	now := c.now()
	if v.tooOld(best, now) {
		return foundOld
	}
	if m.Check > 0 && rand.IntN(1000) < m.Check { //nolint:gosec // G404: it draws a sample, and keeps no secret
		v.shadow = best
		return foundChecked
	}
	if !v.give(best, now) {
		return foundGone
	}
	v.State, v.Similarity = Similar, similarity
	return foundHit
}

// forget takes out of the index what has no answer any more, when there is time for it.
func (c *Cache) forget(ctx context.Context, space, id string) {
	select {
	case c.fills <- struct{}{}:
	default:
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), setTime)
	c.work.Go(func() {
		defer func() { stop(); <-c.fills }()
		_ = c.meaning.Index.Remove(ctx, space, id)
	})
}

// entry is a kept answer by its id in the index, if it is one of the question's space.
func (c *Cache) entry(ctx context.Context, v *Visit, id string) *keptAnswer {
	k := v.key
	if n, err := hex.Decode(k.Sum[:], []byte(id)); err != nil || n != len(k.Sum) {
		return nil
	}
	value, err := c.store.Get(ctx, k)
	if err != nil {
		c.stats.storeFailed()
	}
	if value == nil {
		return nil
	}
	e, err := decode(value)
	if err != nil || string(e.Sum) != string(k.Sum[:]) || e.Space != v.question.space || e.age(c.now()) >= v.rules.SemanticTTL {
		return nil
	}
	return e
}

// indexed makes an answer known by the meaning of its question.
func (c *Cache) indexed(ctx context.Context, v *Visit) {
	m, q := c.meaning, v.question
	ctx, stop := context.WithTimeout(ctx, setTime)
	defer stop()
	if q.vector == nil {
		if why := c.vector(ctx, q); why != "" {
			c.stats.indexed(why)
			return
		}
	}
	if !m.index.Allow(c.now()) {
		c.stats.indexed(whyResting)
		return
	}
	err := m.Index.Add(ctx, q.space, Entry{ID: hex.EncodeToString(v.key.Sum[:]), Vector: q.vector, Expires: c.now().Add(v.rules.SemanticTTL)})
	c.tried(ctx, err)
	if err != nil {
		c.stats.indexed(whyIndex)
		return
	}
	c.stats.indexed("added")
}

// spaces are what an index is asked for when it is purged: the names of those it has.
type spaces interface {
	Spaces(ctx context.Context) ([]string, error)
}

// dropSpaces forgets the questions whose answers a filter selects. Of an age nothing is known: those go with their answers.
func (c *Cache) dropSpaces(ctx context.Context, f *Filter) error {
	if c.meaning == nil || !f.Before.IsZero() {
		return nil
	}
	index, ok := c.meaning.Index.(spaces)
	if !ok {
		return nil
	}
	list, err := index.Spaces(ctx)
	for _, space := range list {
		if k, ok := ownerOf(space); ok && f.Matches(&k, time.Time{}) {
			err = errors.Join(err, c.meaning.Index.Drop(ctx, space))
		}
	}
	return err
}

// ownerOf reads the tags in a space's name.
func ownerOf(space string) (k Key, ok bool) {
	parts := strings.Split(space, ":")
	if len(parts) != 5 {
		return k, false
	}
	for i, to := range []*Tag{&k.Org, &k.Team, &k.Key, &k.Model} {
		if n, err := hex.Decode(to[:], []byte(parts[i])); err != nil || n != len(to) {
			return k, false
		}
	}
	return k, true
}

// Resting tells whether the embedder, and the index, are left alone now, as they failed.
func (c *Cache) Resting() (embedder, index bool) {
	if c.meaning == nil {
		return false, false
	}
	return c.meaning.embedder.Open(c.now()), c.meaning.index.Open(c.now())
}
