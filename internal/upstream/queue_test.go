package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func newQueue(limit, most int) *queue {
	q := &queue{}
	q.setLimit(limit, most)
	return q
}

// left says what a queue still holds that nobody uses.
func (q *queue) left() string {
	return fmt.Sprint(q.inFlight(), q.waiting, q.turns.Len(), len(q.lines))
}

// TestQueueOrder: keys take turns, and each key's calls go in order of arrival.
func TestQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 100)
		first, err := q.acquire(t.Context(), "z")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []string
		var all sync.WaitGroup
		for _, name := range strings.Fields("a1 a2 a3 a4 b1 b2 c1") {
			all.Go(func() {
				s, err := q.acquire(t.Context(), name[:1])
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				got = append(got, name)
				mu.Unlock()
				s.release()
			})
			synctest.Wait() // so that they come in order
		}
		first.release()
		all.Wait()
		if diff := cmp.Diff(strings.Fields("a1 b1 c1 a2 b2 a3 a4"), got); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		if got := q.left(); got != "0 0 0 0" {
			t.Errorf("left behind: %s", got)
		}
	})
}

func TestQueueWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 100)
		held, _ := q.acquire(t.Context(), "a")
		start := time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errQueueWait)
		defer cancel()
		s, err := q.acquire(ctx, "b")
		if err != errQueueWait || time.Since(start) != 3*time.Second { //nolint:errorlint // it comes as it is
			t.Errorf("%v after %v", err, time.Since(start))
		}
		s.release() // of nothing
		held.release()
		held.release()
		if got := q.left(); got != "0 0 0 0" {
			t.Errorf("left behind: %s", got)
		}
	})
}

// TestQueueCancelledAsServed: a slot that comes to a call that has just been cancelled is not lost.
func TestQueueCancelledAsServed(t *testing.T) {
	q := newQueue(1, 100)
	_, _ = q.join("a")
	w1, _ := q.join("b")
	w2, _ := q.join("c")
	q.release() // to w1
	q.leave(w1)
	select {
	case <-w2.done:
	default:
		t.Fatal("the slot was lost")
	}
	q.release()
	if got := q.left(); got != "0 0 0 0" {
		t.Errorf("left behind: %s", got)
	}
}

func TestQueueFull(t *testing.T) {
	q := newQueue(1, 3)
	_, _ = q.join("z")
	var waiters []*waiter
	for _, key := range strings.Fields("a a a") {
		w, err := q.join(key)
		if w == nil || err != nil {
			t.Fatal(w, err)
		}
		waiters = append(waiters, w)
	}
	if _, err := q.join("a"); !errors.Is(err, errQueueFull) {
		t.Errorf("a fourth waiter: %v", err)
	}
	if w, err := q.join("b"); w == nil || err != nil {
		t.Fatalf("another key has no place: %v, %v", w, err)
	}
	if <-waiters[2].done; !errors.Is(waiters[2].err, errQueueFull) { // the last of the longest line
		t.Errorf("the one sent away was told %v", waiters[2].err)
	}
	q.leave(waiters[2]) // too late: changes nothing
	if _, err := q.join("b"); !errors.Is(err, errQueueFull) {
		t.Errorf("lines of two and one: %v", err)
	}
	if got := q.left(); got != "1 3 2 2" {
		t.Errorf("in flight, waiting, lines: %s", got)
	}
	none := newQueue(1, 0)
	_, _ = none.join("a")
	if _, err := none.join("a"); !errors.Is(err, errQueueFull) {
		t.Errorf("without a line: %v", err)
	}
}

func TestQueueLimits(t *testing.T) {
	q := newQueue(0, 100)
	for range 50 {
		if w, err := q.join("a"); w != nil || err != nil {
			t.Fatal("no limit, and yet it waits")
		}
	}
	q.setLimit(4, 100)
	if !q.full() {
		t.Error("not full with 50 of 4")
	}
	w, _ := q.join("a")
	for range 46 {
		q.release()
	}
	if w.place == nil {
		t.Error("a slot beyond the limit was given")
	}
	q.setOthers(2)
	q.release()
	q.release()
	q.release() // one left: 4 - 2 others leave room for one more
	if w.place != nil || q.inFlight() != 2 || !q.full() {
		t.Errorf("%d in flight", q.inFlight())
	}
	q.setOthers(10)
	q.release()
	q.release()
	if q.full() {
		t.Error("others took the last slot, too")
	}
	_, _ = q.join("a")
	w, _ = q.join("a")
	q.setOthers(0)
	if w.place != nil {
		t.Error("slots that others gave back were not given on")
	}
}

// A queueModel is a queue as lists.
type queueModel struct {
	limit, others, most, running int
	turns                        []string
	lines                        map[string][]int // ids
}

func (m *queueModel) waiting() (n int) {
	for _, l := range m.lines {
		n += len(l)
	}
	return n
}

func (m *queueModel) room() bool {
	return m.limit == 0 || m.running < 1 || m.running < m.limit-m.others
}

func (m *queueModel) drop(key string, at int) int {
	id := m.lines[key][at]
	if m.lines[key] = slices.Delete(m.lines[key], at, at+1); len(m.lines[key]) == 0 {
		delete(m.lines, key)
		m.turns = slices.DeleteFunc(m.turns, func(k string) bool { return k == key })
	}
	return id
}

// serve lists who gets a slot.
func (m *queueModel) serve() (served []int) {
	for len(m.turns) > 0 && m.room() {
		key := m.turns[0]
		m.turns = append(m.turns[1:], key)
		served = append(served, m.drop(key, 0))
		m.running++
	}
	return served
}

// TestQueueModel: any order of arrivals, ends, cancellations and changed limits serves whom the model serves.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, m := newQueue(2, 5), queueModel{limit: 2, most: 5, lines: map[string][]int{}}
		waiters, next := map[int]*waiter{}, 0
		isDone := func(w *waiter) bool {
			select {
			case <-w.done:
				return true
			default:
				return false
			}
		}
		expect := func(served []int) {
			for _, id := range served {
				if w := waiters[id]; !isDone(w) || w.err != nil {
					t.Fatalf("%d was not served", id)
				}
				delete(waiters, id)
			}
			for id, w := range waiters {
				if isDone(w) {
					t.Fatalf("%d was served or sent away (%v)", id, w.err)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if want := fmt.Sprint(m.running, m.waiting(), len(m.turns), len(m.lines)); q.left() != want {
					t.Fatalf("in flight, waiting, lines: %s, want %s", q.left(), want)
				}
			},
			"join": func(t *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
				before := m.waiting()
				w, err := q.join(key)
				switch {
				case m.room():
					if w != nil || err != nil {
						t.Fatalf("there was room: %v", err)
					}
					m.running++
					return
				case err != nil:
					if before < m.most {
						t.Fatal("refused with places left")
					}
					for _, l := range m.lines {
						if len(l) > len(m.lines[key])+1 {
							t.Fatal("refused, though a longer line could make room")
						}
					}
					return
				case before >= m.most: // somebody was sent away
					for id, gone := range waiters {
						if isDone(gone) {
							delete(waiters, id)
							for k, l := range m.lines {
								if at := slices.Index(l, id); at >= 0 {
									if at != len(l)-1 || len(l) <= len(m.lines[key])+1 {
										t.Fatalf("%d of %v was sent away for %s", at, l, key)
									}
									m.drop(k, at)
								}
							}
						}
					}
				}
				if m.lines[key] == nil {
					m.turns = append(m.turns, key)
				}
				m.lines[key] = append(m.lines[key], next)
				waiters[next] = w
				next++
			},
			"release": func(t *rapid.T) {
				if m.running == 0 {
					t.Skip()
				}
				q.release()
				m.running--
				expect(m.serve())
			},
			"leave": func(t *rapid.T) {
				if len(waiters) == 0 {
					t.Skip()
				}
				key := rapid.SampledFrom(m.turns).Draw(t, "key")
				at := rapid.IntRange(0, len(m.lines[key])-1).Draw(t, "place")
				id := m.drop(key, at)
				q.leave(waiters[id])
				delete(waiters, id)
				expect(nil)
			},
			"limit": func(t *rapid.T) {
				m.limit, m.most = rapid.IntRange(0, 5).Draw(t, "limit"), rapid.IntRange(0, 8).Draw(t, "most")
				q.setLimit(m.limit, m.most)
				expect(m.serve())
			},
			"others": func(t *rapid.T) {
				m.others = rapid.IntRange(0, 6).Draw(t, "others")
				q.setOthers(m.others)
				expect(m.serve())
			},
		})
	})
}

// TestQueueUnderLoad: real goroutines with cancellations; never more than the limit, and nothing left behind.
func TestQueueUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3
		q := newQueue(limit, 20)
		var mu sync.Mutex
		now, most, served, refused := 0, 0, 0, 0
		var all sync.WaitGroup
		for i := range 400 {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			all.Go(func() {
				time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(r.IntN(100))*time.Millisecond, errQueueWait)
				defer cancel()
				s, err := q.acquire(ctx, fmt.Sprint(r.IntN(4)))
				if err != nil {
					mu.Lock()
					refused++
					mu.Unlock()
					return
				}
				defer s.release()
				mu.Lock()
				served++
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
				mu.Lock()
				now--
				mu.Unlock()
			})
		}
		all.Wait()
		if most != limit || served == 0 || refused == 0 || served+refused != 400 {
			t.Errorf("%d at once, %d served, %d refused", most, served, refused)
		}
		if got := q.left(); got != "0 0 0 0" {
			t.Errorf("left behind: %s", got)
		}
	})
}

func TestQueueWithRoomDoesNotAllocate(t *testing.T) {
	q := newQueue(2, 2)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		s, err := q.acquire(ctx, "a")
		if err != nil {
			t.Error(err)
		}
		s.release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	q := newQueue(2, 2)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		s, _ := q.acquire(ctx, "a")
		s.release()
	}
}
