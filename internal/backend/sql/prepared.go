package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"iter"
	"sync"
)

const (
	mostPrepared = 64
	mostWanted   = 256
)

// prepared keeps the statements that SQLite's connections run again and again: to read one costs more than to insert a
// row. PostgreSQL's library does so by itself. A nil one keeps none.
type prepared struct {
	pool *sql.DB

	mu     sync.Mutex // guards what follows
	known  map[string]*sql.Stmt
	wanted map[string]bool // that ran once
	next   []string        // to be prepared

	direct direct
}

func newPrepared(pool *sql.DB) *prepared {
	return &prepared{pool: pool, known: make(map[string]*sql.Stmt), wanted: make(map[string]bool)}
}

// find gives a statement that is prepared; nil: it is not, which is noted.
func (p *prepared) find(text string) *sql.Stmt {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if stmt := p.known[text]; stmt != nil || len(p.known)+len(p.next) >= mostPrepared {
		return stmt
	}
	if !p.wanted[text] {
		if len(p.wanted) >= mostWanted {
			clear(p.wanted)
		}
		p.wanted[text] = true
		return nil
	}
	delete(p.wanted, text)
	p.next = append(p.next, text)
	return nil
}

// grow prepares what ran for the second time. It must not be called by who holds the writer's connection. A failure
// is no matter: the statement runs as it did before.
func (p *prepared) grow(ctx context.Context) {
	if p == nil {
		return
	}
	p.mu.Lock()
	next := p.next
	p.next = nil
	p.mu.Unlock()
	for _, text := range next {
		stmt, err := p.pool.PrepareContext(ctx, text) //nolint:sqlclosecheck // it stays until the pool is closed
		if err != nil {
			return
		}
		p.mu.Lock()
		p.known[text] = stmt
		p.mu.Unlock()
	}
}

// close frees them all.
func (p *prepared) close() {
	if p == nil {
		return
	}
	if conn, err := p.pool.Conn(context.Background()); err == nil { // whoever holds it has its time limit
		p.direct.drop(conn)
		_ = conn.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stmt := range p.known {
		_ = stmt.Close()
	}
	clear(p.known)
}

// direct keeps statements that run past package database/sql, which looks at each argument twice and copies all of them. It
// belongs to whoever holds the writer's connection.
type direct struct {
	conn  any // whose statements they are
	known map[inserting]driver.Stmt
	args  []driver.NamedValue
}

// An inserting is a statement for so many rows.
type inserting struct {
	plain bool
	rows  int
}

// insert runs a statement for n rows on the session's connection. The values are of the types that drivers take.
func (s *session) insert(ctx context.Context, plain bool, n int, args []any) error {
	ctx = s.endless(ctx)
	d := &s.ready.direct
	d.args = d.args[:0]
	for i, v := range args {
		d.args = append(d.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return s.raw.Raw(func(conn any) (err error) {
		if d.conn != conn { // the one before is closed, and its statements are
			d.conn, d.known = conn, map[inserting]driver.Stmt{}
		}
		key := inserting{plain, n}
		stmt := d.known[key]
		if stmt == nil {
			say := s.insertRows(n, nil)
			if plain {
				say = s.insertPlain(n)
			}
			if stmt, err = conn.(driver.ConnPrepareContext).PrepareContext(ctx, say.in(s.dialect)); err != nil {
				return err
			}
			d.known[key] = stmt
		}
		_, err = stmt.(driver.StmtExecContext).ExecContext(ctx, d.args)
		return err
	})
}

// drop frees the statements, if they are conn's. The driver gives up a connection on which a statement was interrupted, and
// SQLite keeps one open that has statements left.
func (d *direct) drop(conn *sql.Conn) {
	_ = conn.Raw(func(conn any) error { // without a connection there are no statements
		if d.conn == conn {
			for _, stmt := range d.known {
				_ = stmt.Close()
			}
			d.conn, d.known = nil, nil
		}
		return nil
	})
}

// maxPiece is how many rows go into one statement.
const maxPiece = 32

// pieces cuts a list so that its pieces have few different sizes: powers of two. Each size is a statement of its own.
func pieces[T any](list []T) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for size := maxPiece; len(list) > 0; {
			for size > len(list) {
				size /= 2
			}
			if !yield(list[:size]) {
				return
			}
			list = list[size:]
		}
	}
}
