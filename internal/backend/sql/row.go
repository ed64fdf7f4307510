package sql

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// ledgerColumns are those of a row in the order of former.add and scanRow: what is filtered, added up or asked for in SQL by
// people. The rest of a row is in one of them, as package usage writes it.
const ledgerColumns text = "charged, series, request_id, replica, position, status, error, " +
	"input, cache_read, cache_write, output, reasoning, cost, saved, estimated, partial, cache, price_version, detail"

// ledgerRow is a row's place in a statement.
const ledgerRow text = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"

// A former makes the arguments of a statement of rows.
type former struct {
	args []any
	buf  []byte // of their details
}

// reset begins a new statement. The arguments of the one before are gone.
func (f *former) reset() { f.args, f.buf = f.args[:0], f.buf[:0] }

// add appends a row's columns.
func (f *former) add(b *usage.Batch, i int, series int64) {
	at := len(f.buf)
	f.buf = b.AppendRest(f.buf, i)
	r := &b.Rows[i]
	u := &r.Usage
	f.args = append(f.args,
		r.Charged.UnixMicro(), series, clean(r.RequestID), clean(r.Replica), int64(r.Position), int64(r.Status), clean(string(r.Error)),
		count(u.Input), count(u.CacheRead), count(u.CacheWrite), count(u.Output), count(u.Reasoning),
		int64(r.Costs.Total()), int64(r.Saved), bit(r.Estimated), bit(r.Partial), clean(r.Cache), clean(r.PriceVersion), f.buf[at:])
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// count is NULL where nothing was told.
func count(c llm.Count) any {
	if c.Known {
		return c.N
	}
	return nil
}

// scanRow reads ledgerColumns and then seriesColumns.
func scanRow(from row, r *usage.Row) error {
	var (
		charged, number    int64
		cost               llm.Nano // the detail has it by kinds
		input, read, write sql.NullInt64
		output, reasoning  sql.NullInt64
		tags               string
		detail             []byte
	)
	err := from.Scan(
		&charged, &number, &r.RequestID, &r.Replica, &r.Position, &r.Status, &r.Error,
		&input, &read, &write, &output, &reasoning, &cost, &r.Saved, asBit{&r.Estimated}, asBit{&r.Partial}, &r.Cache, &r.PriceVersion, &detail,
		&r.Org, &r.Team, &r.User, &r.Key, &r.Project, &tags, &r.Model, &r.Provider)
	if err != nil {
		return err
	}
	r.Charged = time.UnixMicro(charged).UTC()
	u := &r.Usage
	u.Input, u.CacheRead, u.CacheWrite, u.Output, u.Reasoning = known(input), known(read), known(write), known(output), known(reasoning)
	if r.Tags, err = parseTags(tags); err != nil {
		return err
	}
	return r.Merge(detail)
}

const seriesColumns text = "org_id, team_id, user_id, key_id, project, tags, model, provider"

func known(n sql.NullInt64) llm.Count { return llm.Count{N: n.Int64, Known: n.Valid} }

// insertNew stores rows of which none is there; else it fails.
func (s *session) insertNew(ctx context.Context, b *usage.Batch, numbers []int64) ([]bool, error) {
	if s.dialect == postgres {
		return nil, s.copyRows(ctx, b, numbers)
	}
	rows := b.Rows
	var plain, others []int
	first := -1
	for i := range rows {
		if r := &rows[i]; !isPlain(r) || first >= 0 && (r.Replica != rows[first].Replica || r.PriceVersion != rows[first].PriceVersion) {
			others = append(others, i)
			continue
		}
		if first < 0 {
			first = i
		}
		plain = append(plain, i)
	}
	var f former
	for piece := range pieces(plain) {
		f.reset()
		f.args = append(f.args, clean(rows[first].Replica), clean(rows[first].PriceVersion))
		for _, i := range piece {
			f.addPlain(b, i, numbers[i])
		}
		if err := s.insert(ctx, true, len(piece), f.args); err != nil {
			return nil, err
		}
	}
	for piece := range pieces(others) {
		f.reset()
		for _, i := range piece {
			f.add(b, i, numbers[i])
		}
		if err := s.insert(ctx, false, len(piece), f.args); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// plainColumns and plainRow are for rows as nearly all are. Each argument is bound, boxed and copied twice, so what is the same in all
// of them is said in the statement, and what is the same in all of one batch once.
const (
	plainColumns text = "replica, price_version, charged, series, request_id, position, input, cache_read, output, reasoning, cost, detail, " +
		"status, error, cache_write, saved, estimated, partial, cache"
	plainRow text = "(?1,?2,?,?,?,?,?,?,?,?,?,?,200,'',NULL,0,0,0,'')"
)

// isPlain tells whether a row can go in by that statement.
func isPlain(r *usage.Row) bool {
	return r.Status == 200 && r.Error == "" && r.Cache == "" && r.Saved == 0 && !r.Estimated && !r.Partial && !r.Usage.CacheWrite.Known
}

// addPlain appends a row's arguments for plainRow, but for those that all rows share.
func (f *former) addPlain(b *usage.Batch, i int, series int64) {
	at := len(f.buf)
	f.buf = b.AppendRest(f.buf, i)
	r := &b.Rows[i]
	u := &r.Usage
	f.args = append(f.args,
		r.Charged.UnixMicro(), series, clean(r.RequestID), int64(r.Position),
		count(u.Input), count(u.CacheRead), count(u.Output), count(u.Reasoning), int64(r.Costs.Total()), f.buf[at:])
}

// insertPlain is the statement for n such rows.
func (s *session) insertPlain(n int) *statement {
	return say(s.insertInto()).and("ledger (").and(plainColumns).and(") VALUES ").list(n, plainRow)
}

// insertRows is a statement for rows. Its transaction ends when it fails, so SQLite need not be able to undo it alone
// (OR FAIL), which costs a third.
func (s *session) insertRows(n int, args []any) *statement {
	return say(s.insertInto()).and("ledger (").and(ledgerColumns).and(") VALUES ").list(n, ledgerRow, args...)
}

// insertInto begins such a statement.
func (s *session) insertInto() text {
	if s.dialect == postgres {
		return "INSERT INTO "
	}
	return "INSERT OR FAIL INTO "
}

// insertMissing stores the rows that are not there, one at a time.
func (s *session) insertMissing(ctx context.Context, b *usage.Batch, numbers []int64) ([]bool, error) {
	isNew := make([]bool, len(b.Rows))
	var f former
	for i := range b.Rows {
		f.reset()
		f.add(b, i, numbers[i])
		n, err := s.exec(ctx, s.insertRows(1, f.args).and(" ON CONFLICT DO NOTHING"))
		if err != nil {
			return nil, err
		}
		isNew[i] = n == 1
	}
	return isNew, nil
}

// copyRows stores rows by PostgreSQL's COPY, in the session's transaction.
func (s *session) copyRows(ctx context.Context, b *usage.Batch, numbers []int64) error {
	columns := strings.Split(string(ledgerColumns), ", ")
	var f former
	source := pgx.CopyFromSlice(len(b.Rows), func(i int) ([]any, error) {
		f.reset() // what was given before is written
		f.add(b, i, numbers[i])
		return f.args, nil
	})
	if err := s.settle(ctx); err != nil {
		return err
	}
	_, err := s.pipe.conn.CopyFrom(ctx, pgx.Identifier{"ledger"}, columns, source)
	return err
}
