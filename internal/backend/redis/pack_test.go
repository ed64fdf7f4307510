package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/upstream"
)

func TestNoticeTravels(t *testing.T) {
	here := time.Now()
	there := here.Add(-7 * time.Hour) // another machine's clock
	for _, n := range []upstream.Notice{
		{From: "a", Deployment: "x", Mode: "disabled"},
		{From: "a", Deployment: "x", Until: here.Add(time.Minute), Opens: 3},
		{From: "a", Deployment: "x", Until: here.Add(-time.Minute), Opens: 3, Closed: true, Reset: true},
		{From: "a", RevokedKey: "0123456789ab"},
		{Deployment: "x", Until: here.Add(time.Microsecond)},
	} {
		text, err := packNotice(n, here)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := readNotice(text, there)
		want := n
		if !n.Until.IsZero() {
			want.Until = there.Add(n.Until.Sub(here))
		}
		if got.Until.Sub(want.Until).Abs() < 2*time.Millisecond {
			got.Until = want.Until // milliseconds travel
		}
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("%s: read %t\n%s", text, ok, diff)
		}
	}
	for name, n := range map[string]upstream.Notice{
		"mode": {Mode: "nonsense"}, "opens": {Opens: -1}, "size": {RevokedKey: strings.Repeat("k", maxNotice)}, "name": {Deployment: strings.Repeat("k", maxName+1)},
	} {
		if text, err := packNotice(n, here); err == nil {
			t.Errorf("%s: packed %s", name, text)
		}
	}
}

func FuzzNotice(f *testing.F) {
	for _, s := range []string{`{"from":"a","left_ms":5,"opens":1}`, `{"mode":"nonsense"}`, `{"until":"2030-01-01T00:00:00Z"}`, `[]`, `{"left_ms":9223372036854775807}`} {
		f.Add(s)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := readNotice(s, now)
		if !ok {
			return
		}
		if !n.Until.IsZero() && n.Until.Sub(now).Abs() > keep {
			t.Errorf("%q: until %v", s, n.Until)
		}
		text, err := packNotice(n, now)
		if err != nil {
			return // longer than may be sent
		}
		if again, ok := readNotice(text, now); !ok || again != n {
			t.Errorf("%q: %+v became %+v", s, n, again)
		}
	})
}

// FuzzFacts reads hashes in which anything may stand: no panic, and what does not fit is garbage, never a picture.
func FuzzFacts(f *testing.F) {
	for _, s := range []string{`{"x":1}`, "5 7", "9223372036854775807 1", "-5 disabled", "1 active", "", "null", `{"x":-1}`, " ", "5"} {
		f.Add(s, int64(5))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		var in facts
		in.now = now
		for key := keyInFlight; key <= keyMode; key++ {
			in.raw[key] = map[string]string{"x": value}
		}
		in.read([]string{"x", "me"})
		m := newMind()
		p := m.picture(in, "me", time.Now())
		c := p.Commons["x"]
		if p.Replicas != 2 || c.Others < 0 || c.Latency < 0 || c.Opens < 0 || !isMode(c.Mode) || time.Until(c.Until).Abs() > keep+time.Minute && !c.Until.IsZero() {
			t.Errorf("%q: %+v", value, p)
		}
		if _, err := m.report(upstream.Report{Replica: "me"}, time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestReportIsBounded(t *testing.T) {
	m := newMind()
	for name, r := range map[string]upstream.Report{
		"no name": {}, "long name": {Replica: strings.Repeat("r", maxName+1)}, "too many": report("a", upstream.MaxDeployments+1),
		"long key": {Replica: "a", Shares: map[string]upstream.Share{strings.Repeat("k", maxName+1): {}}},
	} {
		if _, err := m.report(r, time.Now()); err == nil {
			t.Errorf("%s: packed", name)
		}
	}
}

// TestMind walks a store's memory of an operator's words through losses and long absences.
func TestMind(t *testing.T) {
	day := keep.Milliseconds()
	steps := []struct {
		name   string
		server map[string]word
		now    int64
		want   string // mode in the picture
		lost   bool   // given back with the next report
	}{
		{"nothing said", nil, 1, "", false},
		{"said", map[string]word{"x": {10, "disabled"}}, 20, "disabled", false},
		{"lost", nil, 30, "disabled", true},
		{"an older word is back", map[string]word{"x": {5, "draining"}}, 40, "disabled", true},
		{"given back", map[string]word{"x": {10, "disabled"}}, 50, "disabled", false},
		{"a newer word", map[string]word{"x": {60, "active"}}, 61, "active", false},
		{"lost again", nil, 70, "active", true},
		{"forgotten after a day", nil, 60 + day + 1, "", false},
		{"said again", map[string]word{"x": {day + 100, "disabled"}}, day + 101, "disabled", false},
		{"away for too long", nil, 3*day + 1, "", false},
	}
	m := newMind()
	for _, s := range steps {
		f := facts{now: s.now, modes: s.server}
		p := m.picture(f, "me", time.Now())
		if got := p.Commons["x"].Mode; got != s.want || len(m.lost) > 0 != s.lost {
			t.Errorf("%s: mode %q, to be given back %v, want %q, %t", s.name, got, m.lost, s.want, s.lost)
		}
	}
}
