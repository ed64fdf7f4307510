package quota

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestBuckets(t *testing.T) {
	last := -1
	for n := int64(0); n < 5000; n++ {
		b := bucket(n)
		if b < last || b > last+1 {
			t.Fatalf("%d is in bucket %d after %d", n, b, last)
		}
		last = b
		if n > upper(b) || b > 0 && n <= upper(b-1) {
			t.Fatalf("%d is in bucket %d, which ends at %d and begins after %d", n, b, upper(b), upper(b-1))
		}
	}
	if b := bucket(math.MaxInt64); b != bucketCount-1 {
		t.Errorf("the largest number is in bucket %d", b)
	}
	if b := bucket(-1); b != 0 {
		t.Errorf("-1 is in bucket %d", b)
	}
}

// TestExpect: at most one answer in a hundred, of the last thousands, is longer than what is expected, and what is expected is no more
// than a quarter above an answer that was.
func TestExpect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o Outputs
		list := rapid.SliceOfN(rapid.Int64Range(0, 200_000), enough, 500).Draw(t, "answers")
		for _, n := range list {
			o.Learn("k", "m", n)
		}
		for len(list)%enough != 0 { // it is looked at now and then
			list = append(list, list[0])
			o.Learn("k", "m", list[0])
		}
		got := o.Expect("k", "m")
		longer, near := 0, false
		for _, n := range list {
			if n > got {
				longer++
			}
			near = near || n <= got && got <= n+n/4+1
		}
		if longer > len(list)/100 || !near {
			t.Fatalf("%d of %d answers are longer than %d (near one: %v)", longer, len(list), got, near)
		}
	})
	var o Outputs
	if got := o.Expect("k", "m"); got != firstGuess {
		t.Errorf("%d is expected of a stranger", got)
	}
	for range 10 * fade { // what was long ago fades
		o.Learn("k", "m", 100_000)
	}
	for range 10 * fade {
		o.Learn("k", "m", 10)
	}
	if got := o.Expect("k", "m"); got > 12 {
		t.Errorf("%d is expected after 20,000 answers of 10", got)
	}
	for i := range 3 * maxOutputs {
		o.Learn("k", string(rune(i)), 1)
	}
	if len(o.all) > maxOutputs {
		t.Errorf("%d models are kept", len(o.all))
	}
}

func BenchmarkOutputs(b *testing.B) {
	var o Outputs
	b.ReportAllocs()
	for b.Loop() {
		o.Learn("key", "model", 100)
		o.Expect("key", "model")
	}
}
