package telemetry

import (
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// AppendCall appends the log line of a call as JSON. Absent token counts are left out; times are
// microseconds. It allocates nothing.
func AppendCall(dst []byte, e *usage.Entry) []byte {
	level := `"INFO"`
	if e.Err != nil {
		level = `"WARN"`
	}
	dst = append(dst, `{"time":"`...)
	dst = e.Start.Add(e.Total).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","level":`...)
	dst = append(dst, level...)
	dst = append(dst, `,"msg":"call"`...)
	visit(e, func(name, value string) {
		if value != "" {
			dst = append(append(append(dst, `,"`...), name...), `":`...)
			dst = appendString(dst, value)
		}
	}, func(name string, value int64) {
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		dst = strconv.AppendInt(dst, value, 10)
	}, func(name string, value llm.Nano) {
		dst = append(append(append(dst, `,"`...), name...), `":"`...)
		dst = append(value.Append(dst), '"')
	})
	return append(dst, "}\n"...)
}

// CallAttrs gives the same members for a handler of another form.
func CallAttrs(e *usage.Entry) []slog.Attr {
	var attrs []slog.Attr
	visit(e, func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}, func(name string, value int64) { attrs = append(attrs, slog.Int64(name, value)) },
		func(name string, value llm.Nano) { attrs = append(attrs, slog.String(name, value.String())) })
	return attrs
}

// visit names the members of a call's line, in order. docs/operations.md lists them.
func visit(e *usage.Entry, text func(name, value string), number func(name string, value int64), money func(name string, value llm.Nano)) {
	text("request_id", e.ID)
	text("key", e.Key)
	who := e.Payer()
	text("org", who.Org)
	text("team", who.Team)
	text("user", who.User)
	text("project", who.Project)
	text("remote", e.Remote)
	text("format", string(e.Format))
	text("op", string(e.Op))
	text("model", e.Model)
	text("provider", e.Target.Provider)
	text("upstream_model", e.Target.Model)
	text("credential", e.Target.Credential)
	text("fallback", e.Fallback)
	text("cache", e.Cache)
	if e.Stream {
		number("stream", 1)
	}
	number("status", int64(e.Status))
	if e.Err != nil {
		err := llm.AsError(e.Err)
		text("error", string(err.Kind))
		// Not the message: an upstream's may repeat what the client sent. The cause is ours.
		if err.Err != nil {
			text("cause", err.Err.Error())
		}
	}
	number("attempts", int64(e.Attempts))
	if len(e.Tries) > 0 {
		text("tries", tries(e.Tries))
	}
	count := func(name string, c llm.Count) {
		if c.Known {
			number(name, c.N)
		}
	}
	u := &e.Usage
	count("input_tokens", u.Input)
	count("cache_read_tokens", u.CacheRead)
	count("cache_write_tokens", u.CacheWrite)
	count("output_tokens", u.Output)
	count("reasoning_tokens", u.Reasoning)
	if m, ok := e.Account(); ok {
		if m.PriceVersion != "" {
			money("cost_usd", m.Costs.Total())
		}
		if e.Cache != "" && m.PriceVersion != "" {
			money("saved_usd", e.Saved())
		}
		if m.Costs.Waste != 0 {
			money("waste_usd", m.Costs.Waste)
		}
		if m.Estimated {
			number("estimated", 1)
		}
		if m.Partial {
			number("partial", 1)
		}
	}
	guarded(e.Coverage, text, number)
	number("bytes_in", e.BytesIn)
	number("bytes_out", e.BytesOut)
	number("frames", e.Frames)
	number("upstream_us", e.Upstream.Microseconds())
	if e.FirstToken > 0 {
		number("first_token_us", e.FirstToken.Microseconds())
	}
	number("own_us", e.Own.Microseconds())
	number("total_us", e.Total.Microseconds())
}

// guarded tells what guards saw and found, in types and numbers.
func guarded(c *llm.Coverage, text func(name, value string), number func(name string, value int64)) {
	if c == nil {
		return
	}
	text("guards", c.Guards)
	text("guard_outcome", string(c.Outcome))
	text("guard_detectors", c.Detectors)
	number("guard_bytes", c.Seen)
	number("guard_scanned", c.Scanned)
	if len(c.Found) == 0 {
		return
	}
	var b []byte
	for i := range c.Found {
		f := &c.Found[i]
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(append(append(b, f.Type...), ' '), f.Action...), ' ')
		b = strconv.AppendInt(b, f.N, 10)
		if f.Answer {
			b = append(b, " answer"...)
		}
	}
	text("guard_found", string(b))
}

// tries lists upstream calls in order: "openai/gpt-4o transient 120ms, azure/gpt-4o ok 480ms".
func tries(list []llm.Try) string {
	var b []byte
	for i := range list {
		t := &list[i]
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(append(append(append(b, t.Provider...), '/'), t.Model...), ' '), t.Outcome...)
		b = append(strconv.AppendInt(append(b, ' '), t.Took.Milliseconds(), 10), "ms"...)
		if t.Hedge {
			b = append(b, " hedge"...)
		}
	}
	return string(b)
}

const hexDigits = "0123456789abcdef"

// appendString quotes for JSON. Control characters and the separators that some log readers take for line
// ends are escaped, so no value can begin a line of its own.
func appendString(dst []byte, s string) []byte {
	const most = 1024
	if len(s) > most {
		s = s[:most]
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < ' ' || c == 0x7f:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\u2028' || r == '\u2029' || r == '\u0085':
			dst = append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}

// A CallLog writes the line of each call.
type CallLog struct {
	out   *Writer
	text  slog.Handler // nil: JSON
	level slog.Level
}

// NewCallLog writes calls of at least a level: those that succeed are info, those that fail warn. text, if
// not nil, takes the lines in its own form.
func NewCallLog(out *Writer, text slog.Handler, level slog.Level) *CallLog {
	return &CallLog{out: out, text: text, level: level}
}

// Record writes the line of e.
func (l *CallLog) Record(e *usage.Entry) {
	level := slog.LevelInfo
	if e.Err != nil {
		level = slog.LevelWarn
	}
	if level < l.level {
		return
	}
	if l.text != nil {
		r := slog.NewRecord(e.Start.Add(e.Total), level, "call", 0)
		r.AddAttrs(CallAttrs(e)...)
		_ = l.text.Handle(nil, r) //nolint:staticcheck // handlers of the standard library ignore the context
		return
	}
	var buf [1024]byte
	_, _ = l.out.Write(AppendCall(buf[:0], e))
}
