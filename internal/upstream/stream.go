package upstream

import (
	"context"
	"io"

	"sluice/internal/llm"
)

// How far prime reads ahead at most.
const (
	maxHeldEvents = 64
	maxHeldBytes  = 256 << 10
)

// attempt makes one call under a lease and reads ahead. Its clock and what the provider is asked are part of
// the stream's state.
func (r *run) attempt(ctx context.Context, at *place, s *sent, l *lease) (*llm.Reply, error) {
	t := s.target
	h := &held{lease: l}
	a := &h.attempt
	a.Call, a.Target, a.Secret, a.Raw, a.MaxAnswer = r.call, *t, at.secret, r.raw, r.pool.MaxAnswer
	h.watch.begin(ctx, l.begun, r.pool.timeouts(a))
	reply, err := at.provider.Do(&h.watch, a)
	if err != nil {
		h.watch.stop()
		return nil, err
	}
	h.inner = reply.Stream
	if err := h.prime(); err != nil {
		h.watch.stop()
		_ = h.inner.Close()
		s.told = h.told()
		return nil, err
	}
	l.measure(a.Stream, h.size(), &reply.Quota)
	reply.Stream = h
	return reply, nil
}

// timeouts bound an attempt. Nothing is seen of an answer that comes whole, until it does.
func (p *Pool) timeouts(a *llm.Attempt) llm.Timeouts {
	t := llm.Timeouts{
		FirstToken: orDefault(a.Target.Timeouts.FirstToken, p.Timeouts.FirstToken),
		Idle:       orDefault(a.Target.Timeouts.Idle, p.Timeouts.Idle),
		Total:      orDefault(a.Target.Timeouts.Total, p.Timeouts.Total),
	}
	if !a.Stream {
		t.FirstToken, t.Idle = t.Total, t.Total
	}
	return t
}

// held is an upstream's stream, watched by the clock, whose first events have been read already.
type held struct {
	attempt llm.Attempt
	inner   llm.Stream
	watch   watch
	lease   *lease
	events  []*llm.Event // copies, given out first
	event   *llm.Event   // then this one: the inner stream's current event
	err     error        // then this: what came after a stream without output
	whole   bool         // the answer was read to its end
}

// prime reads to the first real output. Only the events before it are copied: the output itself is given
// out before the inner stream moves on. An answer that ends well without any output is none of our business.
func (h *held) prime() error {
	bytes := 0
	for {
		ev, err := h.next()
		if err == io.EOF {
			h.err = err
			break
		}
		if err != nil {
			return err
		}
		if bytes += len(ev.Raw); ev.Output || len(h.events) == maxHeldEvents-1 || bytes > maxHeldBytes {
			h.event = ev
			break
		}
		h.events = append(h.events, ev.Clone())
	}
	h.watch.first()
	return nil
}

func (h *held) next() (*llm.Event, error) {
	h.watch.wait()
	ev, err := h.inner.Next()
	h.watch.ready()
	h.whole = err == io.EOF
	return ev, err
}

// told is what is known of an answer that nobody gets: what was told before its first output and with it, and how much
// that output is, a token at least.
func (h *held) told() *llm.Usage {
	var u llm.Usage
	known := false
	for _, ev := range h.events {
		u.Merge(ev.Usage)
		known = known || ev.Usage != nil
	}
	if ev := h.event; ev != nil {
		u.Merge(ev.Usage)
		known = known || ev.Usage != nil || ev.Output
		if seen := llm.Tokens(int64(ev.Size/4) + 1); ev.Output && u.Output.N < seen.N {
			u.Output = seen
		}
	}
	if !known {
		return nil
	}
	u.Extra = nil
	return &u
}

// size is how many tokens the answer read so far has, where it says so.
func (h *held) size() int64 {
	if h.event != nil && h.event.Usage != nil {
		return h.event.Usage.Output.N
	}
	return 0
}

// Next implements llm.Stream.
func (h *held) Next() (*llm.Event, error) {
	if len(h.events) > 0 {
		ev := h.events[0]
		h.events[0] = nil // a stream that stays open must not keep its beginning
		if h.events = h.events[1:]; len(h.events) == 0 {
			h.events = nil
		}
		ev.More = len(h.events) > 0 || h.event != nil
		return ev, nil
	}
	if ev := h.event; ev != nil {
		h.event = nil
		return ev, nil
	}
	if h.err != nil {
		return nil, h.err
	}
	ev, err := h.next()
	if err != nil && err != io.EOF {
		h.lease.broke(err)
	}
	return ev, err
}

// Close implements llm.Stream. An answer that is not read to its end is cancelled first, so that the
// upstream hears of it at once; one that is leaves a connection that can be used again.
func (h *held) Close() error {
	defer h.lease.end()
	if !h.whole {
		h.watch.stop()
		return h.inner.Close()
	}
	defer h.watch.stop()
	return h.inner.Close()
}
