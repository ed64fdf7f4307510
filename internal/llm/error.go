package llm

import (
	"errors"
	"fmt"
	"time"
)

// A Kind is the cause of an error, as the stable code that docs/errors.md lists.
type Kind string

// The kinds. Each format turns them into its own status, type and words in one function.
const (
	KindInvalid            Kind = "invalid_request"
	KindUnknownField       Kind = "unknown_field"
	KindUnsupported        Kind = "unsupported"            // the target cannot carry a member
	KindInvalidKey         Kind = "invalid_api_key"        // missing, malformed or unknown
	KindModelNotAllowed    Kind = "model_not_allowed"      //
	KindModelNotFound      Kind = "model_not_found"        //
	KindNotFound           Kind = "not_found"              // no such path or record
	KindForbidden          Kind = "forbidden"              // more than the maker of it has
	KindConflict           Kind = "conflict"               // it is taken, in use, or was changed by somebody else
	KindMethodNotAllowed   Kind = "method_not_allowed"     //
	KindTooLarge           Kind = "request_too_large"      //
	KindMediaType          Kind = "unsupported_media_type" // Content-Type or Content-Encoding
	KindRequestTimeout     Kind = "request_timeout"        // the client was too slow to send
	KindRateLimited        Kind = "rate_limited"           //
	KindConcurrency        Kind = "concurrency_limited"    //
	KindBudget             Kind = "budget_exceeded"        //
	KindBudgetUnknown      Kind = "budget_unavailable"     // nobody knows what is left of it, so nothing is given
	KindUnpriced           Kind = "model_unpriced"         // a budget in money cannot bound it
	KindLedgerFull         Kind = "ledger_full"            // what was used could not be written down any more
	KindIdempotencyRunning Kind = "idempotency_running"    // a twin of this call is under way
	KindIdempotencyReused  Kind = "idempotency_reused"     // another request has this Idempotency-Key
	KindContextLength      Kind = "context_length_exceeded"
	KindContentFiltered    Kind = "content_filtered"
	KindGuardrail          Kind = "guardrail_blocked"
	KindUpstream           Kind = "upstream_error"
	KindUpstreamTimeout    Kind = "upstream_timeout"
	KindUpstreamCreds      Kind = "upstream_credentials_exhausted" // an upstream refused our credential
	KindNoUpstream         Kind = "no_healthy_upstream"
	KindOverloaded         Kind = "overloaded"
	KindClientGone         Kind = "client_closed_request"
	KindInternal           Kind = "internal"
)

// A Problem is one thing wrong with one member.
type Problem struct {
	At  string // JSON pointer, "" for the whole document
	Msg string // what is wrong and what would be right
}

// An Error is the meaning of a failure. Everything else is an internal error to a client.
type Error struct {
	Kind       Kind
	Msg        string        // for the client: no secrets, no hosts
	Param      string        // the member at fault, in the upstream's or client's words
	Code       string        // the upstream's own code, when it is useful to the client
	Status     int           // overrides the kind's HTTP status, when not 0 (an upstream's 422)
	Problems   []Problem     // all that is wrong with a request
	RetryAfter time.Duration // 0: not known
	Err        error         // for the log
}

func (e *Error) Error() string {
	s := string(e.Kind)
	if e.Msg != "" {
		s += ": " + e.Msg
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error with a message for the client. A %w operand is kept for the log, too.
func Errorf(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Msg: err.Error(), Err: errors.Unwrap(err)}
}

// AsError gives err's meaning. An error that nobody marked is internal, and its text stays with us.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: KindInternal, Msg: "internal error", Err: err}
}
