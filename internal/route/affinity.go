package route

import (
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
)

// How long a provider's prompt cache lives, by what the request asks for.
const (
	stickFor  = 5 * time.Minute
	stickLong = time.Hour
)

// maxStuck bounds the affinities that are remembered, in each of the table's two halves.
const maxStuck = 32 << 10

// A stickyTable remembers which deployment served an affinity while the provider's prompt cache lives. What
// it has forgotten goes where rendezvous hashing says, which is the same on every replica. It has two halves:
// a full young one becomes the old one, whose entries are dropped together.
type stickyTable struct {
	mu         sync.Mutex // guards the rest
	young, old map[uint64]stuck
}

type stuck struct {
	index int
	long  bool
	until int64 // Unix nanoseconds
}

func newStickyTable() *stickyTable { return &stickyTable{young: make(map[uint64]stuck)} }

// find gives a call's affinity and the index of the deployment that it sticks to, -1 for none.
func (t *stickyTable) find(who *auth.Who, call *llm.Call, g *catalog.Group, now time.Time) (affinity uint64, index int) {
	affinity, long := affinityOf(who, call, g.Name)
	if affinity == 0 {
		return 0, -1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.young[affinity]
	if !ok {
		s, ok = t.old[affinity]
	}
	if !ok || s.until < now.UnixNano() {
		t.put(affinity, stuck{index: -1, long: long})
		return affinity, -1
	}
	if long && !s.long {
		s.long = true
		t.put(affinity, s)
	}
	return affinity, s.index
}

// keep notes where an affinity was served.
func (t *stickyTable) keep(affinity uint64, index int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.young[affinity]
	if !ok {
		s = t.old[affinity]
	}
	s.index = index
	if s.long {
		s.until = now.Add(stickLong).UnixNano()
	} else {
		s.until = now.Add(stickFor).UnixNano()
	}
	t.put(affinity, s)
}

func (t *stickyTable) put(affinity uint64, s stuck) {
	if len(t.young) >= maxStuck {
		t.old, t.young = t.young, make(map[uint64]stuck)
	}
	t.young[affinity] = s
}

// affinityOf is a hash of what a provider's prompt cache keeps of a call: who pays, the model, the tools and
// the conversation up to the first user turn. 0: it has none. long: it asks for a cache of an hour.
func affinityOf(who *auth.Who, call *llm.Call, model string) (hash uint64, long bool) {
	payload, err := call.Body.Payload()
	chat, ok := payload.(*llm.Chat)
	if err != nil || !ok {
		return 0, false
	}
	h := xxhash.New()
	add := func(parts ...string) {
		for _, p := range parts {
			_, _ = h.WriteString(p)
			_, _ = h.Write([]byte{0})
		}
	}
	add(who.Public(), model)
	for i := range chat.Tools {
		t := &chat.Tools[i]
		add(t.Name, t.Description, string(t.Schema), string(t.Foreign))
		long = long || t.Cache != nil && t.Cache.TTL == "1h"
	}
	first := true
	for i := range chat.Messages {
		m := &chat.Messages[i]
		leads := m.Role == llm.RoleSystem || m.Role == llm.RoleDeveloper || m.Role == llm.RoleUser && first
		for j := range m.Parts {
			part := &m.Parts[j]
			long = long || part.Cache != nil && part.Cache.TTL == "1h"
			if leads {
				add(string(m.Role), part.Text, string(part.Foreign))
				if part.Media != nil {
					add(part.Media.Data, part.Media.URL, part.Media.FileID, part.Media.Text)
				}
			}
		}
		if m.Role == llm.RoleUser {
			first = false
		}
	}
	return max(h.Sum64(), 1), long
}

// tooLong tells whether a call certainly does not fit into its model's context. No tokenizer in use joins two
// words into one token, so there are at least as many tokens as words; what is near the limit is for the
// provider to say.
func (p *Plan) tooLong() bool {
	window := p.main.Window
	if window == 0 || len(p.main.Lists[llm.FallContext]) == 0 || int64(p.call.Body.Len()) < 2*window {
		return false
	}
	payload, err := p.call.Body.Payload()
	chat, ok := payload.(*llm.Chat)
	if err != nil || !ok {
		return false
	}
	words := int64(0)
	for i := range chat.Messages {
		for j := range chat.Messages[i].Parts {
			words += countWords(chat.Messages[i].Parts[j].Text)
			if words > window {
				return true
			}
		}
	}
	return false
}

func countWords(s string) (n int64) {
	for range strings.FieldsSeq(s) {
		n++
	}
	return n
}
