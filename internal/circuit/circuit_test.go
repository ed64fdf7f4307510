package circuit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// script plays letters at a breaker: f, s and c are tries that fail, succeed and are cancelled; x is one that is not let through;
// "(" begins one that is let through, and ")" ends the oldest of them with a failure; digits let time pass, in seconds.
func script(t *testing.T, b *Breaker, acts string) {
	t.Helper()
	now := time.Unix(0, 0)
	for i, act := range acts {
		switch {
		case act >= '1' && act <= '9':
			now = now.Add(time.Duration(act-'0') * time.Second)
			continue
		case act == ')':
			b.Fail(now)
			continue
		}
		if ok := b.Allow(now); ok != (act != 'x') {
			t.Fatalf("%s: let through at %d: %t", acts, i, ok)
		}
		switch act {
		case 'f':
			b.Fail(now)
		case 's':
			b.Succeed()
		case 'c':
			b.Cancel()
		}
	}
}

func TestBreaker(t *testing.T) {
	for name, acts := range map[string]string{
		"some failures in a row open it":            "fffxx",
		"a success ends the count":                  "ffsffsffsfffx",
		"then one tries, and nobody beside":         "fff1(x9x)x",
		"it rests twice as long each time":          "fff1fx1x1fx3x1fx4xx",
		"at most so long":                           "fff1f2f4f5f4x1fx4x1s",
		"a success makes the rests short again":     "fff1f2sfffx1s",
		"those that fail together rest once":        "((((((((((" + "))))))))))" + "x1s",
		"who leaves does not count as a failure":    "ffcccccccf" + "x",
		"who leaves does not count as a success":    "ffcfx",
		"when the one who tries leaves another may": "fff1cfx1x1s",
	} {
		t.Run(name, func(t *testing.T) {
			script(t, &Breaker{After: 3, Rest: time.Second, MaxRest: 5 * time.Second}, acts)
		})
	}
	script(t, &Breaker{After: 1, Rest: 2 * time.Second}, "fx1x1fx1x1fx2s") // always as long
}

func TestState(t *testing.T) {
	b, now := &Breaker{After: 2, Rest: time.Second}, time.Unix(0, 0)
	want := func(open, calm bool) {
		t.Helper()
		if b.Open(now) != open || b.Calm() != calm {
			t.Errorf("open %t, calm %t", b.Open(now), b.Calm())
		}
	}
	want(false, true)
	b.Fail(now)
	want(false, false)
	b.Fail(now)
	want(true, false)
	now = now.Add(time.Second)
	want(false, false) // somebody may try
	b.Succeed()
	want(false, true)
}

// Of many who ask at once while it is half-open one tries, however often that fails; when it has succeeded, all do.
func TestRace(t *testing.T) {
	b, now := &Breaker{After: 3, Rest: time.Second}, time.Unix(0, 0)
	rush := func(end func(now time.Time)) int64 {
		var all sync.WaitGroup
		var let atomic.Int64
		for range 64 {
			all.Go(func() {
				if b.Allow(now) {
					let.Add(1)
					end(now)
				}
				_, _ = b.Open(now), b.Calm()
			})
		}
		all.Wait()
		return let.Load()
	}
	if n := rush(b.Fail); n < 3 {
		t.Errorf("%d tried a closed one, want 3 and those with them", n)
	}
	for range 100 {
		now = now.Add(time.Second)
		if n := rush(b.Fail); n != 1 {
			t.Fatalf("%d tried when the rest was over", n)
		}
	}
	now = now.Add(time.Second)
	if !b.Allow(now) {
		t.Fatal("nobody may try")
	}
	if n := rush(b.Fail); n != 0 {
		t.Errorf("%d tried beside the one", n)
	}
	b.Succeed()
	if n := rush(func(time.Time) { b.Succeed() }); n != 64 {
		t.Errorf("%d of 64 tried a closed one", n)
	}
}
