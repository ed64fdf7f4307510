package admin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"

	"sluice/internal/audit"
	"sluice/internal/control"
	"sluice/internal/llm"
)

// Twins remember which creates were named, and what each made, for a day. They know nothing of what was sent but a print of it,
// and nothing of what was answered.
type Twins interface {
	// Claim takes a name for as long as the context's transaction goes on, and for a day when that is done. It is false where the
	// name is taken: whoever has it first, in a transaction under way, is waited for.
	Claim(ctx context.Context, name, print [32]byte, now time.Time) (bool, error)
	// Made notes the id of what was made under a name, in the same transaction.
	Made(ctx context.Context, name [32]byte, id string) error
	// Seek tells what was made under a name; found is false where nothing was.
	Seek(ctx context.Context, name [32]byte, now time.Time) (print [32]byte, id string, found bool, err error)
}

var errTaken = errors.New("a twin has the name")

// once makes an object, or shows the one that a twin of the request made: one of the same maker with the same Idempotency-Key. A
// secret is in the first answer only: nobody keeps it.
func (h *Handler) once(q *request, do func(context.Context, control.Actor) (any, error), again func(context.Context, control.Actor, string) (any, error)) (any, error) {
	key := q.Header.Get("Idempotency-Key")
	if key == "" {
		return do(q.Context(), q.actor)
	}
	if len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }) || len(q.Header.Values("Idempotency-Key")) > 1 {
		return nil, llm.Errorf(llm.KindInvalid, "Idempotency-Key must be up to 255 ASCII characters, said once")
	}
	if h.o.Twins == nil {
		return nil, llm.Errorf(llm.KindUnsupported, "creates cannot be named here: leave out Idempotency-Key")
	}
	text, err := q.body(maxBody)
	if err != nil {
		return nil, err
	}
	name := sum(h.prints, q.actor.Audit.Kind, q.actor.ID, q.route.Path, key)
	print := sum(h.prints, string(text))
	seek := func() (out any, found bool, err error) {
		kept, id, found, err := h.o.Twins.Seek(q.Context(), name, h.o.Now())
		switch {
		case err != nil || !found:
			return nil, false, err
		case kept != print:
			return nil, true, &llm.Error{Kind: llm.KindIdempotencyReused, Msg: "this Idempotency-Key was sent with another body: take a new one for another object"}
		}
		if out, err = again(q.Context(), q.actor, id); llm.AsError(err).Kind == llm.KindNotFound && err != nil {
			err = llm.Errorf(llm.KindConflict, "what was made under this Idempotency-Key is gone: take a new one to make it anew")
		}
		q.w.Header().Set("Idempotency-Replayed", "true")
		return out, true, err
	}
	if out, found, err := seek(); found || err != nil {
		return out, err
	}
	a := q.actor
	a.Within = func(ctx context.Context, e *audit.Event, act func() error) error {
		if ours, err := h.o.Twins.Claim(ctx, name, print, h.o.Now()); err != nil || !ours {
			return cmpErr(err, &llm.Error{Kind: llm.KindConflict, Msg: "a twin of this request is under way", Err: errTaken})
		}
		if err := act(); err != nil {
			return err
		}
		return h.o.Twins.Made(ctx, name, e.Object.ID)
	}
	out, err := do(q.Context(), a)
	if errors.Is(err, errTaken) {
		if out, found, err := seek(); found || err != nil {
			return out, err
		}
	}
	return out, err
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// sum is a keyed hash of texts, each with its length.
func sum(key []byte, texts ...string) (out [32]byte) {
	m := hmac.New(sha256.New, key)
	for _, t := range texts {
		n := len(t)
		m.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		m.Write([]byte(t))
	}
	m.Sum(out[:0])
	return out
}

// created is the status of a create: 200 where a twin had made it.
func created(h http.Header, status int) int {
	if h.Get("Idempotency-Replayed") != "" {
		return http.StatusOK
	}
	return status
}
