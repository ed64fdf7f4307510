package app

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"sluice/internal/pgtest"
)

// Replicas that start while Redis is away know of one another by the store: each admits its part of a limit, not the whole of it.
func TestStartWithoutRedis(t *testing.T) {
	extra := fmt.Sprintf("pepper: %s\nstore: {url: %q}\nredis: {url: \"redis://127.0.0.1:1\"}\nrules: [{name: r, requests: [60/hour]}]\n",
		"d2f1c0b96a7e4835"+"0f9e8d7c6b5a4132"+"77e1a09c3d5b2f68", pgtest.Database(t))
	limit := func(p *program) (status int, limit string) {
		resp := p.hello(t)
		return resp.StatusCode, resp.Header.Get("X-Ratelimit-Limit-Requests")
	}
	first := runProgram(t, extra)
	if status, n := limit(first); status != http.StatusOK || n != "60" {
		t.Fatalf("alone: %d, %s requests", status, n)
	}
	second, third := runProgram(t, extra), runProgram(t, extra)
	admitted := 0
	for range 30 {
		if status, _ := limit(third); status == http.StatusOK {
			admitted++
		}
	}
	if admitted != 20 {
		t.Errorf("the third of three admits %d of 60", admitted)
	}
	tick := time.NewTicker(50 * time.Millisecond) // they look for others four times a second
	defer tick.Stop()
	for _, p := range []*program{first, second} {
		for end := time.Now().Add(20 * time.Second); ; <-tick.C {
			status, n := limit(p)
			if n == "20" {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("one that runs already: %d, %q requests", status, n)
			}
		}
	}
}
