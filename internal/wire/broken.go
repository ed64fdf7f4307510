package wire

import (
	"context"
	"errors"
	"io"

	"sluice/internal/llm"
	"sluice/internal/sse"
)

// Broken classifies an error that an upstream's answer ended with before it was complete; io.EOF is its bytes' end. What is classified
// already stays as it is. A bare error would read as ours, and keep others from being tried.
func Broken(err error) error {
	kind, msg := llm.KindUpstream, "the upstream's answer broke off"
	switch _, ours := errors.AsType[*llm.Error](err); {
	case ours:
		return err
	case errors.Is(err, context.Canceled):
		kind, msg = llm.KindClientGone, "the call was cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		kind, msg = llm.KindUpstreamTimeout, "the upstream did not finish in time"
	case errors.Is(err, sse.ErrTooLong):
		msg = "the upstream sent a frame that is too large"
	case err == io.EOF:
		msg, err = "the upstream's answer ended before it was complete", io.ErrUnexpectedEOF
	}
	return &llm.Error{Kind: kind, Msg: msg, Err: err}
}
