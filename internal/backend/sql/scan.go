package sql

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"sluice/internal/auth"
	"sluice/internal/directory"
)

// What follows reads columns that may be NULL, as those of an outer join are: NULL is the zero value.

// orZero reads into *T.
type orZero[T any] struct{ to *T }

// Scan implements sql.Scanner.
func (o orZero[T]) Scan(from any) error {
	var v sql.Null[T]
	err := v.Scan(from)
	*o.to = v.V
	return err
}

// asTime reads microseconds.
type asTime struct{ to *time.Time }

// Scan implements sql.Scanner.
func (a asTime) Scan(from any) error {
	var v sql.NullInt64
	err := v.Scan(from)
	if *a.to = (time.Time{}); v.Valid {
		*a.to = time.UnixMicro(v.Int64).UTC()
	}
	return err
}

// fromTime is what asTime reads.
func fromTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// asHash reads a key's hash.
type asHash struct{ to *auth.Hash }

// Scan implements sql.Scanner.
func (a asHash) Scan(from any) error {
	b, ok := from.([]byte)
	if *a.to = (auth.Hash{}); ok && len(b) == len(a.to) {
		copy(a.to[:], b)
	} else if from != nil {
		return fmt.Errorf("a key's hash of another length")
	}
	return nil
}

// fromHash is what asHash reads.
func fromHash(h auth.Hash) any {
	if h == (auth.Hash{}) {
		return nil
	}
	return h[:]
}

// asSpec reads a subject's spec.
type asSpec struct{ to *directory.Spec }

// Scan implements sql.Scanner.
func (a asSpec) Scan(from any) error {
	var v sql.NullString
	if err := v.Scan(from); err != nil || !v.Valid {
		return err
	}
	return a.to.UnmarshalText([]byte(v.String))
}

// asList reads a JSON array of texts.
type asList struct{ to *[]string }

// Scan implements sql.Scanner.
func (a asList) Scan(from any) error {
	var v sql.NullString
	if err := v.Scan(from); err != nil || !v.Valid {
		return err
	}
	*a.to = nil
	err := json.Unmarshal([]byte(v.String), a.to)
	if len(*a.to) == 0 {
		*a.to = nil
	}
	return err
}
