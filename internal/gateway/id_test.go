package gateway

import (
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shape := regexp.MustCompile(`^req_[0-7][0-9A-HJKMNP-TV-Z]{25}$`)
		seen := map[string]bool{}
		var inTime []string
		for range 1000 {
			for range 10 {
				id := newID()
				if !shape.MatchString(id) || seen[id] {
					t.Fatalf("%s: again, or in another shape", id)
				}
				seen[id] = true
			}
			inTime = append(inTime, newID())
			time.Sleep(time.Millisecond)
		}
		if !slices.IsSorted(inTime) {
			t.Error("ids do not come in the order of time")
		}
	})
}
