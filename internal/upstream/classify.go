package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"sluice/internal/llm"
)

// A class is what a failure means for the target, for its credential and for the next attempt.
type class uint8

// The classes. Only the first five after none speak against anybody upstream.
const (
	classNone        class = iota // no failure
	classCredential               // the credential is dead: the next one at once
	classForbidden                // the credential may not use this model (403): the next one at once
	classLimited                  // a rate limit: the next credential, and back off
	classTransient                // the target failed: once more, then the next target
	classConnect                  // the target was not reached and nothing was sent: as transient
	classUnsupported              // the target cannot carry a member: another may
	classContext                  // the call is longer than the model's context: a larger model may take it
	classContent                  // the provider's filter refused the content: another provider may not
	classFinal                    // the call is at fault, or we are: the same everywhere
	classGone                     // the client left
	classOwn                      // the client's own deadline has passed
)

func (c class) String() string {
	return [...]string{
		"none", "credential", "forbidden", "limited", "transient", "connect", "unsupported",
		"context_length", "content_filtered", "final", "client_gone", "deadline",
	}[c]
}

// speaksAgainst says that a failure tells something about the target or its credential.
func (c class) speaksAgainst() bool {
	return c == classCredential || c == classForbidden || c == classLimited || c == classTransient || c == classConnect
}

// ErrDeadline must be the cause that ends the context of a call whose client has said how long it may take: then it says
// nothing about the upstream.
var ErrDeadline = &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "the request's own deadline has passed"}

// classify tells what an error of an attempt means. Formats and transports have already told what each
// vendor's refusal is (llm.Kind); here it is decided what follows from it.
func classify(err error) class {
	if err == nil {
		return classNone
	}
	e := llm.AsError(err)
	switch e.Kind {
	case llm.KindUpstreamCreds:
		var refused interface{ Status() int }
		if errors.As(err, &refused) && refused.Status() == http.StatusForbidden {
			return classForbidden // of another model it says nothing: one key's calls must not cost others the account
		}
		return classCredential
	case llm.KindRateLimited:
		return classLimited
	case llm.KindOverloaded, llm.KindUpstream, llm.KindUpstreamTimeout:
		switch {
		case errors.Is(err, ErrDeadline):
			return classOwn
		case notSent(err):
			return classConnect
		}
		return classTransient
	case llm.KindUnsupported:
		return classUnsupported
	case llm.KindContextLength:
		return classContext
	case llm.KindContentFiltered:
		return classContent
	case llm.KindClientGone:
		return classGone
	}
	return classFinal
}

// notSent says that no connection came about. Our own client marks such errors; net/http's has a type for
// each way to fail, but for a handshake that takes too long, which only its text tells.
func notSent(err error) bool {
	if errors.Is(err, llm.ErrNotSent) {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if first, ok := errors.AsType[tls.RecordHeaderError](err); ok && first.Conn != nil { // what a server without TLS says
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout() && timeout.Error() == "net/http: TLS handshake timeout"
}
