package sql

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"sluice/internal/llm"
)

// text is a piece of a statement. Nothing but constants of this package's source has this type: a string that was
// read or made needs a conversion, and a test forbids those. Values go where a ? stands.
type text string

// A statement is put together of pieces, each with its values.
type statement struct {
	text strings.Builder
	args []any
}

// say begins a statement.
func say(t text, args ...any) *statement { return new(statement).and(t, args...) }

// and adds a piece.
func (s *statement) and(t text, args ...any) *statement {
	s.text.WriteString(string(t))
	s.args = append(s.args, args...)
	return s
}

// list adds a piece n times, commas between.
func (s *statement) list(n int, t text, args ...any) *statement {
	for i := range n {
		if i > 0 {
			s.text.WriteByte(',')
		}
		s.text.WriteString(string(t))
	}
	s.args = append(s.args, args...)
	return s
}

// limit adds how many rows there are to be at most. SQLite would look at a parameter that stands alone there when it plans a statement (since
// 3.54), and so read and plan it anew whenever its value is another than the time before, which costs more than most statements do.
func (s *statement) limit(n int) *statement { return s.and(" LIMIT CAST(? AS bigint)", n) }

// in is the statement as the engine reads it.
func (s *statement) in(d dialect) string {
	if d == postgres {
		return numbered(s.text.String())
	}
	return s.text.String()
}

// numbered writes $1, $2, ... for each ? outside quotes and comments.
func numbered(q string) string {
	var b strings.Builder
	b.Grow(len(q) + 16)
	n := 0
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case c == '?':
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		case c == '\'' || c == '"':
			end := strings.IndexByte(q[i+1:], c)
			if end < 0 {
				end = len(q) - i - 2
			}
			b.WriteString(q[i : i+end+2])
			i += end + 1
		case strings.HasPrefix(q[i:], "--"):
			end := strings.IndexByte(q[i:], '\n')
			if end < 0 {
				end = len(q) - i
			}
			b.WriteString(q[i : i+end])
			i += end - 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// A session runs statements, in a transaction or alone.
type session struct {
	dialect dialect
	pipe    *pipe       // PostgreSQL's; nil: conn is asked
	conn    interface { // what tx is, if there is one
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	}
	tx    *sql.Tx
	ready *prepared
	raw   *sql.Conn // of tx: what insert needs
}

// A row is one that a statement gives: sql.Rows and pgx.Rows are.
type row interface{ Scan(into ...any) error }

// prepared gives a statement in the session; nil: it is not prepared.
func (s *session) prepared(ctx context.Context, text string) *sql.Stmt {
	stmt := s.ready.find(text)
	if stmt != nil && s.tx != nil {
		return s.tx.StmtContext(ctx, stmt) // ends with tx
	}
	return stmt
}

// endless is the context of a statement. In a transaction that writes to SQLite it has no end unless that has come: such a statement waits for
// nobody and is over soon, and an end costs a goroutine for each of them, and one more for its rows.
func (s *session) endless(ctx context.Context) context.Context {
	if s.raw == nil || ctx.Err() != nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// exec runs a statement that gives no rows and tells how many it changed.
func (s *session) exec(ctx context.Context, q *statement) (n int64, err error) {
	if s.pipe != nil {
		s.pipe.later(ctx, q).Exec(func(tag pgconn.CommandTag) error {
			n = tag.RowsAffected()
			return nil
		})
		err = s.pipe.send(ctx)
		return n, err
	}
	var r sql.Result
	tally(ctx)
	ctx = s.endless(ctx)
	text := q.in(s.dialect)
	if stmt := s.prepared(ctx, text); stmt != nil { //nolint:sqlclosecheck // it outlives the session, or ends with its transaction
		r, err = stmt.ExecContext(ctx, q.args...)
	} else {
		r, err = s.conn.ExecContext(ctx, text, q.args...)
	}
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// do runs a statement of which nobody wants to know more than that it was run. With PostgreSQL that is told by whatever is asked next, or
// by the end of the operation.
func (s *session) do(ctx context.Context, q *statement) error {
	return s.doOr(ctx, q, func(err error) error { return err })
}

// doOr is do; what the store says where it refuses the statement is told in other words.
func (s *session) doOr(ctx context.Context, q *statement, told func(error) error) error {
	if s.pipe != nil {
		s.pipe.later(ctx, q).Fn = func(br pgx.BatchResults) error {
			_, err := br.Exec()
			if sqlState(err) != "" {
				err = told(err)
			}
			return err
		}
		return nil
	}
	if _, err := s.exec(ctx, q); err != nil {
		return told(err)
	}
	return nil
}

// settle tells whether all that the session was to do was done.
func (s *session) settle(ctx context.Context) error {
	if s.pipe == nil {
		return nil
	}
	return s.pipe.send(ctx)
}

// A question is a statement, and what is done with each of its rows; nil: it gives none.
type question struct {
	*statement
	scan func(row) error
}

// silent are the questions of statements that give no rows.
func silent(all ...*statement) (list []question) {
	for _, q := range all {
		list = append(list, question{q, nil})
	}
	return list
}

// each calls scan for each row.
func (s *session) each(ctx context.Context, q *statement, scan func(row) error) error {
	return s.ask(ctx, question{q, scan})
}

// ask asks one question after the other, none of which needs the answer to another. PostgreSQL is asked all of them at once.
func (s *session) ask(ctx context.Context, all ...question) error {
	if s.pipe == nil {
		for _, q := range all {
			if err := s.askOne(ctx, q); err != nil {
				return err
			}
		}
		return nil
	}
	for _, q := range all {
		queued := s.pipe.later(ctx, q.statement)
		if q.scan == nil {
			continue
		}
		queued.Query(func(rows pgx.Rows) error {
			for rows.Next() {
				if err := q.scan(rows); err != nil {
					return err
				}
			}
			return nil // that of rows is looked at by who calls this
		})
	}
	return s.pipe.send(ctx)
}

func (s *session) askOne(ctx context.Context, q question) error {
	if q.scan == nil {
		return s.do(ctx, q.statement)
	}
	var rows *sql.Rows
	var err error
	tally(ctx)
	ctx = s.endless(ctx)
	text := q.in(s.dialect)
	if stmt := s.prepared(ctx, text); stmt != nil { //nolint:sqlclosecheck // it outlives the session, or ends with its transaction
		rows, err = stmt.QueryContext(ctx, q.args...)
	} else {
		rows, err = s.conn.QueryContext(ctx, text, q.args...)
	}
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // askOne returns what went wrong
	for rows.Next() {
		if err := q.scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// one reads the one row of a statement; found is false where there is none.
func (s *session) one(ctx context.Context, q *statement, into ...any) (found bool, err error) {
	err = s.ask(ctx, oneRow(q, &found, into...))
	return found, err
}

// oneRow is the question for the one row of a statement.
func oneRow(q *statement, found *bool, into ...any) question {
	return question{q, func(r row) error {
		*found = true
		return r.Scan(into...)
	}}
}

// together is the key under which a context carries the session of Together.
type together struct{ db *DB }

// Together runs do in one transaction: all that it does with this store by the context it is given happens, or nothing. do may run
// again, as write says, and it must not use that context for anything that goes on after it. That the store is full, locked, read-only or
// gone is told as that.
func (db *DB) Together(ctx context.Context, do func(context.Context) error) error {
	if db.joined(ctx) != nil {
		return do(ctx)
	}
	err := db.write(ctx, func(ctx context.Context, s *session) error {
		return do(context.WithValue(ctx, together{db}, s))
	})
	if _, told := errors.AsType[*llm.Error](err); !told && isOut(err) {
		return &llm.Error{Kind: llm.KindOverloaded, Msg: "the store cannot be used now: it is full, locked, read-only or out of reach", Err: err}
	}
	return err
}

// joined is the session of the Together that ctx is in; nil: it is in none.
func (db *DB) joined(ctx context.Context) *session {
	s, _ := ctx.Value(together{db}).(*session)
	return s
}

// alone runs do with a session in no transaction, for a single statement that only reads, or some that need not see one state.
func (db *DB) alone(ctx context.Context, do func(context.Context, *session) error) error {
	if s := db.joined(ctx); s != nil {
		return do(ctx, s)
	}
	if db.dialect == postgres {
		return db.piped(ctx, none, do)
	}
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	err := do(ctx, &session{conn: db.reader, ready: db.readers})
	db.readers.grow(ctx)
	return err
}

// lookup is alone for statements that are over soon: they find what they give by an index, and give no more than a page of it. SQLite does not
// leave off such a statement once it has begun, which saves the goroutines that wait for an end; where it has to wait for a connection first, it
// may.
func (db *DB) lookup(ctx context.Context, do func(context.Context, *session) error) error {
	if db.dialect == postgres || db.joined(ctx) != nil || ctx.Err() != nil {
		return db.alone(ctx, do)
	}
	if all := db.reader.Stats(); all.InUse >= all.MaxOpenConnections {
		return db.alone(ctx, do)
	}
	ctx = context.WithoutCancel(ctx)
	err := do(ctx, &session{conn: db.reader, ready: db.readers})
	db.readers.grow(ctx)
	return err
}

// read runs do on one snapshot. Where that is one statement, alone costs less.
func (db *DB) read(ctx context.Context, do func(context.Context, *session) error) error {
	if s := db.joined(ctx); s != nil {
		return do(ctx, s)
	}
	if db.dialect == postgres {
		return db.piped(ctx, snapshot, do)
	}
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	tx, err := db.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	err = do(ctx, &session{conn: tx, tx: tx, ready: db.readers})
	_ = tx.Rollback() // it changed nothing
	db.readers.grow(ctx)
	return err
}

// write runs do in one transaction, all of which happens or nothing. do may run again: a transaction that
// PostgreSQL ended for the sake of another is tried anew. Once it returns, also within Together, what do did was done.
func (db *DB) write(ctx context.Context, do func(context.Context, *session) error) error {
	if s := db.joined(ctx); s != nil {
		if err := do(ctx, s); err != nil {
			return err
		}
		return s.settle(ctx)
	}
	if db.dialect == postgres {
		return db.piped(ctx, writing, do)
	}
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	err := db.writeOnce(ctx, do)
	db.writers.grow(ctx)
	return err
}

// writeOnce runs do in a transaction of SQLite.
func (db *DB) writeOnce(ctx context.Context, do func(context.Context, *session) error) error {
	conn, err := db.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err = db.inTx(ctx, conn, do); err != nil {
		db.writers.direct.drop(conn)
	}
	return err
}

func (db *DB) inTx(ctx context.Context, conn *sql.Conn, do func(context.Context, *session) error) error {
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil) // as its statements, which are not begun any more when ctx is over
	if err != nil {
		return err
	}
	if err = do(ctx, &session{conn: tx, tx: tx, ready: db.writers, raw: conn}); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = tx.Rollback() // its error is the same, or tells only that it was rolled back already
		return err
	}
	return tx.Commit()
}

// scanText collects the one column of rows.
func scanText(all *[]string) func(row) error {
	return func(r row) error {
		var one string
		err := r.Scan(&one)
		*all = append(*all, one)
		return err
	}
}
