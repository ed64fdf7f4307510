package audit_test

import (
	"testing"

	"sluice/internal/audit"
	"sluice/internal/audit/audittest"
)

func TestMemory(t *testing.T) {
	audittest.Run(t, audittest.Harness{Stores: func(*testing.T) (a, b audit.Store) {
		m := audit.NewMemory()
		return m, m
	}})
}
