package directory_test

import (
	"errors"
	"testing"

	"sluice/internal/directory"
	"sluice/internal/directory/directorytest"
)

func TestMemory(t *testing.T) {
	directorytest.Run(t, directorytest.Harness{Open: func(*testing.T) directory.Store { return directory.NewMemory() }})
}

// A reader who was away for too long is told so.
func TestMemoryGap(t *testing.T) {
	m := directory.NewMemory()
	team := &directory.Team{Record: directory.Record{ID: "t", Name: "t"}, Org: directory.DefaultOrganisation}
	if err := m.Teams().Create(t.Context(), team); err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		if err := m.Teams().Update(t.Context(), team); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Changes(t.Context(), 1); !errors.Is(err, directory.ErrGap) {
		t.Errorf("got %v", err)
	}
	if list, err := m.Changes(t.Context(), 15_000); err != nil || len(list) != 1000 || list[0].Seq != 15_001 {
		t.Errorf("%d changes, %v", len(list), err)
	}
}
