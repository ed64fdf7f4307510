package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/usage"
)

// limitNames are the headers of a pace of requests, then of tokens.
var limitNames = [...][3]string{
	{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
	{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
}

// A teller gathers what headers say in one text, so that all of it is two allocations. Its own memory stays on the stack.
type teller struct {
	text  [256]byte // numbers and spans, which cannot be longer together
	used  int
	n     int
	names [9]string
	words [9]string // values that are no part of text
	ends  [9]int    // of the others, in text
}

func (t *teller) word(name, value string) {
	t.names[t.n], t.words[t.n], t.ends[t.n] = name, value, t.used
	t.n++
}

func (t *teller) number(name string, n int64) {
	t.used = len(strconv.AppendInt(t.text[:t.used], n, 10))
	t.word(name, "")
}

func (t *teller) span(name string, d time.Duration) {
	t.used = len(appendSpan(t.text[:t.used], d))
	t.word(name, "")
}

// put sets the headers.
func (t *teller) put(h http.Header) {
	text, values, from := string(t.text[:t.used]), make([]string, t.n), 0
	for i, end := range t.ends[:t.n] {
		if values[i] = t.words[i]; end > from {
			values[i] = text[from:end]
		}
		h[t.names[i]] = values[i : i+1 : i+1]
		from = end
	}
}

// limits says what is left of a client's limits, in OpenAI's words: of those it has, the nearest.
func (t *teller) limits(requests, tokens quota.Room) {
	for i, r := range [...]*quota.Room{&requests, &tokens} {
		if r.Limit > 0 {
			t.number(limitNames[i][0], r.Limit)
			t.number(limitNames[i][1], r.Left)
			t.span(limitNames[i][2], r.Reset)
		}
	}
}

// appendSpan appends a duration in whole milliseconds, as its String writes it.
func appendSpan(b []byte, d time.Duration) []byte {
	ms := d.Round(time.Millisecond).Milliseconds()
	if ms <= 0 {
		return append(b, d.Round(time.Millisecond).String()...)
	}
	if ms < 1000 {
		return append(strconv.AppendInt(b, ms, 10), "ms"...)
	}
	minutes, ms := ms/60_000, ms%60_000
	if minutes >= 60 {
		b = append(strconv.AppendInt(b, minutes/60, 10), 'h')
	}
	if minutes > 0 {
		b = append(strconv.AppendInt(b, minutes%60, 10), 'm')
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if ms %= 1000; ms > 0 {
		b = append(b, '.')
		for unit := int64(100); ms > 0; unit /= 10 {
			b = append(b, byte('0'+ms/unit))
			ms %= unit
		}
	}
	return append(b, 's')
}

// refusalHeaders says what is left of the limits to a client whose call was refused.
func refusalHeaders(h http.Header, err error) {
	if r, ok := errors.AsType[*quota.Refusal](err); ok {
		var t teller
		t.limits(r.Requests, r.Tokens)
		t.put(h)
	}
}

// answerHeaders says what happened to the call, and what is left of the caller's limits.
func answerHeaders(h http.Header, reply *llm.Reply, trace *llm.Trace, entry *usage.Entry, grant *quota.Grant) {
	for name, v := range reply.Header {
		h[name] = v
	}
	var t teller
	t.word("X-Sluice-Upstream", reply.Target.Provider)
	t.number("X-Sluice-Attempts", int64(entry.Attempts))
	t.number("X-Sluice-Overhead-Us", (time.Since(entry.Start) - entry.Upstream).Microseconds())
	t.limits(grant.Requests(), grant.Tokens())
	t.put(h)
	if trace.Fallback != "" {
		h["X-Sluice-Fallback"] = []string{trace.Why.String() + "; model=" + trace.Fallback}
	}
	if len(reply.Dropped) > 0 {
		h["X-Sluice-Dropped"] = []string{strings.Join(reply.Dropped, ", ")}
	}
}
