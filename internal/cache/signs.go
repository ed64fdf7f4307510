package cache

import "math/bits"

const (
	// few is the size of a space up to which every vector is compared: that takes less time than signs save.
	few = 512
	// compared is how many of a large space are compared at least. internal/cache's test of recall says what that does on real
	// embeddings.
	compared = 200
)

// signs chooses which vectors of a large space are worth comparing: each vector is one bit a dimension, whether it is above the
// centre of all, and those who differ in the fewest bits from what is looked for are compared. Without the centre most bits would be alike:
// embeddings lie in a cone. The centre is made anew when as many have been added as there were, and all bits with it, so an
// entry pays for about one more pass over its vector.
type signs struct {
	centre []float32 // nil while the space is small
	words  int       // of a vector's bits
	bits   []uint64  // words for each slot
	added  int       // since the centre was made
	made   int       // of how many slots it was made
}

// marks are a search's scratch.
type marks struct {
	query  []uint64
	apart  []uint16 // how many bits each slot differs in
	counts []int    // how many slots differ in so many
}

// add takes the last of the slots in.
func (g *signs) add(slots []*slot, v []float32) {
	if len(slots) <= few && g.centre == nil {
		return
	}
	g.added++
	if g.centre == nil || g.added > g.made {
		g.make(slots)
		return
	}
	g.bits = append(g.bits, make([]uint64, g.words)...)
	g.set(g.bits[len(g.bits)-g.words:], v)
}

// make finds the centre and everyone's bits.
func (g *signs) make(slots []*slot) {
	dim := len(slots[0].vector)
	g.words, g.added, g.made = (dim+63)/64, 0, len(slots)
	g.centre = make([]float32, dim)
	part := 1 / float32(len(slots))
	for _, l := range slots {
		for i, f := range l.vector {
			g.centre[i] += f * part
		}
	}
	g.bits = make([]uint64, len(slots)*g.words)
	for i, l := range slots {
		g.set(g.bits[i*g.words:][:g.words], l.vector)
	}
}

func (g *signs) set(words []uint64, v []float32) {
	clear(words)
	for i, f := range v {
		if f > g.centre[i] {
			words[i/64] |= 1 << (i % 64)
		}
	}
}

// move puts the bits of the slot at end, which is the last, to those at at.
func (g *signs) move(at, end int) {
	if g.centre == nil {
		return
	}
	copy(g.bits[at*g.words:][:g.words], g.bits[end*g.words:][:g.words])
	g.bits = g.bits[:end*g.words]
}

// use says whether signs choose in a space of n.
func (g *signs) use(n int) bool { return g.centre != nil && n > few }

// nearest shows the n slots whose bits differ least from q's, and those that differ as little as the last of them, in no order.
func (g *signs) nearest(m *marks, q []float32, n int, show func(i int)) {
	m.query = resize(m.query, g.words)
	g.set(m.query, q)
	m.apart = resize(m.apart, len(g.bits)/g.words)
	m.counts = resize(m.counts, len(q)+1)
	clear(m.counts)
	for i := range m.apart {
		d := 0
		for j, w := range g.bits[i*g.words:][:g.words] {
			d += bits.OnesCount64(w ^ m.query[j])
		}
		m.apart[i] = uint16(d)
		m.counts[d]++
	}
	cut := 0
	for seen := m.counts[0]; seen < n && cut < len(q); seen += m.counts[cut] {
		cut++
	}
	for i, d := range m.apart {
		if int(d) <= cut {
			show(i)
		}
	}
}

// resize is s with n elements, whatever they hold.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
