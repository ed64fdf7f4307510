package llm

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// A Nano is an amount of money in nano-dollars (1e-9 US dollars). Money is never a float.
type Nano int64

// Dollar is one US dollar.
const Dollar Nano = 1e9

// String writes the amount in dollars, without needless zeros: 0.00015.
func (n Nano) String() string { return string(n.Append(nil)) }

// Append appends what String writes.
func (n Nano) Append(b []byte) []byte {
	abs := uint64(n)
	if n < 0 {
		b, abs = append(b, '-'), -abs
	}
	b = strconv.AppendUint(b, abs/1e9, 10)
	rest := abs % 1e9
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := uint64(1e8); rest > 0; unit /= 10 {
		b = append(b, byte('0'+rest/unit))
		rest %= unit
	}
	return b
}

// ParseNano reads dollars as String writes them: digits, and up to nine of them after a point.
func ParseNano(s string) (Nano, error) {
	whole, part, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	bad := func(c rune) bool { return c < '0' || c > '9' }
	if whole == "" || len(part) > 9 || strings.ContainsFunc(whole+part, bad) {
		return 0, fmt.Errorf("%q is not an amount of dollars: want digits with at most nine after the point", s)
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", 9-len(part)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is more than %s dollars", s, Nano(math.MaxInt64))
	}
	if strings.HasPrefix(s, "-") {
		n = -n
	}
	return Nano(n), nil
}

// Plus adds, and stays at the largest amount instead of wrapping: no sum of costs may turn into a credit.
func (n Nano) Plus(m Nano) Nano {
	s := n + m
	switch {
	case n > 0 && m > 0 && s < 0:
		return math.MaxInt64
	case n < 0 && m < 0 && s >= 0:
		return math.MinInt64
	}
	return s
}

// A Rate is a price: nano-dollars for a million tokens.
type Rate int64

// Cost is what so many tokens cost, rounded half up to a whole nano-dollar. Neither may be negative.
func (r Rate) Cost(tokens int64) Nano {
	if r <= 0 || tokens <= 0 {
		return 0
	}
	const million = 1e6
	hi, lo := bits.Mul64(uint64(r), uint64(tokens))
	lo, carry := bits.Add64(lo, million/2, 0)
	hi += carry
	if hi >= million {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, million)
	if q > math.MaxInt64 {
		return math.MaxInt64
	}
	return Nano(q)
}
