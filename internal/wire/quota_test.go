package wire

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func TestReadQuota(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	room := func(left int64, wait time.Duration) llm.Room {
		return llm.Room{Known: true, Left: left, Reset: now.Add(wait)}
	}
	stamp := func(wait time.Duration) string { return now.Add(wait).Format(time.RFC3339) }
	for _, c := range []struct {
		name string
		h    map[string]string
		want llm.Quota
	}{
		{"nothing", map[string]string{"Content-Type": "application/json"}, llm.Quota{}},
		{"openai", map[string]string{
			"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "200000", "x-ratelimit-remaining-requests": "499", "x-ratelimit-remaining-tokens": "199917",
			"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "24ms", "x-ratelimit-remaining-input-images": "0", "x-ratelimit-reset-input-images": "1ms",
		}, llm.Quota{At: now, Requests: room(499, 120*time.Millisecond), Tokens: room(199917, 24*time.Millisecond)}},
		{"groq", map[string]string{
			"x-ratelimit-remaining-requests": "14370", "x-ratelimit-reset-requests": "2m59.56s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.66s",
		}, llm.Quota{At: now, Requests: room(14370, 179560*time.Millisecond), Tokens: room(0, 7660*time.Millisecond)}},
		{
			"azure",
			map[string]string{"x-ratelimit-remaining-requests": "99", "x-ratelimit-remaining-tokens": "99998"},
			llm.Quota{At: now, Requests: llm.Room{Known: true, Left: 99}, Tokens: llm.Room{Known: true, Left: 99998}},
		},
		{"anthropic", map[string]string{
			"anthropic-ratelimit-requests-limit": "20000", "anthropic-ratelimit-requests-remaining": "19999", "anthropic-ratelimit-requests-reset": stamp(time.Second),
			"anthropic-ratelimit-tokens-remaining": "4800000", "anthropic-ratelimit-tokens-reset": stamp(2 * time.Second),
			"anthropic-ratelimit-input-tokens-remaining": "4000000", "anthropic-ratelimit-input-tokens-reset": stamp(3 * time.Second),
			"anthropic-ratelimit-output-tokens-remaining": "800000", "anthropic-ratelimit-output-tokens-reset": stamp(4 * time.Second),
		}, llm.Quota{At: now, Requests: room(19999, time.Second), Tokens: room(800000, 4*time.Second)}},
		{"anthropic, two used up", map[string]string{
			"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": stamp(9 * time.Second),
			"anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": stamp(3 * time.Second),
		}, llm.Quota{At: now, Tokens: room(0, 9*time.Second)}},
		{
			"openrouter",
			map[string]string{"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": strconv.FormatInt(now.Add(30*time.Second).UnixMilli(), 10)},
			llm.Quota{At: now, Requests: room(0, 30*time.Second)},
		},
		{
			"mistral",
			map[string]string{"ratelimitbysize-limit": "500000", "ratelimitbysize-query-cost": "32010", "ratelimitbysize-remaining": "342032", "ratelimitbysize-reset": "60"},
			llm.Quota{At: now, Tokens: room(342032, time.Minute)},
		},
		{"in the past", map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "-5s"}, llm.Quota{At: now, Requests: room(0, 0)}},
		{"negative", map[string]string{"x-ratelimit-remaining-requests": "-3", "x-ratelimit-reset-requests": "5s"}, llm.Quota{At: now, Requests: room(0, 5*time.Second)}},
		{"no number", map[string]string{"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "5s"}, llm.Quota{}},
		{"no time", map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, llm.Quota{At: now, Requests: room(0, 0)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range c.h {
				h.Set(k, v)
			}
			if diff := cmp.Diff(c.want, ReadQuota(h, now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzReadQuota(f *testing.F) {
	f.Add("0", "2m59.56s")
	f.Add("-1", "1754667660000")
	f.Add("9223372036854775807", "2026-08-19T14:34:13Z")
	f.Add("1", "NaN")
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, left, reset string) {
		for _, names := range append(requestRooms[:], tokenRooms[:]...) {
			q := ReadQuota(http.Header{names[0]: {left}, names[1]: {reset}}, now)
			for _, r := range []llm.Room{q.Requests, q.Tokens} {
				if r.Left < 0 || !r.Reset.IsZero() && (r.Reset.Before(now) || r.Reset.Sub(now) > 24*time.Hour) {
					t.Errorf("%q, %q: %+v", left, reset, q)
				}
			}
		}
	})
}

// silent are the headers of an answer that says nothing of limits.
var silent = http.Header{"Content-Type": {"text/event-stream"}, "Date": {"Thu, 26 Nov 2026 12:00:00 GMT"}, "Server": {"x"}, "X-Request-Id": {"y"}}

func TestReadQuotaOfNothingDoesNotAllocate(t *testing.T) {
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		if q := ReadQuota(silent, now); !q.At.IsZero() {
			t.Error(q)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReadQuota(b *testing.B) {
	openai := http.Header{
		"X-Ratelimit-Remaining-Requests": {"499"}, "X-Ratelimit-Reset-Requests": {"120ms"},
		"X-Ratelimit-Remaining-Tokens": {"199917"}, "X-Ratelimit-Reset-Tokens": {"24ms"},
	}
	now := time.Now()
	for name, h := range map[string]http.Header{"silent": silent, "openai": openai} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ReadQuota(h, now)
			}
		})
	}
}
