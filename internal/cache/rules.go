package cache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A Mode says how far answers are kept for a call. The zero Mode says nothing.
type Mode string

// The modes, the least first.
const (
	Off      Mode = "off"
	Exact    Mode = "exact"    // the same request gets the same answer
	Semantic Mode = "semantic" // and so does one that asks the same in other words
)

// Effective is the mode of a call: what its model says, which a key may lessen; where the model says nothing, what the key says;
// else what holds in general.
func Effective(model, key, general Mode) Mode {
	switch {
	case model == "" && key == "":
		model = general
	case model == "":
		model = key
	}
	if m := auth.LeastCache(string(model), string(key)); m != "" {
		return Mode(m)
	}
	return Off
}

// A Reader reads a kept answer again, as the provider of its target reads it. raw is as in llm.Attempt.
type Reader func(t *llm.Target, f llm.Format, stream, raw bool, body []byte) (llm.Stream, error)

// Rules say what is kept, and for how long. They are a configuration's.
type Rules struct {
	General        Mode // of models and keys that say nothing
	Level          Level
	TTL            time.Duration // of an answer
	SemanticTTL    time.Duration // for how long one is found by what its question means
	MaxAnswer      int           // bytes of an answer that is kept
	MaxTemperature float64       // above it answers are meant to differ; negative: no limit
	Temperature    bool          // a request that names no temperature has the provider's, which is high
	ToolCalls      bool          // answers that call tools are kept, too
	Wait           time.Duration // for a twin that is under way
	Read           Reader
}

// Defaults of Rules.
const (
	DefaultTTL            = 5 * time.Minute
	DefaultSemanticTTL    = time.Hour
	DefaultMaxAnswer      = 1 << 20
	DefaultMaxTemperature = 0.3
	DefaultWait           = 30 * time.Second
)

// A Control is what a request says of the cache by its headers.
type Control struct {
	NoStore   bool          // it is neither looked up nor kept
	Fresh     bool          // it is not looked up, but kept
	MaxAge    time.Duration // an answer must be no older; 0: any
	Namespace string        // it shares only with requests that say the same
}

// NamespaceHeader is by what a request parts its answers from others of its scope.
const NamespaceHeader = "X-Sluice-Cache-Namespace"

// ReadControl reads a request's headers: Cache-Control as RFC 9111 has it (no-store, no-cache, max-age), and the namespace.
// What it does not know of Cache-Control means nothing.
func ReadControl(h http.Header) (c Control, err error) {
	for _, v := range h["Cache-Control"] {
		for d := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
			switch strings.ToLower(name) {
			case "no-store":
				c.NoStore = true
			case "no-cache":
				c.Fresh = true
			case "max-age":
				n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32)
				if err != nil || n < 0 {
					return Control{}, llm.Errorf(llm.KindInvalid, "Cache-Control: max-age is a number of seconds")
				}
				c.MaxAge = time.Duration(n) * time.Second
				c.Fresh = c.Fresh || n == 0
			}
		}
	}
	const most = 128
	if c.Namespace = h.Get(NamespaceHeader); len(c.Namespace) > most || strings.ContainsFunc(c.Namespace, func(r rune) bool { return r < ' ' || r > '~' }) {
		return Control{}, llm.Errorf(llm.KindInvalid, "%s: at most %d visible ASCII characters", NamespaceHeader, most)
	}
	return c, nil
}

// An Ask is a call as the cache sees it.
type Ask struct {
	Who     *auth.Who
	Call    *llm.Call
	Body    []byte   // the request in the client's format, as it goes on: after anybody edited it
	Mode    Mode     // of its model and key
	Route   string   // tells apart where calls of the model's name go
	Tags    []string // that a deployment must have to serve it
	Control Control
	Raw     bool // nobody needs more of an answer than its bytes
	// Personal says that the request holds what a guard has found or may have missed: an answer to it is nobody else's.
	Personal bool
}

// Whys: why a call was not looked up, or an answer was not kept.
const (
	WhyNoStore     = "no_store"
	WhyFresh       = "no_cache"
	WhyPersonal    = "personal"    // a guard found something and left it there, or could not look
	WhyScope       = "scope"       // nobody knows whose it is
	WhyOperation   = "operation"   // its kind of call has no answer to keep
	WhyTemperature = "temperature" // answers are meant to differ
	WhyChoices     = "choices"     // several answers at once
	WhyState       = "state"       // it reads or leaves something at the provider
	WhyHosted      = "hosted_tool" // tools that run at the provider see the world of now
	WhyForm        = "form"        // the bytes cannot be read again
	WhyLarge       = "large"
	WhyPartial     = "partial"   // it did not end, or not as it should
	WhyFiltered    = "filtered"  // a filter cut it
	WhyRefused     = "refused"   // the model declined
	WhyToolCalls   = "tool_call" //
	WhyMedia       = "media"     // pictures or sound
	WhyEmpty       = "empty"     // it says nothing
	WhyFallback    = "fallback"  // another model answered
	WhyFailed      = "failed"    // there was none
	WhyPurged      = "purged"    // what it belongs to was purged meanwhile
	WhyBusy        = "busy"      // too many wait to be kept
	WhyStore       = "store"     // the store did not take it
)

// bypass says why a call is neither looked up nor kept; "": it is.
func (r *Rules) bypass(a *Ask) string {
	c := a.Call
	switch {
	case a.Control.NoStore:
		return WhyNoStore
	case a.Personal:
		return WhyPersonal
	case c.Op != llm.OpChat && c.Op != llm.OpEmbed:
		return WhyOperation
	case c.Choices > 1:
		return WhyChoices
	}
	p, err := c.Body.Payload()
	if err != nil {
		return WhyForm
	}
	chat, ok := p.(*llm.Chat)
	if !ok {
		return ""
	}
	switch t := chat.Temperature; {
	case chat.Store != nil && *chat.Store || stateful(chat.Extra) || stateful(chat.Hints):
		return WhyState
	case slices.ContainsFunc(chat.Tools, func(t llm.Tool) bool { return t.Foreign != nil }):
		return WhyHosted
	case r.MaxTemperature < 0:
	case t != nil && *t > r.MaxTemperature, t == nil && r.Temperature:
		return WhyTemperature
	}
	return ""
}

// kept are members of requests that ask a provider to keep something, or to use what it has kept.
var kept = []string{"previous_response_id", "conversation", "background", "container", "prompt", "cachedContent", "cached_content", "web_search_options"}

func stateful(m llm.Members) bool {
	for _, name := range kept {
		if v, ok := m[name]; ok && string(v) != "null" && string(v) != "false" {
			return true
		}
	}
	return false
}

// refuse says why an answer is not kept; "": it is.
func (r *Rules) refuse(op llm.Op, answer *llm.Answer, inputs int) string {
	if op == llm.OpEmbed {
		if len(answer.Vectors) == 0 || inputs > 0 && len(answer.Vectors) != inputs {
			return WhyPartial
		}
		return ""
	}
	if u := answer.Usage; u != nil && (u.AudioOutput.N > 0 || u.ImageOutput.N > 0) {
		return WhyMedia
	} else if u != nil && len(u.Runs) > 0 {
		return WhyHosted
	}
	if len(answer.Choices) != 1 {
		return WhyEmpty
	}
	return r.refuseChoice(&answer.Choices[0])
}

func (r *Rules) refuseChoice(c *llm.Choice) string {
	said, calls := false, false
	for i := range c.Parts {
		p := &c.Parts[i]
		switch {
		case p.Refusal != nil:
			return WhyRefused
		case p.Media != nil:
			return WhyMedia
		case p.Foreign != nil || p.Result != nil:
			return WhyHosted
		case p.Call != nil:
			calls = true
		case p.Text != "":
			said = true
		}
	}
	switch c.Stop {
	case llm.StopFilter:
		return WhyFiltered
	case llm.StopRefusal:
		return WhyRefused
	case llm.StopEnd, llm.StopSequence, llm.StopTools:
	default:
		return WhyPartial
	}
	switch {
	case calls && !r.ToolCalls:
		return WhyToolCalls
	case !said && !calls:
		return WhyEmpty
	}
	return ""
}
