// Package llm is the vocabulary of Sluice: what a call is, what an answer is, and the few seams between
// the rooms of the program. It imports nothing of ours and does no I/O.
//
// Two halves mirror each other. A request travels as a [Body]: the bytes as they came and, only when
// somebody asks, what they mean (a [Chat] or an [Embed]). An answer travels as a [Stream] of [Event]: each
// holds the bytes the upstream sent and, only when somebody needs it, what they add to the answer.
// Whoever edits the meaning drops the bytes, so bytes and meaning can never disagree.
package llm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// A Format names one wire format of one endpoint, as "vendor.endpoint".
type Format string

// The formats of this build. A client speaks one of them; a provider speaks one or more.
const (
	OpenAIChat        Format = "openai.chat"
	OpenAICompletions Format = "openai.completions"
	OpenAIResponses   Format = "openai.responses"
	OpenAIEmbeddings  Format = "openai.embeddings"
	AnthropicMessages Format = "anthropic.messages"
	AnthropicCount    Format = "anthropic.count_tokens"
	GeminiGenerate    Format = "gemini.generate_content"
	GeminiCount       Format = "gemini.count_tokens"
	GeminiEmbed       Format = "gemini.embed_content"
	GeminiBatchEmbed  Format = "gemini.batch_embed_contents"
)

// An Op is what a call asks an upstream to do, whatever the format.
type Op string

// The operations of this build.
const (
	OpChat  Op = "chat"         // a *Chat in, an answer out
	OpCount Op = "count_tokens" // a *Chat in, Usage.Input out
	OpEmbed Op = "embeddings"   // an *Embed in, vectors out
)

// Raw is a JSON value kept as its text.
type Raw = json.RawMessage

// Members are JSON members nobody here understands, kept as they came. They belong to the format that
// they were read in and to no other.
//
// Where a type has Hints beside Extra, these are the members that no other format misses: a default spelled
// out, advice on caching, the status of an item long done. They go back to their own format as Extra does;
// to another, Extra is refused by name and Hints are left out without a word.
type Members map[string]Raw

// A Call is one request of one client.
type Call struct {
	ID        string      // request id, also the answer's X-Request-Id
	Format    Format      // what the client speaks; its answer is written in it
	Op        Op          //
	Model     string      // as the client named it, in canonical form
	Stream    bool        // the client asked for a stream
	WantUsage bool        // the client asked for usage in its stream (always true where the format always tells it)
	MaxOutput int64       // largest number of output tokens asked for; 0: not said
	Choices   int64       // answers asked for (n, candidateCount, best_of if larger); at least 1
	Header    http.Header // the client's headers that may travel to an upstream of the same format
	Query     url.Values  // parsed once; nil when the request line had none
	Body      Body
}

// A Secret is a credential. It never prints.
type Secret string

func (Secret) String() string { return "***" }

// GoString keeps %#v from printing the secret.
func (Secret) GoString() string { return `llm.Secret("***")` }

// MarshalText keeps encoders from writing the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// A Target is one place a call can go: an upstream, the model's name there, and the credential.
type Target struct {
	Provider   string   // the configured provider's name
	Model      string   // the upstream's own name of the model
	Credential string   // which of the provider's credentials; "" where it has one
	Slot       int      // the deployment's place in the pool: what is known of it is kept there
	Lenient    bool     // members the target cannot carry are dropped and listed instead of refused
	Timeouts   Timeouts //
}

// Timeouts bound one attempt. Zero means the default of docs/configuration.md.
type Timeouts struct {
	FirstToken time.Duration // until the first real output
	Idle       time.Duration // between two frames of a stream
	Total      time.Duration // from start to end
}

// An Attempt is one try of a call at one target.
type Attempt struct {
	*Call
	Target    Target
	Secret    Secret
	Raw       bool  // nobody downstream needs Delta: frames may pass undecoded
	MaxAnswer int64 // bytes of an answer that is not streamed; 0: 32 MiB
}

// A Provider speaks to one upstream.
type Provider interface {
	// Do sends the attempt and returns when the upstream has accepted or refused it. A refusal is an
	// *Error. The caller closes the reply. Cancelling ctx ends the upstream call, also while it streams.
	Do(ctx context.Context, a *Attempt) (*Reply, error)
}

// A Checker is a provider that can tell whether an upstream is alive, at little or no cost.
type Checker interface {
	Check(ctx context.Context, secret Secret) error
}

// A Lister is a provider that can name the models its upstream offers.
type Lister interface {
	Models(ctx context.Context, secret Secret) ([]string, error)
}

// A Reply is an upstream's answer, accepted but not yet read.
type Reply struct {
	Target  Target
	Header  http.Header // the upstream's headers that may travel to the client
	Quota   Quota       // what the upstream says is left of its rate limits
	Dropped []string    // members the target could not carry, left out because the target is lenient
	Stream
}

// A Stream yields the events of one answer; an answer that is not streamed is a stream of one event.
type Stream interface {
	// Next returns the next event, valid until the next call of Next. io.EOF says that the answer is
	// complete; an upstream that stops before that is an *Error, never io.EOF.
	Next() (*Event, error)
	// Close frees the upstream connection. It may be called more than once and from another goroutine
	// than Next's, which it unblocks.
	Close() error
}

// All ranges over a stream and closes it at the end. An error is yielded last, with a nil event.
func All(s Stream) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		defer s.Close()
		for {
			ev, err := s.Next()
			if err == io.EOF {
				return
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// An Event is one step of an answer.
type Event struct {
	Raw     []byte   // the frame or body as the upstream sent it, delimiters included; nil once edited
	Format  Format   // what it was read in: Raw and all Extra, Native and Foreign belong to it
	Element bool     // Raw is an element of a JSON array instead of a frame (Gemini without alt=sse)
	Head    *Head    // set on the event that opens the answer
	Delta   []Delta  // what the event adds; empty when Raw passed undecoded
	Size    int      // bytes of what it adds, where Raw passed undecoded and a glance has told; 0: not known
	Usage   *Usage   // what the upstream has reported so far in all (a running total, never a difference)
	Vectors []Vector // of an embeddings answer
	Output  bool     // holds real output: text, reasoning, a tool call, a vector; not a role or a ping
	Asked   bool     // exists only because Sluice asked for usage: withheld from a client that did not
	More    bool     // another event is already buffered: no need to flush after this one
	Extra   Members  // members of this answer that only its own format knows
}

// Head opens an answer.
type Head struct {
	ID      string
	Model   string    // as the upstream names it
	Created time.Time // zero: the format does not say
	Extra   Members
}

// A Delta adds to one of the answers (choices) of a call.
type Delta struct {
	Choice   int    // which answer, from 0
	Index    int    // which part of it: pieces with one Choice and Index make one part, in order of arrival
	Part     *Part  // the piece: Text and Args append, ID and Name come with the first; nil: only Stop
	Stop     Stop   // why this answer ended; "" while it goes on
	Native   string // Stop in the upstream's own word, kept for the same format
	StopText string // the stop sequence that ended it, where the upstream says
	Logprobs Raw    // in OpenAI chat's shape ({"content":[...],"refusal":[...]})
	Extra    Members
}

// Stop is why an answer ended.
type Stop string

// The reasons, by OpenAI's words where it has one.
const (
	StopEnd      Stop = "stop"           // the model was done
	StopSequence Stop = "stop_sequence"  // a stop sequence was met
	StopLength   Stop = "length"         // a token limit was met
	StopTools    Stop = "tool_calls"     // the model wants tools run
	StopFilter   Stop = "content_filter" // a provider's filter cut it
	StopRefusal  Stop = "refusal"        // the model declined
	StopPause    Stop = "pause"          // the provider paused a long turn; send it back to go on
	StopOther    Stop = "other"          // anything else; Native says what
)

// A Vector is one embedding.
type Vector struct {
	Index  int
	Values []float32
	Base64 string // little-endian float32, when the upstream sent it so; then Values is nil
}

// A Request is what a provider asks a Transport to send. Nothing in it comes from a client unchecked.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header // shared by requests: whoever sends it changes nothing
	Auth   Auth        // sent beside Header, which has no field of its name
	Body   [][]byte    // sent one after the other; must stay unchanged until the response body is closed
	ID     string      // sent as X-Request-Id, where it is not "": logs of both sides can be laid side by side
}

// An Auth is the field that carries a credential. It stands apart from the other fields so that these are the same for
// hundreds of credentials of one upstream, and stay in the processor's cache. The zero Auth is none.
type Auth struct {
	Name   string // canonical; a provider's constant
	Scheme string // what comes before the secret, with its blank; "": nothing
	Secret Secret
}

// Fields are all of the request's header fields in a map of its own.
func (r *Request) Fields() http.Header {
	h := make(http.Header, len(r.Header)+2)
	maps.Copy(h, r.Header)
	if r.ID != "" {
		h["X-Request-Id"] = []string{r.ID}
	}
	if a := &r.Auth; a.Name != "" {
		h[a.Name] = []string{a.Scheme + string(a.Secret)}
	}
	return h
}

// A Response is the head of an upstream's answer, and its body still to be read.
type Response struct {
	Status int
	Header http.Header // by canonical names; the map is valid until Body is closed or DropHeader is called, its values for ever
	Body   io.ReadCloser
	Spare  func(http.Header) // takes the map back, to use it again; nil: nobody does
}

// DropHeader gives up the header once it has been read: a stream that stays open would keep it.
func (r *Response) DropHeader() {
	if r.Header != nil && r.Spare != nil {
		r.Spare(r.Header)
	}
	r.Header = nil
}

// A Transport carries one request to an upstream. This is the whole seam to the network: request bytes in,
// head and body reader out. It never follows redirects and never retries, but for a request that met a kept
// connection which the upstream had closed meanwhile.
type Transport interface {
	// Send returns when the head of the answer has come. Errors are classified *Error values, which wrap
	// ErrNotSent where it holds. Cancelling ctx ends the exchange at once, also while the body is read.
	Send(ctx context.Context, r *Request) (*Response, error)
}

// ErrNotSent is in errors of Send that came before a byte of the request was sent: no connection came about
// (a name that does not resolve, a refused connection, TLS that fails). An error without it may mean that
// the upstream has the request.
var ErrNotSent = errors.New("not connected")
