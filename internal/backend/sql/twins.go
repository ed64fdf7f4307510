package sql

import (
	"context"
	"fmt"
	"time"
)

// Twins remember named creates, as admin.Twins has it.
type Twins struct{ db *DB }

// Twins gives what the store knows of named creates.
func (db *DB) Twins() *Twins { return &Twins{db} }

// twinTime is for how long a name means one create.
const twinTime = 24 * time.Hour

// Claim takes a name.
func (t *Twins) Claim(ctx context.Context, name, print [32]byte, now time.Time) (ours bool, err error) {
	err = t.db.write(ctx, func(ctx context.Context, s *session) error {
		if err := s.do(ctx, say("DELETE FROM twins WHERE at <= ?", now.Add(-twinTime).UnixMicro())); err != nil {
			return err
		}
		n, err := s.exec(ctx, say("INSERT INTO twins (name, print, made, at) VALUES (?, ?, '', ?) ON CONFLICT (name) DO NOTHING", name[:], print[:], now.UnixMicro()))
		ours = n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("claim name: %w", err)
	}
	return ours, nil
}

// Made notes what was made under a name.
func (t *Twins) Made(ctx context.Context, name [32]byte, id string) error {
	err := t.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("UPDATE twins SET made = ? WHERE name = ?", id, name[:]))
		return err
	})
	if err != nil {
		return fmt.Errorf("note what a name made: %w", err)
	}
	return nil
}

// Seek tells what was made under a name.
func (t *Twins) Seek(ctx context.Context, name [32]byte, now time.Time) (print [32]byte, id string, found bool, err error) {
	var kept []byte
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		var err error
		found, err = s.one(ctx, say("SELECT print, made FROM twins WHERE name = ? AND at > ?", name[:], now.Add(-twinTime).UnixMicro()), &kept, &id)
		return err
	})
	if err != nil {
		return print, "", false, fmt.Errorf("seek name: %w", err)
	}
	copy(print[:], kept)
	return print, id, found, nil
}
