package auth

import (
	"crypto/rand"
	"fmt"
	"hash"
	"math"
	mrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"
)

// presented makes a request that carries a key.
func presented(key string) *http.Request {
	r := httptest.NewRequest("POST", "/v1/x", nil)
	r.Header.Set("X-Api-Key", key)
	return r
}

// strange makes keys that nobody has: with the public part of one that there is, or with none of it.
func strange(t testing.TB, near string) (keys []string) {
	t.Helper()
	for range 64 {
		key, err := NewKey(rand.Reader)
		if near != "" {
			public, _ := Public(near)
			key, err = NewSecret(public, rand.Reader)
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// A tally is a keyed hash that counts what it is asked for.
type tally struct {
	hash.Hash
	written, sums *int
}

func (c tally) Write(p []byte) (int, error) { *c.written += len(p); return c.Hash.Write(p) }
func (c tally) Sum(b []byte) []byte         { *c.sums++; return c.Hash.Sum(b) }

// S20: an unknown key costs what a known one costs: one keyed hash, of as many bytes, and one look-up by it.
func TestUnknownCostsWhatKnownCosts(t *testing.T) {
	a, key := newTestAuth(t)
	looked, written, sums := 0, 0, 0
	a.keys = counted{a.keys, &looked}
	a.hasher = NewHasher([]byte("pepper"))
	plain := a.hasher.macs.New
	a.hasher.macs.New = func() any {
		m := plain().(*mac)
		m.Hash = tally{m.Hash, &written, &sums}
		return m
	}
	for name, k := range map[string]string{
		"known": key, "its public part": strange(t, key)[0], "nothing of it": strange(t, "")[0], "mistyped": key[:len(key)-1] + "?", "cut": key[:20],
		"of another gateway": legacy, "disabled": "disabled-key-0123456789-0123456789", "a token's form": "slt-" + key[7:],
	} {
		looked, written, sums = 0, 0, 0
		_, _ = a.Identify(presented(k))
		if looked != 1 || sums != 1 || written != 32 {
			t.Errorf("%s: %d look-ups, %d hashes of %d bytes; want 1, 1 of 32", name, looked, sums, written)
		}
	}
}

// S20: the time that a key takes tells nothing of it. 10,000 tries of each of two kinds, interleaved; an early exit for what is not a key would
// save a third and more, so a difference is one when it is both sure (t) and that large, three times in a row: a busy machine is not.
func TestTimeTellsNothing(t *testing.T) {
	if racing {
		t.Skip("the race detector costs more than what is measured")
	}
	a, key := newTestAuth(t)
	mistyped := strange(t, key)
	for i, k := range mistyped {
		mistyped[i] = k[:len(k)-1] + "?"
	}
	for _, c := range []struct {
		name string
		a, b []string
		same bool
	}{
		{"another secret, and another key", strange(t, key), strange(t, ""), true},
		{"mistyped, and another key", mistyped, strange(t, ""), true},
		{"the key, and another", slices.Repeat([]string{key}, 64), strange(t, ""), true},
		{"too long to be one, which exits early", []string{string(make([]byte, maxKey+1))}, strange(t, ""), false}, // that a difference is found
	} {
		seen := ""
		same := false
		for range 3 {
			by, sure := differ(a, c.a, c.b)
			seen = fmt.Sprintf("the medians differ by %.1f %%, t = %.1f", 100*by, sure)
			if same = by < 0.2 || sure < 10; same == c.same {
				break
			}
		}
		t.Logf("%s: %s", c.name, seen)
		if same != c.same {
			t.Errorf("%s: %s", c.name, seen)
		}
	}
}

// differ compares the times of two kinds of keys: by how much of the larger their medians differ, and Welch's t of the tries that
// nothing came between.
func differ(a *Authenticator, one, two []string) (by, sure float64) {
	const tries, inner = 10_000, 4
	kinds := [2][]*http.Request{}
	for i, keys := range [][]string{one, two} {
		for _, k := range keys {
			kinds[i] = append(kinds[i], presented(k))
		}
	}
	took := [2][]float64{}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := range 2 * tries {
		kind := mrand.IntN(2)
		if len(took[kind]) == tries {
			kind = 1 - kind
		}
		r := kinds[kind][n%len(kinds[kind])]
		began := time.Now()
		for range inner {
			_, _ = a.Identify(r)
		}
		took[kind] = append(took[kind], float64(time.Since(began)))
	}
	for i := range took {
		slices.Sort(took[i])
		took[i] = took[i][:tries*9/10] // what was interrupted is no measure
	}
	median := [2]float64{took[0][len(took[0])/2], took[1][len(took[1])/2]}
	m0, v0 := moments(took[0])
	m1, v1 := moments(took[1])
	n := float64(len(took[0]))
	return math.Abs(median[0]-median[1]) / max(median[0], median[1]), math.Abs(m0-m1) / math.Sqrt((v0+v1)/n)
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, variance
}
