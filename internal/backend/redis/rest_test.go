package redis

import (
	"testing"
	"time"
)

func TestRest(t *testing.T) {
	var r rest
	now := time.Unix(0, 0)
	try := func(ok bool) bool {
		if !r.enter(now) {
			return false
		}
		r.leave(now, ok)
		return true
	}
	for range patience {
		if !try(false) {
			t.Fatal("resting before it has failed often enough")
		}
	}
	for _, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		want *= time.Millisecond
		now = now.Add(want - 1)
		if try(false) {
			t.Errorf("tried within a rest of %v", want)
		}
		now = now.Add(1)
		if !try(false) {
			t.Errorf("did not try after a rest of %v", want)
		}
	}
	now = now.Add(maxRest)
	if !r.enter(now) || r.enter(now) {
		t.Error("after a rest one tries, and no second one before it has ended")
	}
	r.leave(now, true)
	for range patience {
		if !try(false) {
			t.Error("a success did not end the count")
		}
	}
	now = now.Add(minRest)
	if !try(true) {
		t.Error("the rest after a success is not a short one")
	}
}

func TestThoseThatFailTogetherRestOnce(t *testing.T) {
	var r rest
	now := time.Unix(0, 0)
	for range 10 {
		if !r.enter(now) {
			t.Fatal("resting")
		}
	}
	for range 10 {
		r.leave(now, false)
	}
	if now = now.Add(minRest); !r.enter(now) {
		t.Error("ten calls that failed together made it rest longer than one")
	}
}
