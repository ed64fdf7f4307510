package sql

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// A pipe is a connection to PostgreSQL. Each answer from there is waited for until two processes in turn got a core, so what nobody
// waits for (the begin of a transaction, a lock, what is stored) stays here until something is asked or the transaction ends, and goes
// with that in one write. Statements run in the order in which they came, each by itself; after one that fails none does.
type pipe struct {
	conn *pgx.Conn
	next pgx.Batch // not sent yet
	tx   bool      // a transaction, which is to be ended
}

// later adds a statement to what is sent next.
func (p *pipe) later(ctx context.Context, q *statement) *pgx.QueuedQuery {
	tally(ctx)
	return p.next.Queue(q.in(postgres), q.args...)
}

// send sends what is there and reads the answers. The error is that of the first statement that failed.
func (p *pipe) send(ctx context.Context) error {
	all := p.next // a batch is sent once
	if p.next = (pgx.Batch{}); all.Len() == 0 {
		return nil
	}
	return p.conn.SendBatch(ctx, &all).Close()
}

// end sends what is left, and commits.
func (p *pipe) end(ctx context.Context) error {
	switch {
	case !p.tx:
	case p.status() == idle && p.next.Len() == 1: // the begin alone: nothing was asked for
		p.next = pgx.Batch{}
	default:
		p.next.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
			if tag.String() != "COMMIT" { // a transaction in which a statement failed ends with ROLLBACK, and with no error
				return pgx.ErrTxCommitRollback
			}
			return nil
		})
	}
	return p.send(ctx)
}

// idle is the status of a connection that is in no transaction.
const idle = 'I'

func (p *pipe) status() byte { return p.conn.PgConn().TxStatus() }

// undoTime bounds a rollback, which does not wait for the end of what went wrong. A connection on which it fails is given up.
const undoTime = time.Second

// undo rolls back whatever was begun.
func (p *pipe) undo(ctx context.Context) {
	if p.conn.IsClosed() || p.status() == idle {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if _, err := p.conn.Exec(ctx, "rollback"); err != nil {
		_ = p.conn.Close(ctx)
	}
}

// Transactions of PostgreSQL.
const (
	writing  text = "begin"
	snapshot text = "begin isolation level repeatable read read only"
	none     text = ""
)

const maxTries = 4 // of a transaction that lost against another

// piped runs do on a connection to PostgreSQL, in a transaction that begin begins. It may run again: a transaction that was ended for
// the sake of another is tried anew, and so is what found its connection gone before anything was sent.
func (db *DB) piped(ctx context.Context, begin text, do func(context.Context, *session) error) error {
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	for try := 1; ; try++ {
		err := db.pipedOnce(ctx, begin, do)
		if try == maxTries || !lostRace(err) && !pgconn.SafeToRetry(err) || ctx.Err() != nil {
			return err
		}
	}
}

func (db *DB) pipedOnce(ctx context.Context, begin text, do func(context.Context, *session) error) error {
	conn, err := db.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(c any) error {
		driver, ok := c.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("a connection to PostgreSQL is a %T", c)
		}
		p := &pipe{conn: driver.Conn(), tx: begin != none}
		if p.tx {
			p.next.Queue(string(begin))
		}
		err := do(ctx, &session{dialect: postgres, pipe: p})
		if err == nil {
			err = p.end(ctx)
		}
		if err != nil {
			p.undo(ctx)
		}
		return err
	})
}
