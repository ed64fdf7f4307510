package sql

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// ledgerColumns are those of a row in the order of values and scanRow.
const ledgerColumns text = "charged, series, request_id, replica, position, start, total, upstream, first_token, own, " +
	"format, op, stream, upmodel, credential, attempts, fallback, status, error, " +
	"input, cache_read, cache_write, cache_write_1h, output, reasoning, audio_input, audio_output, image_input, image_output, total_tokens, tier, " +
	"cost_input, cost_cache_read, cost_cache_write, cost_cache_write_1h, cost_output, cost_reasoning, cost_audio, cost_image, cost_tools, " +
	"price_version, estimated, partial, cache, saved, bytes_in, bytes_out, frames"

const ledgerWidth = 48

// ledgerRow is a row's place in a statement.
const ledgerRow text = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"

// values appends a row's columns.
func values(to []any, series int64, r *usage.Row) []any {
	u, c := &r.Usage, &r.Costs
	return append(to,
		r.Charged.UnixMicro(), series, clean(r.RequestID), clean(r.Replica), int64(r.Position), r.Start.UnixMicro(),
		r.Total.Microseconds(), r.Upstream.Microseconds(), r.FirstToken.Microseconds(), r.Own.Microseconds(),
		clean(string(r.Format)), clean(string(r.Op)), bit(r.Stream), clean(r.Upmodel), clean(r.Credential), int64(r.Attempts), clean(r.Fallback),
		int64(r.Status), clean(string(r.Error)),
		count(u.Input), count(u.CacheRead), count(u.CacheWrite), count(u.CacheWrite1h), count(u.Output), count(u.Reasoning),
		count(u.AudioInput), count(u.AudioOutput), count(u.ImageInput), count(u.ImageOutput), count(u.Total), clean(u.Tier),
		int64(c.Input), int64(c.CacheRead), int64(c.CacheWrite), int64(c.CacheWrite1h), int64(c.Output), int64(c.Reasoning), int64(c.Audio), int64(c.Image), int64(c.Tools),
		clean(r.PriceVersion), bit(r.Estimated), bit(r.Partial), clean(r.Cache), int64(r.Saved), r.BytesIn, r.BytesOut, r.Frames)
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
func scanRow(rows *sql.Rows, r *usage.Row) error {
	var (
		charged, number, start      int64
		total, upstream, first, own int64
		stream, estimated, partial  bool
		input, read, write, write1h sql.NullInt64
		output, reasoning           sql.NullInt64
		audioIn, audioOut, overall  sql.NullInt64
		imageIn, imageOut           sql.NullInt64
		tags                        string
	)
	u, c := &r.Usage, &r.Costs
	err := rows.Scan(
		&charged, &number, &r.RequestID, &r.Replica, &r.Position, &start, &total, &upstream, &first, &own,
		&r.Format, &r.Op, &stream, &r.Upmodel, &r.Credential, &r.Attempts, &r.Fallback, &r.Status, &r.Error,
		&input, &read, &write, &write1h, &output, &reasoning, &audioIn, &audioOut, &imageIn, &imageOut, &overall, &u.Tier,
		&c.Input, &c.CacheRead, &c.CacheWrite, &c.CacheWrite1h, &c.Output, &c.Reasoning, &c.Audio, &c.Image, &c.Tools,
		&r.PriceVersion, &estimated, &partial, &r.Cache, &r.Saved, &r.BytesIn, &r.BytesOut, &r.Frames,
		&r.Org, &r.Team, &r.User, &r.Key, &r.Project, &tags, &r.Model, &r.Provider)
	if err != nil {
		return err
	}
	r.Charged, r.Start = time.UnixMicro(charged).UTC(), time.UnixMicro(start).UTC()
	r.Total, r.Upstream, r.FirstToken, r.Own = micros(total), micros(upstream), micros(first), micros(own)
	r.Stream, r.Estimated, r.Partial = stream, estimated, partial
	u.Input, u.CacheRead, u.CacheWrite, u.CacheWrite1h = known(input), known(read), known(write), known(write1h)
	u.Output, u.Reasoning, u.AudioInput, u.AudioOutput = known(output), known(reasoning), known(audioIn), known(audioOut)
	u.ImageInput, u.ImageOutput, u.Total = known(imageIn), known(imageOut), known(overall)
	r.Tags, err = parseTags(tags)
	return err
}

const seriesColumns text = "org_id, team_id, user_id, key_id, project, tags, model, provider"

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func known(n sql.NullInt64) llm.Count { return llm.Count{N: n.Int64, Known: n.Valid} }

// insertNew stores rows of which none is there; else it fails.
func (s *session) insertNew(ctx context.Context, rows []usage.Row, numbers []int64) ([]bool, error) {
	if s.dialect == postgres {
		return nil, s.copyRows(ctx, rows, numbers)
	}
	args := make([]any, 0, maxPiece*ledgerWidth)
	for piece := range pieces(rows) {
		args = args[:0]
		for i := range piece {
			args = values(args, numbers[i], &piece[i])
		}
		numbers = numbers[len(piece):]
		if _, err := s.exec(ctx, s.insertRows(len(piece), args)); err != nil {
			return nil, err
		}
	}
	return nil, nil
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
func (s *session) insertMissing(ctx context.Context, rows []usage.Row, numbers []int64) ([]bool, error) {
	isNew := make([]bool, len(rows))
	for i := range rows {
		n, err := s.exec(ctx, s.insertRows(1, values(nil, numbers[i], &rows[i])).and(" ON CONFLICT DO NOTHING"))
		if err != nil {
			return nil, err
		}
		isNew[i] = n == 1
	}
	return isNew, nil
}

// copyRows stores rows by PostgreSQL's COPY, in the session's transaction.
func (s *session) copyRows(ctx context.Context, rows []usage.Row, numbers []int64) error {
	columns := strings.Split(string(ledgerColumns), ", ")
	buf := make([]any, 0, ledgerWidth)
	source := pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		buf = values(buf[:0], numbers[i], &rows[i])
		return buf, nil
	})
	return s.raw.Raw(func(conn any) error {
		_, err := conn.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{"ledger"}, columns, source)
		return err
	})
}
