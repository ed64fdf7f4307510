package admin

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"sluice/internal/pgtest"
)

// Each answer of PostgreSQL that a request waits for takes both processes a turn on a core, which under load is what an act costs. Each
// has one for who asks; an act that changes something has two at its end for the audit log: what it goes on from, and that it is written.
func TestTrips(t *testing.T) {
	dsn, trips := pgtest.Trips(t, pgtest.Database(t))
	w := newWorld(t, dsn)
	n, made := 0, struct {
		ID string `json:"id"`
	}{}
	do := func(method, path, body string) []byte {
		t.Helper()
		n++
		fill := func(text string) string {
			return strings.NewReplacer("{id}", made.ID, "{n}", fmt.Sprint(n)).Replace(w.fill(text, own))
		}
		rec := w.do(w.request(w.people["owner gateway"], byToken, method, fill(path), fill(body)))
		if rec.Code >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
		return rec.Body.Bytes()
	}
	for _, act := range []struct {
		name, method, path, body string
		want                     int64
	}{
		{"a page", "GET", "/admin/keys?limit=100", "", 2},
		{"one", "GET", "/admin/keys/{id}", "", 3},
		{"create", "POST", "/admin/keys", `{"name":"{n}","organisation":"{org}"}`, 5},
		{"create where the user and the team are", "POST", "/admin/keys", `{"name":"{n}","organisation":"{org}","team":"{team}","user":"{user}"}`, 7},
		{"patch", "PATCH", "/admin/keys/{id}", `{"metadata":{"a":"b"}}`, 6},
		{"disable", "POST", "/admin/keys/{id}/disable", "", 5},
		{"delete", "DELETE", "/admin/keys/{id}", "", 5},
	} {
		least := int64(math.MaxInt64) // what a connection is told for the first time it prepares, and after a second it is asked whether it is there
		for range 5 {
			w.ok(json.Unmarshal(do("POST", "/admin/keys", `{"name":"{n}","organisation":"{org}"}`), &made))
			before := trips.Load()
			do(act.method, act.path, act.body)
			least = min(least, trips.Load()-before)
		}
		if least != act.want {
			t.Errorf("%s: %d round trips, want %d", act.name, least, act.want)
		}
	}
}
