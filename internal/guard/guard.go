// Package guard keeps what must not leave from leaving: it reads every text of a call before an upstream gets it, and refuses
// the call, puts placeholders in the place of what it found, or only counts. In the answer it puts values back, or looks for
// more. It works on data, not on endpoints: whatever is a string in a request is text unless it is known to be none.
//
// It does not know how anything is found; that is a [Detector]'s. It stores nothing: what it knows of a call dies with the call.
package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A Mode is what becomes of what is found. Of two modes the greater is the stricter.
type Mode uint8

// The modes.
const (
	Off     Mode = iota // nothing is looked for
	Observe             // it goes on, and is counted
	Restore             // a placeholder goes on, and the answer has the value again
	Mask                // a placeholder goes on, and stays in the answer
	Block               // the call is refused
)

var modes = [...]string{"off", "observe", "restore", "mask", "block"}

func (m Mode) String() string { return modes[m] }

// ParseMode reads what String wrote; "" is Off.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return Off, nil
	}
	if i := slices.Index(modes[:], s); i >= 0 {
		return Mode(i), nil
	}
	return Off, fmt.Errorf("there is no mode %q", s)
}

// A Finding is a thing in a text.
type Finding struct {
	Type       string // what it is: EMAIL_ADDRESS, or a rule's own name
	Start, End int    // bytes
}

// A Detector finds things in texts. It is shared by calls, keeps nothing of what it reads, and ends when ctx does. Texts that it
// could not read to their end are an error: whoever relies on it must know.
type Detector interface {
	// Name is what logs and records call it.
	Name() string
	// Detect tells of each text what it found there, in any order. found is called on the caller's goroutine.
	Detect(ctx context.Context, texts []string, found func(text int, f Finding)) error
}

// A Follower is a detector that can read a text while it is being written. Without it a text is kept back until it is whole.
type Follower interface {
	Detector
	Follow() Follow
}

// A Follow reads one text, which may be cut anywhere. It is for one goroutine.
type Follow interface {
	// Next takes the next piece. settled is how many more bytes are done with: nothing that comes changes what is found in them,
	// and nothing that is found in them ends later. found are in their order, and count from where these bytes begin.
	Next(piece string) (settled int, found []Finding, err error)
	// Close ends the text, and gives the rest.
	Close() (settled int, found []Finding, err error)
}

// Options are what a guard is made of.
type Options struct {
	Name      string
	Mode      Mode       // of requests
	Answers   Mode       // of answers; Restore means nothing there
	Block     []string   // types that are refused whatever the mode
	Enforce   bool       // what could not be scanned is refused
	Media     bool       // with Enforce: media and tokens may go unscanned
	Always    bool       // it holds for every call
	Detectors []Detector // what it looks with
}

// A Guard is what an operator has named: what is looked for, and what becomes of it. It is immutable.
type Guard struct{ o Options }

// mode is what becomes of a type.
func (g *Guard) mode(m Mode, kind string) Mode {
	if m != Off && slices.Contains(g.o.Block, kind) {
		return Block
	}
	return m
}

// A Chain is all guards of a configuration. It is immutable.
type Chain struct {
	guards map[string]*Guard
	always []string
	models func(model string) []string
}

// New makes a chain. models gives the names of the guards that hold for calls of a model, by the name that a client says.
func New(list []Options, models func(model string) []string) (*Chain, error) {
	c := &Chain{guards: make(map[string]*Guard, len(list)), models: models}
	for _, o := range list {
		if o.Name == "" || c.guards[o.Name] != nil {
			return nil, fmt.Errorf("guard %q has no name of its own", o.Name)
		}
		c.guards[o.Name] = &Guard{o}
		if o.Always {
			c.always = append(c.always, o.Name)
		}
	}
	return c, nil
}

// Holding are the names of the guards that hold for a call, sorted: those of all calls, of its model, and of its key and all
// the key's owners. All of them hold at once, so naming one more never loosens anything.
func (c *Chain) Holding(who *auth.Who, model string) []string {
	if c == nil {
		return nil
	}
	var own []string
	if c.models != nil {
		own = c.models(model)
	}
	if len(c.always)+len(own)+len(who.Guards) == 0 {
		return nil
	}
	names := slices.Concat(c.always, own, who.Guards)
	slices.Sort(names)
	return slices.Compact(names)
}

// Inspect reads a call before anything of it leaves, and changes its body where a guard says so. It gives nil where no guard
// holds for the call. Where the call must not go on there is an error, and the inspection only tells why. Else it must be closed.
func (c *Chain) Inspect(ctx context.Context, who *auth.Who, call *llm.Call) (*Inspection, error) {
	names := c.Holding(who, call.Model)
	if names == nil {
		return nil, nil //nolint:nilnil // no guard, no inspection
	}
	in := &Inspection{Coverage: llm.Coverage{Guards: strings.Join(names, ","), Outcome: llm.GuardClean}}
	for _, name := range names {
		g := c.guards[name]
		if g == nil { // its key, or an owner of that, still names it
			in.Coverage.Outcome = llm.GuardClosed
			return in, llm.Errorf(llm.KindGuardrail, "the call must pass the guard %s, which is not configured any more; ask whoever runs the gateway", name)
		}
		in.guards = append(in.guards, g)
	}
	if err := in.request(ctx, call); err != nil {
		in.Close()
		return in, err
	}
	return in, nil
}
