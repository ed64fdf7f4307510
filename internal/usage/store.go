package usage

import (
	"context"
	"slices"
	"time"

	"sluice/internal/llm"
)

// A Store keeps rows for good: SQLite or PostgreSQL. Its suite is package usagetest. Methods may block on
// I/O, honour ctx and may be called from many goroutines; times are kept to the microsecond. An error means
// that nothing was changed or, when the connection broke at the wrong moment, that nobody knows: every method
// may be called again with the same arguments.
type Store interface {
	// Join begins or goes on with the life of a replica, which counts as alive from now on. It is called before
	// anything else of this replica's is shipped, and again after ErrGone.
	Join(ctx context.Context, replica string) (Standing, error)

	// Ship stores a batch in one transaction: inserts its rows with their rests (a row whose request id is there already is
	// skipped and counts nowhere), keeping nothing of the batch, adds exactly the inserted ones to the rollups, replaces the open calls that
	// the batch names, removes those that it says have ended, sets the
	// replica's shipped position to batch.Position and notes that the replica is alive. A batch may be empty but
	// for its position. When the stored position is at or above batch.Position it does nothing and succeeds.
	// When it is not batch.After, it changes nothing and fails. When calls were claimed from this replica
	// since its last Join, it changes nothing and returns ErrGone.
	Ship(ctx context.Context, batch *Batch) error

	// Shipped is the position up to which the replica's log is in the store; 0: nothing is.
	Shipped(ctx context.Context, replica string) (uint64, error)

	// Spent sums rows and gives, of the same snapshot, the shipped positions of all replicas.
	Spent(ctx context.Context, q *SpentQuery) (Spent, error)

	// Report sums rows by what q.By names, in the order of those (times first) unless q.Dearest says otherwise, and at most
	// q.Limit lines; total is the sum of all lines, also of those that are left out.
	Report(ctx context.Context, q *Query) (lines []Line, total Totals, err error)

	// Rows lists rows, the latest Charged first, by pages.
	Rows(ctx context.Context, q *RowQuery) (Page, error)

	// Claim hands over to replica by the open calls of the replicas that were not heard of (Join, Ship) for at
	// least gone, and returns all that by has taken over so and not yet closed by a row. A call is handed to one
	// replica only; it is handed on when that one is gone, too, and may come back to the one that began it. From
	// then on the calls belong to by, and the replica that they were taken from gets ErrGone from Ship until it
	// joins.
	Claim(ctx context.Context, by string, gone time.Duration) ([]Open, error)

	// Prepare makes sure that rows charged on a day (in UTC) and the day after can be stored.
	Prepare(ctx context.Context, day time.Time) error

	// Retain drops rows and rollups charged before a time, by whole days of UTC.
	Retain(ctx context.Context, rows, rollups time.Time) error
}

// A Standing is what a replica needs to know before it goes on.
type Standing struct {
	Shipped uint64   // the position up to which its log is in the store
	Open    []Open   // the calls that are open at Shipped and were begun by this replica and not taken over, in order
	Claimed []string // request ids of this replica that others took over and have still; their rows are not this replica's to write
}

// ErrGone says that others have taken over calls of this replica, as it was not heard of for too long. It must
// Join again to learn which.
const ErrGone = constError("other replicas have taken over open calls of this one")

type constError string

func (e constError) Error() string { return string(e) }

// A Filter selects rows. Empty members select all.
type Filter struct {
	From, Until time.Time // Charged is in [From, Until)
	Org         string
	Team        string
	User        string
	Key         string
	Project     string
	Tag         string   // one of the row's tags
	Models      []string // globs of Model (llm.Match); any of them
	Provider    string
}

// A SpentQuery asks for what a budget's counter should say.
type SpentQuery struct {
	Filter
	Part time.Duration // also one sum for each part of this length from From on; 0: none
}

// Spent is the sum of the rows of a counter.
type Spent struct {
	Money  llm.Nano
	Tokens int64             // Row.Tokens
	Calls  int64             //
	Marks  map[string]uint64 // the shipped position of each replica: what is above it is not in the sum
	Parts  []SpentPart       // with something in them, the earliest first; of the same snapshot
}

// A SpentPart is what was spent in a part of the time.
type SpentPart struct {
	Start  time.Time
	Money  llm.Nano
	Tokens int64
}

// A Query asks for a report.
type Query struct {
	Filter
	By      []By
	Zone    *time.Location // of months, days and hours; nil: UTC. Offsets are whole quarters of an hour
	Limit   int            // lines; 0: 10,000
	Dearest bool           // the lines that cost most come first, then those of most calls
}

// By is what a report has a line for each of.
type By string

// What reports can be made by.
const (
	ByHour     By = "hour" // of several units of time the finest holds
	ByDay      By = "day"
	ByMonth    By = "month"
	ByOrg      By = "org"
	ByTeam     By = "team"
	ByUser     By = "user"
	ByKey      By = "key"
	ByProject  By = "project"
	ByModel    By = "model"
	ByProvider By = "provider"
)

// A Line is the sum of the rows that have these members in common. What the report was not made by is "".
type Line struct {
	At       time.Time // when the hour, day or month began; zero: not by time
	Org      string
	Team     string
	User     string
	Key      string
	Project  string
	Model    string
	Provider string
	Totals
}

// Totals are sums over rows.
type Totals struct {
	Calls      int64
	Failed     int64 // Error is not ""
	Estimated  int64
	Cached     int64 // Cache is not ""
	Input      int64 // tokens; absent counts, and those of answers that a cache gave, add nothing
	CacheRead  int64
	CacheWrite int64
	Output     int64
	Reasoning  int64
	Cost       llm.Nano
	Saved      llm.Nano
}

// A RowQuery asks for rows.
type RowQuery struct {
	Filter
	RequestID string // "": all
	After     string // Page.Next of the page before; "": the first page
	Limit     int    // rows of a page; 0: 100, at most 1,000
}

// A Page is some rows.
type Page struct {
	Rows []Row
	Next string // "": there are no more
}

// Matches tells whether a row is selected.
func (f *Filter) Matches(r *Row) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	if !f.From.IsZero() && r.Charged.Before(f.From) || !f.Until.IsZero() && !r.Charged.Before(f.Until) {
		return false
	}
	if !is(f.Org, r.Org) || !is(f.Team, r.Team) || !is(f.User, r.User) || !is(f.Key, r.Key) || !is(f.Project, r.Project) || !is(f.Provider, r.Provider) {
		return false
	}
	return (f.Tag == "" || slices.Contains(r.Tags, f.Tag)) &&
		(len(f.Models) == 0 || slices.ContainsFunc(f.Models, func(glob string) bool { return llm.Match(glob, r.Model) }))
}

// Add adds a row.
func (t *Totals) Add(r *Row) {
	t.Calls++
	t.Failed += one(r.Error != "")
	t.Estimated += one(r.Estimated)
	t.Cached += one(r.Cache != "")
	if r.Cache == "" {
		t.Input += r.Usage.Input.N
		t.CacheRead += r.Usage.CacheRead.N
		t.CacheWrite += r.Usage.CacheWrite.N
		t.Output += r.Usage.Output.N
		t.Reasoning += r.Usage.Reasoning.N
	}
	t.Cost = t.Cost.Plus(r.Costs.Total())
	t.Saved = t.Saved.Plus(r.Saved)
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
