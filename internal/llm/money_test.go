package llm

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestNanoText(t *testing.T) {
	for _, c := range []struct {
		n    Nano
		text string
	}{
		{0, "0"},
		{1, "0.000000001"},
		{150, "0.00000015"},
		{Dollar, "1"},
		{-Dollar / 2, "-0.5"},
		{1234567890123, "1234.567890123"},
		{math.MaxInt64, "9223372036.854775807"},
		{math.MinInt64, "-9223372036.854775808"},
	} {
		if got := c.n.String(); got != c.text {
			t.Errorf("%d is written %s, want %s", c.n, got, c.text)
		}
		if got, err := ParseNano(c.text); c.n != math.MinInt64 && (err != nil || got != c.n) {
			t.Errorf("%s is read as %d, %v, want %d", c.text, got, err, c.n)
		}
	}
	for _, bad := range []string{"", ".", "-", ".5", "1e3", "0x1", "1_000", "0.0000000001", "9223372037", "+1", " 1", "--1"} {
		if n, err := ParseNano(bad); err == nil {
			t.Errorf("%q is read as %d", bad, n)
		}
	}
}

func TestNanoPlusNeverWraps(t *testing.T) {
	if got := Nano(math.MaxInt64).Plus(1); got != math.MaxInt64 {
		t.Errorf("got %d", got)
	}
	if got := Nano(math.MinInt64).Plus(-1); got != math.MinInt64 {
		t.Errorf("got %d", got)
	}
	if got := Nano(3).Plus(-5); got != -2 {
		t.Errorf("got %d", got)
	}
}

// TestRateCost holds the arithmetic against big numbers.
func TestRateCost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, tokens := rapid.Int64Min(0).Draw(t, "rate"), rapid.Int64Min(0).Draw(t, "tokens")
		want := new(big.Int).Mul(big.NewInt(r), big.NewInt(tokens))
		want.Add(want, big.NewInt(500_000)).Quo(want, big.NewInt(1_000_000))
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := Rate(r).Cost(tokens); int64(got) != want.Int64() {
			t.Fatalf("got %d, want %d", got, want)
		}
	})
	if got := Rate(-5).Cost(10) + Rate(5).Cost(-10); got != 0 {
		t.Errorf("negative factors cost %d", got)
	}
}
