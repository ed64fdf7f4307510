package redis

import (
	"context"
	"testing"
	"time"

	"sluice/internal/circuit"
)

// Callers who give up between failures neither count as failures nor keep the store from resting.
func TestWhoGivesUpSaysNothing(t *testing.T) {
	s := &Store{rest: circuit.Breaker{After: 3, Rest: time.Hour}}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range 3 {
		for range 2 {
			if !s.enter() {
				t.Fatal("resting")
			}
			s.leave(gone, context.Canceled)
		}
		s.leave(t.Context(), errSlow)
	}
	if s.enter() || s.State().Skipped != 1 {
		t.Errorf("not resting, %d not tried", s.State().Skipped)
	}
}
