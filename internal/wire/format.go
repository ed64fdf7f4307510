// Package wire turns bytes into calls and events back into bytes. It holds what every format shares: the
// strict scan, the reading of a request, the writing of an answer and of an error. What is particular to
// one vendor's format lives in a folder of its own: openai, responses, anthropic, gemini.
//
// It does not know providers, policies or configuration.
package wire

import (
	"io"
	"net/http"

	"sluice/internal/llm"
)

// A Format is one endpoint's wire format, seen from the client: requests in, answers out.
type Format interface {
	llm.Codec
	// Shape is what a request body must look like. It is immutable and shared.
	Shape() *Shape
	// Open fills the call from the request line and the scanned body: Op, Model, Stream, WantUsage,
	// MaxOutput, Choices. It checks what spans several members (message order, tool-call ids) by the
	// scan's notes and reports every problem at once. The scan is valid until it returns.
	Open(call *llm.Call, r *http.Request, s *Scanned) error
	// Answer writes a whole answer that was not streamed.
	Answer(call *llm.Call, a *llm.Answer) ([]byte, error)
	// Writer starts a streamed answer. Formats without streams return nil.
	Writer(call *llm.Call) Writer
	// Error gives the status and body of a failure before the first byte. The body is problem details
	// (RFC 9457) and the vendor's own error form in one object; see WriteProblem.
	Error(e *llm.Error, requestID string) (status int, body []byte)
}

// A Writer encodes one streamed answer for one client. It keeps the state that the format needs (open
// blocks, sequence numbers) and does no I/O. All methods append to dst and return it.
type Writer interface {
	// ContentType is the media type of the stream.
	ContentType() string
	// Verbatim says that a frame of the same format may be written as it came, without Event.
	Verbatim() bool
	// Event appends the frames that say what ev adds; none when it adds nothing for this client.
	Event(dst []byte, ev *llm.Event) ([]byte, error)
	// End appends what closes an answer that is complete. It is not called when frames passed verbatim.
	End(dst []byte) []byte
	// Fail appends what closes an answer that broke, so that the official SDKs raise. raw says that
	// frames passed verbatim so far, so that the writer's own state knows nothing of them.
	Fail(dst []byte, e *llm.Error, requestID string, raw bool) []byte
	// Passed notes an event whose frame was written as it came: what Cut must know of it, in next to no time.
	Passed(ev *llm.Event)
	// Cut appends what closes an answer that a budget has ended: the format's own stop for an answer that was
	// too long, which the official SDKs take for an end, with the problem details as a member (ProblemMember).
	Cut(dst []byte, e *llm.Error, requestID string) []byte
	// Ping appends something that keeps the connection alive and means nothing.
	Ping(dst []byte) []byte
}

// An Upstream is one endpoint's wire format, seen from a provider: requests out, answers in.
type Upstream interface {
	llm.Codec
	// ReadAnswer reads a whole answer that was not streamed. With raw only what accounting needs is
	// decoded (Usage, Output, an error inside a 200); Raw is body in either case. Failures, also those
	// that a vendor sends with status 200, are *llm.Error.
	ReadAnswer(body []byte, raw bool) (*llm.Event, error)
	// ReadStream reads a streamed answer and owns body. With raw, frames are decoded only until the first
	// real output, and after it when they hold usage, an error or the end. An upstream that stops before
	// the format's own end is an *llm.Error of KindUpstream. Formats without streams return nil.
	ReadStream(body io.ReadCloser, raw bool) llm.Stream
	// ReadError classifies a refusal (status other than 2xx) by status and body, never by content type.
	// body is at most 64 KiB. Only what is useful and free of secrets goes into Msg, Param and Code.
	ReadError(status int, h http.Header, body []byte) *llm.Error
}
