package directory

import (
	"io"

	"sluice/internal/auth"
)

// NewID draws the id of a new organisation, team or user, or of a key that was not made here. It has the form
// of the public part of a key. Two are never the same.
func NewID(random io.Reader) (string, error) { return auth.NewPublic(random) }
