package wire

import (
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// A Room is the memory that calls under way may take, all together. The zero Room has no bounds.
type Room struct {
	most atomic.Int64 // 0: any
	used atomic.Int64
}

const (
	// callTakes is what a call takes beside its body: its stacks, its buffers, both of its connections.
	callTakes = 64 << 10
	// smallBuffer is up to what size a body's buffer may have the last quarter of the room: short calls, which are most, still pass when long
	// ones have filled the rest.
	smallBuffer = 32 << 10
)

// Resize says how much room there is; 0: without bounds. Calls under way keep what they have.
func (r *Room) Resize(most int64) { r.most.Store(most) }

// Used is how much of it is taken.
func (r *Room) Used() int64 { return r.used.Load() }

// take makes room for more bytes of a body that has had bytes of it up to now, and for its call where those are the first. A body in memory
// is counted twice, as its meaning may be made of it. Whatever is asked for is given to a call that is alone.
func (r *Room) take(had, more int64) error {
	n := 2 * more
	if had == 0 {
		n += callTakes
	}
	used, most := r.used.Add(n), r.most.Load()
	alone := used == n+spent(had)
	if had+more > smallBuffer {
		most -= most / 4
	}
	if most > 0 && used > most && !alone {
		r.used.Add(-n)
		return &llm.Error{
			Kind: llm.KindOverloaded, RetryAfter: time.Second,
			Msg: "the calls under way take all the memory that they may (limits.memory); try again in a moment",
		}
	}
	return nil
}

// give returns what a call has taken for a body of so many bytes.
func (r *Room) give(had int64) { r.used.Add(-spent(had)) }

// spent is what a body of so many bytes has taken, with its call.
func spent(had int64) int64 {
	if had == 0 {
		return 0
	}
	return callTakes + 2*had
}
