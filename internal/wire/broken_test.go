package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/sse"
)

func TestBroken(t *testing.T) {
	ours := &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "silent", Err: context.Canceled}
	for _, tt := range []struct {
		err  error
		kind llm.Kind
		msg  string
		is   error
	}{
		{io.EOF, llm.KindUpstream, "the upstream's answer ended before it was complete", io.ErrUnexpectedEOF},
		{io.ErrUnexpectedEOF, llm.KindUpstream, "the upstream's answer broke off", io.ErrUnexpectedEOF},
		{sse.ErrTooLong, llm.KindUpstream, "the upstream sent a frame that is too large", sse.ErrTooLong},
		{fmt.Errorf("read: %w", context.Canceled), llm.KindClientGone, "the call was cancelled", context.Canceled},
		{context.DeadlineExceeded, llm.KindUpstreamTimeout, "the upstream did not finish in time", context.DeadlineExceeded},
		{fmt.Errorf("read: %w", ours), llm.KindUpstreamTimeout, "silent", ours}, // whatever it was caused by
	} {
		got, ok := errors.AsType[*llm.Error](Broken(tt.err))
		if !ok || got.Kind != tt.kind || got.Msg != tt.msg || !errors.Is(got, tt.is) {
			t.Errorf("%v: %+v", tt.err, got)
		}
	}
}
