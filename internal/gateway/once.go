package gateway

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/internal/auth"
	"sluice/internal/idempotency"
	"sluice/internal/llm"
	"sluice/internal/usage"
	"sluice/internal/wire"
)

const (
	idempotencyHeader = "Idempotency-Key"
	// The official SDKs send a key of their own with every call, for their own retries. Nobody asks for the
	// rest of a stream by it.
	sdkKeys = "stainless-"
	// finishing is how long a call with a key goes on without its client, who will come back for the answer.
	finishing = 10 * time.Minute
)

// once makes a call happen once where its client gave it a name: done says that the answer to an earlier one was
// sent, else the call goes on with the writer given (nil: its own), whose end must be told how it went.
func (g *Gateway) once(w http.ResponseWriter, r *http.Request, s *State, who *auth.Who, call *llm.Call, body []byte, entry *usage.Entry) (l *lasting, done bool, err error) {
	name := r.Header.Get(idempotencyHeader)
	mine := !strings.HasPrefix(name, sdkKeys) // the application's own
	if name == "" || s.Once == nil || !mine && call.Stream {
		if s.Linger > 0 {
			return &lasting{ResponseWriter: w, stays: s.Linger}, false, nil
		}
		return nil, false, nil
	}
	if err := idempotency.Name(name); err != nil {
		return nil, false, err
	}
	key := idempotency.NewKey(who.Org+"\x00"+who.Public(), name)
	claim, answer, err := s.Once.Begin(r.Context(), key, idempotency.NewPrint(r.URL.Path, body), entry.ID)
	switch {
	case err != nil:
		return nil, false, err
	case answer != nil:
		return nil, true, replay(w, answer, entry)
	}
	l = &lasting{ResponseWriter: w, claim: claim, stays: s.Linger, most: s.Once.Most()}
	if mine {
		l.stays = max(l.stays, finishing)
	}
	return l, false, nil
}

// replay sends what an earlier call was answered with.
func replay(w http.ResponseWriter, a *idempotency.Answer, entry *usage.Entry) error {
	h := w.Header()
	for name, v := range a.Header {
		h[name] = v
	}
	h["Idempotent-Replayed"] = []string{"true"}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	began := time.Now()
	w.WriteHeader(a.Status)
	n, err := w.Write(a.Body) //nolint:gosec // as it was first sent, with its own media type
	entry.Wrote(int64(n), 1, began)
	if err != nil {
		return &llm.Error{Kind: llm.KindClientGone, Msg: "the client closed the connection", Err: err}
	}
	return nil
}

// A lasting writer lets a call go on to its end when its client has left, so that its answer, or the bill for it,
// can be known. With a claim it keeps what is written.
type lasting struct {
	http.ResponseWriter
	claim *idempotency.Claim // nil: nothing is kept
	stays time.Duration      // how long the call goes on without its client
	most  int                // bytes kept
	kept  idempotency.Answer
	gone  error // the client left
}

// WriteHeader implements http.ResponseWriter.
func (l *lasting) WriteHeader(status int) {
	h := l.Header()
	l.kept.Status = status
	l.kept.Header = http.Header{"Content-Type": h["Content-Type"], "X-Sluice-Original-Request": h["X-Request-Id"]}
	l.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (l *lasting) Write(b []byte) (int, error) {
	if l.kept.Status == 0 {
		l.WriteHeader(http.StatusOK)
	}
	switch {
	case l.claim == nil || l.kept.Large:
	case len(l.kept.Body)+len(b) > l.most:
		l.kept.Large, l.kept.Body = true, nil
	default:
		l.kept.Body = append(l.kept.Body, b...)
	}
	if l.gone == nil {
		_, l.gone = l.ResponseWriter.Write(b)
	}
	return len(b), l.left()
}

// left is the error of a client that left, where the call ends with it.
func (l *lasting) left() error {
	if l.stays > 0 {
		return nil
	}
	return l.gone
}

// FlushError and SetWriteDeadline serve http.ResponseController.
func (l *lasting) FlushError() error {
	if l.gone == nil {
		l.gone = http.NewResponseController(l.ResponseWriter).Flush()
	}
	return l.left()
}

// SetWriteDeadline implements what http.ResponseController asks for.
func (l *lasting) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(l.ResponseWriter).SetWriteDeadline(t)
}

// end ends the claim. Only an answer that is whole and good is kept.
func (l *lasting) end(ctx context.Context, err error) error {
	if l.claim != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		answer := &l.kept
		if err != nil || l.kept.Status != http.StatusOK {
			answer = nil
		}
		_ = l.claim.Finish(ctx, answer) // where it fails, a twin finds the claim until its lease has passed
	}
	if err == nil && l.gone != nil {
		return &llm.Error{Kind: llm.KindClientGone, Msg: "the client closed the connection or stopped reading", Err: l.gone}
	}
	return err
}

// linger is a context that outlives its client by so much. What ends it otherwise, such as the end of the
// program, ends it at once.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if !wire.ClientLeft(ctx) {
			cancel(context.Cause(ctx))
			return
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(&llm.Error{Kind: llm.KindClientGone, Msg: "the client left, and the answer did not end in the time it had"})
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel(nil) }
}
