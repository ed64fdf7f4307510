package wire

import (
	"net/http"
	"strconv"
	"time"

	"sluice/internal/llm"
)

// Headers in which upstreams say what is left of a limit and when it is whole again, by their canonical
// names. Sources: the vendors' pages on rate limits, and recorded answers.
var (
	requestRooms = [...][2]string{
		{"X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"}, // OpenAI, Groq; Azure without the reset
		{"Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset"},
		{"X-Ratelimit-Remaining", "X-Ratelimit-Reset"}, // OpenRouter
	}
	tokenRooms = [...][2]string{
		{"X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
		{"Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset"},
		{"Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset"},
		{"Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset"},
		{"Ratelimitbysize-Remaining", "Ratelimitbysize-Reset"}, // Mistral
	}
)

// ReadQuota reads what an answer says of the upstream's rate limits. An answer that says nothing costs a few
// look-ups. Header names must be canonical, as those of every Response are.
func ReadQuota(h http.Header, now time.Time) llm.Quota {
	q := llm.Quota{Requests: readRoom(h, requestRooms[:], now), Tokens: readRoom(h, tokenRooms[:], now)}
	if q.Requests.Known || q.Tokens.Known {
		q.At = now
	}
	return q
}

// readRoom takes the limit with the least left, and of those used up the one that stays so longest.
func readRoom(h http.Header, names [][2]string, now time.Time) (out llm.Room) {
	for _, n := range names {
		v := h[n[0]]
		if len(v) == 0 {
			continue
		}
		left, err := strconv.ParseInt(v[0], 10, 64)
		if err != nil {
			continue
		}
		r := llm.Room{Known: true, Left: max(left, 0)}
		if v := h[n[1]]; len(v) > 0 && v[0] != "" {
			r.Reset = now.Add(clampWait(resetWait(v[0], now)))
		}
		if !out.Known || r.Left < out.Left || r.Left == out.Left && r.Reset.After(out.Reset) {
			out = r
		}
	}
	return out
}
