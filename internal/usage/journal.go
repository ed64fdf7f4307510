package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
	"sluice/internal/usage/wal"
)

// JournalOptions say where a journal keeps its log and whom it hands the ends of calls to.
type JournalOptions struct {
	Dir  string // of the log; one process at a time
	WAL  wal.Options
	GoOn bool // when the log is full: make calls all the same and count what is lost, instead of refusing them

	Store Store // of the rows
	// Crowded tells whether anybody has had to wait for the store since it was asked the last time. Where there is but one who may write at a
	// time, batches are small then, so that nobody waits long. nil: nobody ever waits.
	Crowded func() bool
	// Settle is given the costs of calls that held something of a budget, in the order of the log. After an error
	// all of them are given again; after a Lost, what went before them, too. It keeps nothing of s. nil: nobody holds
	// anything.
	Settle func(ctx context.Context, s *Settlements) error
	// Count counts the tokens of an answer that told no usage, and of its request. It runs off the path of
	// calls, one at a time. nil: they are estimated from their size.
	Count func(ctx context.Context, s *Sample) (input, output int64, err error)

	Gone    time.Duration // after so much silence other replicas close a replica's open calls; 0: 5 min
	Keep    time.Duration // of rows; sums are kept five times as long. 0: for good
	Batch   int           // rows of a batch at most; 0: 1000, some 5 ms of a CPU
	Wait    time.Duration // for a batch to fill; 0: 200 ms
	Backoff time.Duration // before the first retry; doubles up to fifty times as much. 0: 100 ms
	Log     *slog.Logger  // nil: nothing is said

	recall time.Duration // shorter in tests
}

// Settlements are costs of calls of one organisation, with ascending positions.
type Settlements struct {
	Org, Replica string
	List         []Settlement
	Again        bool // some may have been given before
	// Epoch is that of the counters in which the settler went back the last time, 0 at the start. Counters in
	// another one must not take the list: they miss what was settled before it.
	Epoch int64
}

// A Lost is an error of Settle: the counters are in another epoch than the list, as they have lost data in
// between. The settler goes back and begins again for the new one.
type Lost struct{ Epoch int64 }

// Error implements error.
func (l *Lost) Error() string {
	return fmt.Sprintf("the counters have lost data: they are in epoch %d", l.Epoch)
}

// A Settlement is the cost of a call.
type Settlement struct {
	ID       string // of the call
	Position uint64
	Counters []string
	Cost     llm.Nano
	Tokens   int64 // Mark.Tokens
}

// A Journal is the durable half of the ledger: the log, and those who follow it. It outlives configurations.
type Journal struct {
	o      JournalOptions
	log    *wal.Log
	ratios *ratios
	jobs   chan *job
	queued atomic.Int64 // jobs not yet written
	hurry  atomic.Int64 // who waits for the shipper

	late     lateFinals
	dropped  atomic.Int64
	rewind   atomic.Bool   // the settler must go back
	epoch    atomic.Int64  // of the counters
	replayed atomic.Bool   // what earlier processes left open is closed
	joined   chan struct{} // closed once the store knows this replica

	mu      sync.Mutex      // guards what follows
	claimed map[string]bool // request ids whose end is another replica's
	moved   chan struct{}   // closed when shipped or settled move on
	first   uint64          // what is older is another replica's, which had this log before
	shipped uint64
	settled uint64
	open    int
	trouble error     // of the store
	since   time.Time // when the store's trouble began

	ship   *shipper
	settle *settler
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// OpenJournal opens the log and begins to hand on what it holds. What an earlier process left open is closed,
// with what is known of it, as soon as the store has told whether others have done it. It does not wait for the
// store.
func OpenJournal(o JournalOptions) (*Journal, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Crowded == nil {
		o.Crowded = func() bool { return false }
	}
	if o.WAL.Log == nil {
		o.WAL.Log = o.Log
	}
	o.Gone = or(o.Gone, 5*time.Minute)
	o.Batch = or(o.Batch, 1000)
	o.Wait = or(o.Wait, 200*time.Millisecond)
	o.recall = or(o.recall, recall)
	o.Backoff = or(o.Backoff, 100*time.Millisecond)
	log, err := wal.Open(o.Dir, o.WAL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background()) // the journal's own life, which Close ends
	j := &Journal{
		o: o, log: log, ratios: newRatios(), jobs: make(chan *job, mostJobs), cancel: cancel,
		joined: make(chan struct{}), moved: make(chan struct{}), claimed: map[string]bool{},
	}
	j.ship = newShipper(j)
	if o.Settle != nil {
		j.settle = newSettler(j)
	}
	// Whoever works looks at the others, too: all of them are there before the first one begins.
	j.work.Go(func() { j.ship.run(ctx) })
	if j.settle != nil {
		j.work.Go(func() { j.settle.run(ctx) })
	}
	if o.Count != nil {
		j.work.Go(func() { j.counter(ctx) })
	}
	return j, nil
}

func or[T comparable](v, other T) T {
	var none T
	if v == none {
		return other
	}
	return v
}

// Replica is the random name of this log, by which the store and the counters know it.
func (j *Journal) Replica() string { return j.log.Replica() }

// progress writes down a mark. When there is no room, it is left out: the end has its own.
func (j *Journal) progress(d *draft) {
	d.buf = appendProgress(d.buf[:0], d.final.at, &d.final.row.Mark)
	if _, err := j.log.Append(d.buf, 0, 0); err != nil && !errors.Is(err, wal.ErrFull) {
		j.o.Log.Error("ledger progress", "request_id", d.final.row.RequestID, "error", err)
	}
}

// end writes down a final record. When there is no room although some was promised, it is kept until there is.
func (j *Journal) end(record []byte, promised int) uint64 {
	pos, err := j.log.Append(record, 0, promised)
	switch {
	case err == nil:
	case promised > 0:
		j.keepLate(late{bytes.Clone(record), promised}, err)
	default:
		j.drop(record, err)
	}
	return pos
}

// drop counts and tells an end that is lost.
func (j *Journal) drop(record []byte, err error) {
	j.dropped.Add(1)
	if rec, _ := decode(record); rec.final != nil {
		r := &rec.final.row
		j.o.Log.Error("ledger dropped", "request_id", r.RequestID, "key", r.Key, "tokens", r.Tokens(), "cost", r.Costs.Total().String(), "error", err)
	}
}

// lateFinals are records of ends that could not be written down when their calls ended.
type lateFinals struct {
	mu   sync.Mutex
	list []late
}

type late struct {
	record   []byte
	promised int
}

const mostLate = 10_000

// keepLate keeps a record for later.
func (j *Journal) keepLate(l late, err error) {
	j.late.mu.Lock()
	defer j.late.mu.Unlock()
	if len(j.late.list) >= mostLate {
		j.drop(l.record, err)
		return
	}
	j.late.list = append(j.late.list, l)
}

// retryLate writes down what can be by now, and tells how much is left.
func (j *Journal) retryLate() int {
	j.late.mu.Lock()
	defer j.late.mu.Unlock()
	before := len(j.late.list)
	for len(j.late.list) > 0 {
		l := j.late.list[0]
		if _, err := j.log.Append(l.record, 0, l.promised); err != nil {
			break
		}
		j.late.list = j.late.list[1:]
	}
	if before > 0 && len(j.late.list) == 0 {
		j.move(func() {})
	}
	return len(j.late.list)
}

// Rewind lets the settler begin again at what the store has and some seconds before: the counters are in a
// new epoch, as they have lost what was settled. What they have again is not counted twice, as every settlement
// has its position. It does not wait.
func (j *Journal) Rewind(epoch int64) {
	if j.settle != nil {
		j.epoch.Store(epoch)
		j.rewind.Store(true)
		j.settle.nudge()
	}
}

// Flush waits until everything that has ended by now is in the store and settled.
func (j *Journal) Flush(ctx context.Context) error {
	for {
		j.mu.Lock()
		moved := j.moved
		j.mu.Unlock()
		if j.replayed.Load() && j.queued.Load() == 0 && j.retryLate() == 0 {
			break
		}
		if err := wait(ctx, moved); err != nil {
			return err
		}
	}
	target := j.log.Last()
	j.log.Sync()
	j.hurry.Add(1)
	defer j.hurry.Add(-1)
	j.ship.nudge()
	for {
		j.mu.Lock()
		moved := j.moved
		done := j.shipped >= target && (j.settle == nil || j.settled >= target && !j.rewind.Load())
		j.mu.Unlock()
		if done {
			return nil
		}
		if err := wait(ctx, moved); err != nil {
			return err
		}
	}
}

// Settled waits until the budgets know everything that has been written down by now. It does not wait for the store.
func (j *Journal) Settled(ctx context.Context) error {
	target := j.log.Last()
	for {
		j.mu.Lock()
		moved := j.moved
		done := j.settle == nil || j.settled >= target
		j.mu.Unlock()
		if done {
			return nil
		}
		if err := wait(ctx, moved); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c:
		return nil
	}
}

// move notes how far somebody has come.
func (j *Journal) move(set func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	set()
	close(j.moved)
	j.moved = make(chan struct{})
}

// Stats is how a journal stands.
type Stats struct {
	Last, Shipped, Settled uint64    // positions
	Open                   int       // calls that have begun and not ended, as far as it is shipped
	Late                   int       // ends that wait for room in the log
	Dropped                int64     // ends that were lost, as the operator chose to go on
	Failures               int64     // of the log's disk
	Bytes                  int64     // of the log's files that are in use
	Damages                int       // that the log had when it was opened
	Trouble                error     // why nothing is shipped; nil: all is well
	Since                  time.Time // of Trouble
}

// Stats tells how the journal stands.
func (j *Journal) Stats() Stats {
	j.late.mu.Lock()
	late := len(j.late.list)
	j.late.mu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Stats{
		Last: j.log.Last(), Shipped: j.shipped, Settled: j.settled, Open: j.open, Late: late, Dropped: j.dropped.Load(),
		Failures: j.log.Failures(), Bytes: j.log.Size(), Damages: len(j.log.Damage()), Trouble: j.trouble, Since: j.since,
	}
	if j.settle == nil {
		s.Settled = s.Shipped
	}
	return s
}

// Close ends the journal. Calls must have ended. It waits for what is not in the store yet until ctx is done;
// the rest is in the log and handed on after the next start.
func (j *Journal) Close(ctx context.Context) error {
	err := j.Flush(ctx)
	j.cancel()
	j.work.Wait()
	if n := j.retryLate(); n > 0 {
		j.dropped.Add(int64(n))
		j.o.Log.Error("ledger dropped", "ends", n)
	}
	if e := j.log.Close(); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("hand on the ledger: %w", err)
	}
	return nil
}

// retry calls do until it succeeds or ctx is done, and waits longer each time.
func (j *Journal) retry(ctx context.Context, what string, do func() error) error {
	pause := j.o.Backoff
	for {
		err := do()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		j.o.Log.Error("ledger "+what, "error", err, "again_in", pause.String())
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(2*pause, 50*j.o.Backoff)
	}
}
