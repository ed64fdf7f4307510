package gateway

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/quota"
)

func TestLimitHeaders(t *testing.T) {
	var (
		ten  = quota.Room{Limit: 10, Left: 9, Reset: 6 * time.Minute}
		five = quota.Room{Limit: 5, Left: 0, Reset: 17*time.Millisecond + 4*time.Microsecond}
	)
	for _, c := range []struct {
		name             string
		requests, tokens quota.Room
		want             http.Header
	}{
		{"both", ten, five, http.Header{
			"X-Ratelimit-Limit-Requests": {"10"}, "X-Ratelimit-Remaining-Requests": {"9"}, "X-Ratelimit-Reset-Requests": {"6m0s"},
			"X-Ratelimit-Limit-Tokens": {"5"}, "X-Ratelimit-Remaining-Tokens": {"0"}, "X-Ratelimit-Reset-Tokens": {"17ms"},
		}},
		{"requests", ten, quota.Room{}, http.Header{
			"X-Ratelimit-Limit-Requests": {"10"}, "X-Ratelimit-Remaining-Requests": {"9"}, "X-Ratelimit-Reset-Requests": {"6m0s"},
		}},
		{"tokens", quota.Room{}, five, http.Header{
			"X-Ratelimit-Limit-Tokens": {"5"}, "X-Ratelimit-Remaining-Tokens": {"0"}, "X-Ratelimit-Reset-Tokens": {"17ms"},
		}},
		{"none", quota.Room{}, quota.Room{}, http.Header{}},
	} {
		h := http.Header{}
		refusalHeaders(h, &quota.Refusal{Requests: c.requests, Tokens: c.tokens})
		if diff := cmp.Diff(c.want, h); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
}

// TestSpan: what clients read is what time.ParseDuration reads.
func TestSpan(t *testing.T) {
	for _, d := range []time.Duration{
		-time.Hour, -1, 0, 1, 499_999, 500_000, 999_499_999, 999_500_000, time.Second, 1010 * time.Millisecond, 59_999 * time.Millisecond, time.Minute,
		61_001 * time.Millisecond, time.Hour, time.Hour + time.Millisecond, 24*time.Hour + 30*time.Second, 1 << 62,
	} {
		if got, want := string(appendSpan(nil, d)), d.Round(time.Millisecond).String(); got != want {
			t.Errorf("%d ns: %s, want %s", d, got, want)
		}
	}
	for ms := range time.Duration(200_000) {
		d := ms * 37 * time.Millisecond
		if got, want := string(appendSpan(nil, d)), d.String(); got != want {
			t.Fatalf("%d ms: %s, want %s", ms*37, got, want)
		}
	}
}
