package sql

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

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
	conn    interface { // what tx is, if there is one
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	}
	tx    *sql.Tx
	ready *prepared
	raw   *sql.Conn // of tx: what COPY needs
}

// prepared gives a statement in the session; nil: it is not prepared.
func (s *session) prepared(ctx context.Context, text string) *sql.Stmt {
	stmt := s.ready.find(text)
	if stmt != nil && s.tx != nil {
		return s.tx.StmtContext(ctx, stmt) // ends with tx
	}
	return stmt
}

// exec runs a statement that gives no rows and tells how many it changed.
func (s *session) exec(ctx context.Context, q *statement) (int64, error) {
	var r sql.Result
	var err error
	tally(ctx)
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

// each calls scan for each row.
func (s *session) each(ctx context.Context, q *statement, scan func(*sql.Rows) error) error {
	var rows *sql.Rows
	var err error
	tally(ctx)
	text := q.in(s.dialect)
	if stmt := s.prepared(ctx, text); stmt != nil { //nolint:sqlclosecheck // it outlives the session, or ends with its transaction
		rows, err = stmt.QueryContext(ctx, q.args...)
	} else {
		rows, err = s.conn.QueryContext(ctx, text, q.args...)
	}
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // each returns what went wrong
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// one reads the one row of a statement; found is false where there is none.
func (s *session) one(ctx context.Context, q *statement, into ...any) (found bool, err error) {
	err = s.each(ctx, q, func(r *sql.Rows) error {
		found = true
		return r.Scan(into...)
	})
	return found, err
}

// together is the key under which a context carries the session of Together.
type together struct{ db *DB }

// Together runs do in one transaction: all that it does with this store by the context it is given happens, or nothing. do may run
// again, as write says, and it must not use that context for anything that goes on after it. That the store is full, locked, read-only or
// gone is told as that.
func (db *DB) Together(ctx context.Context, do func(context.Context) error) error {
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

// alone runs do with a session for a single statement that only reads.
func (db *DB) alone(ctx context.Context, do func(context.Context, *session) error) error {
	if s := db.joined(ctx); s != nil {
		return do(ctx, s)
	}
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	err := do(ctx, &session{dialect: db.dialect, conn: db.reader, ready: db.readers})
	db.readers.grow(ctx)
	return err
}

// read runs do on one snapshot.
func (db *DB) read(ctx context.Context, do func(context.Context, *session) error) error {
	if s := db.joined(ctx); s != nil {
		return do(ctx, s)
	}
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	tx, err := db.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: db.snapshot()})
	if err != nil {
		return err
	}
	err = do(ctx, &session{dialect: db.dialect, conn: tx, tx: tx, ready: db.readers})
	_ = tx.Rollback() // it changed nothing
	db.readers.grow(ctx)
	return err
}

// snapshot is the isolation in which all statements see one state. SQLite knows no other.
func (db *DB) snapshot() sql.IsolationLevel {
	if db.dialect == postgres {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

const maxTries = 4 // of a transaction that lost against another

// write runs do in one transaction, all of which happens or nothing. do may run again: a transaction that
// PostgreSQL ended for the sake of another is tried anew.
func (db *DB) write(ctx context.Context, do func(context.Context, *session) error) error {
	if s := db.joined(ctx); s != nil {
		return do(ctx, s)
	}
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := db.writeOnce(ctx, do)
		db.writers.grow(ctx)
		if try == maxTries || !lostRace(err) || ctx.Err() != nil {
			return err
		}
	}
}

func (db *DB) writeOnce(ctx context.Context, do func(context.Context, *session) error) error {
	conn, err := db.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	err = db.inTx(ctx, conn, do)
	if err != nil && db.writers != nil {
		db.writers.direct.drop(conn)
	}
	return err
}

func (db *DB) inTx(ctx context.Context, conn *sql.Conn, do func(context.Context, *session) error) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(ctx, &session{dialect: db.dialect, conn: tx, tx: tx, ready: db.writers, raw: conn}); err != nil {
		_ = tx.Rollback() // its error is the same, or tells only that it was rolled back already
		return err
	}
	return tx.Commit()
}

// scanText collects the one column of rows.
func scanText(all *[]string) func(*sql.Rows) error {
	return func(r *sql.Rows) error {
		var one string
		err := r.Scan(&one)
		*all = append(*all, one)
		return err
	}
}
