package upstream

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// A Deployment is one place that can serve a model, as configured.
type Deployment struct {
	Provider    string
	Model       string // "": any model of the provider; what is known is kept for each model that is called
	Credential  string // "": the provider has one, without a name
	MaxInFlight int    // 0: no limit
}

// Key names the deployment the same way on every replica and after a restart.
func (d *Deployment) Key() string {
	key := d.Provider + "/" + cmp.Or(d.Model, "*")
	if d.Credential != "" {
		key += "#" + d.Credential
	}
	return key
}

// A Mode is an operator's word on a deployment.
type Mode string

// The modes.
const (
	Active   Mode = "active"   // in service
	Draining Mode = "draining" // calls under way go on, no new ones begin
	Disabled Mode = "disabled" // out of service
)

// A Change is news of a deployment or credential, for the log and the metrics.
type Change struct {
	Deployment string    // its key; of a credential: provider#credential
	Event      string    // breaker_open, breaker_closed, credential_refused, credential_accepted, mode, reset
	Mode       Mode      // of the event mode
	Until      time.Time // of breaker_open and credential_refused
	Class      string    // of breaker_open: what failed last
	Remote     bool      // another replica's news
}

// FleetOptions are what a fleet is made of. The zero Options work.
type FleetOptions struct {
	Replica string       // unique for each process; needed with Shared
	Shared  Shared       // nil: this process is alone
	Notify  func(Change) // must not block; nil: nobody is told
	Revoked func(string) // takes the public part of a client's key that another replica revoked; must not block
}

// A Fleet is what is known of all deployments. It outlives the configurations: a pool takes from it what it
// was told to use, and a reload forgets nothing of what stays.
type Fleet struct {
	replica  string
	shared   Shared
	notify   func(Change)
	revoked  func(string)
	replicas atomic.Int32 // that share the deployments, this one included
	linked   atomic.Bool  // the last exchange with Shared went well
	hedges   budget
	kick     chan struct{} // wakes Share
	notices  chan Notice   // to be told to the others

	mu          sync.Mutex // guards the rest
	seen        int        // see Seen
	seenAt      time.Time  // when there were so many last
	must        []Notice   // that must be told, in order
	deployments map[string]*deployment
	credentials map[string]*credential
	budgets     map[string]*budget
}

// NewFleet makes a fleet that knows nothing yet.
func NewFleet(o FleetOptions) *Fleet {
	f := &Fleet{
		replica: o.Replica, shared: o.Shared, notify: o.Notify, revoked: o.Revoked, notices: make(chan Notice, 256), kick: make(chan struct{}, 1),
		deployments: map[string]*deployment{}, credentials: map[string]*credential{}, budgets: map[string]*budget{},
	}
	f.see(1, time.Time{})
	if f.notify == nil {
		f.notify = func(Change) {}
	}
	if f.revoked == nil {
		f.revoked = func(string) {}
	}
	return f
}

// A credential is shared by the deployments that are called with it.
type credential struct {
	breaker breaker
	told    atomic.Bool // its being refused
	key     string      // provider#credential
}

// A deployment is what is known of one place. With hundreds of them each call's comes from memory and not from the processor's
// cache, 64 bytes at a time, so what every call looks at stands together, from own's end to the breaker's window
// (TestWhatEveryCallNeedsStandsTogether), and the rest elsewhere: what is small lies close together, and is quicker to mark.
type deployment struct {
	Provider string // as in Deployment, and so Model and Credential
	Model    string
	*rest
	own       queue // what queue points at, but for a child that waits in its parent's line
	queue     *queue
	cred      *credential
	budget    *budget              // of its provider
	mode      atomic.Pointer[Mode] // nil: active
	throttled atomic.Int64         // Unix nanoseconds until which its vendor's rate limit is used up
	open      bool                 // it serves any model: its Model is ""
	tracker   tracker              // with the first of the breaker a line, which is all that an answer needs
	breaker   breaker
}

// A rest is what few calls need of a deployment.
type rest struct {
	Credential string
	key        string
	children   sync.Map     // of one for any model: *deployment by the model's name
	offspring  atomic.Int32 // how many children there are
	wording    sync.Mutex   // makes looking at the mode and the next two and changing the mode one step
	words      atomic.Int32 // how often the mode has changed
	unsaid     atomic.Int32 // words on the mode that the other replicas have not been told yet
	met        atomic.Bool  // what the other replicas know has been taken in once
	told       atomic.Int64 // the opening that was told, as its until; 0: closed
	mishap     atomic.Pointer[Mishap]
	firsts     sketch // of streams
}

// A Mishap is how a call failed last.
type Mishap struct {
	At    time.Time `json:"at"`
	Class string    `json:"class"`
	Kind  llm.Kind  `json:"kind"`
}

// take gives the deployments of a configuration, known ones as they are, and forgets all others.
func (f *Fleet) take(o *Options) []*deployment {
	list := o.Deployments
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*deployment, len(list))
	keep := make(map[string]*deployment, len(list))
	creds := make(map[string]*credential)
	budgets := make(map[string]*budget)
	for i, d := range list {
		key, credKey := d.Key(), d.Provider+"#"+d.Credential
		if creds[credKey] == nil {
			if creds[credKey] = f.credentials[credKey]; creds[credKey] == nil {
				creds[credKey] = &credential{key: credKey}
				creds[credKey].breaker.shared = f.shared != nil
			}
		}
		if budgets[d.Provider] == nil {
			if budgets[d.Provider] = f.budgets[d.Provider]; budgets[d.Provider] == nil {
				budgets[d.Provider] = new(budget)
			}
		}
		known := cmp.Or(keep[key], f.deployments[key])
		if known == nil {
			known = f.grown(d)
		}
		if known == nil {
			known = f.blank(d, creds[credKey], budgets[d.Provider])
		}
		known.breaker.rules.Store(&o.Breaker)
		known.cred.breaker.rules.Store(&o.Breaker)
		known.queue.setLimit(d.MaxInFlight, o.QueueLength)
		keep[key], out[i] = known, known
	}
	f.deployments, f.credentials, f.budgets = keep, creds, budgets
	return out
}

func (f *Fleet) blank(d Deployment, c *credential, b *budget) *deployment {
	n := &deployment{Provider: d.Provider, Model: d.Model, rest: &rest{Credential: d.Credential, key: d.Key()}, open: d.Model == "", cred: c, budget: b}
	n.queue = &n.own
	n.breaker.shared = f.shared != nil
	return n
}

// grown finds a deployment that a configuration names now and that was reached without an entry before.
func (f *Fleet) grown(d Deployment) *deployment {
	parent := Deployment{Provider: d.Provider, Credential: d.Credential}
	if p := f.deployments[parent.Key()]; p != nil && d.Model != "" {
		if c, ok := p.children.LoadAndDelete(d.Model); ok {
			p.offspring.Add(-1)
			if c := c.(*deployment); c.queue != p.queue { // one that waits in its parent's line begins anew, with a line of its own
				return c
			}
		}
	}
	return nil
}

// maxChildren bounds the models of one provider and credential that are told apart without an entry: clients
// choose their names. Those beyond it share what is known of them.
const maxChildren = 512

// at is the deployment of a target: its slot's, or for a slot of any model the one of the model's name. That
// one model fails says nothing about the others.
func (p *Pool) at(t *llm.Target) *deployment {
	d := p.slots[t.Slot].deployment
	if !d.open || t.Model == "" {
		return d
	}
	if c, ok := d.children.Load(t.Model); ok {
		return c.(*deployment)
	}
	return p.fleet.child(d, t.Model)
}

func (f *Fleet) child(parent *deployment, model string) *deployment {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := parent.children.Load(model); ok {
		return c.(*deployment)
	}
	d := Deployment{Provider: parent.Provider, Model: strings.Clone(model), Credential: parent.Credential}
	if named := f.deployments[d.Key()]; named != nil {
		return named // it has an entry under another name
	}
	if parent.offspring.Load() >= maxChildren && !parent.prune() {
		return parent
	}
	c := f.blank(d, parent.cred, parent.budget)
	c.breaker.rules.Store(parent.breaker.rules.Load())
	if parent.queue.bound() > 0 {
		c.queue = parent.queue
	}
	parent.children.Store(d.Model, c)
	parent.offspring.Add(1)
	return c
}

// prune forgets the children that nothing speaks against and nobody calls.
func (d *deployment) prune() bool {
	d.children.Range(func(model, c any) bool {
		child := c.(*deployment)
		if p, _, _ := child.breaker.state(time.Now()); p == phaseClosed && child.queue.inFlight() == 0 && child.word() == Active {
			d.children.Delete(model)
			d.offspring.Add(-1)
		}
		return true
	})
	return d.offspring.Load() < maxChildren
}

// all are the deployments, by key, with those of models that have no entry.
func (f *Fleet) all() []*deployment {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*deployment, 0, len(f.deployments))
	for _, d := range f.deployments {
		out = append(out, d)
		d.children.Range(func(_, c any) bool {
			out = append(out, c.(*deployment))
			return true
		})
	}
	slices.SortFunc(out, func(a, b *deployment) int { return cmp.Compare(a.key, b.key) })
	return out
}

func (f *Fleet) find(key string) (*deployment, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d, ok := f.deployments[key]; ok {
		return d, ok
	}
	for _, d := range f.deployments {
		if d.Model != "" || !strings.HasPrefix(key, d.Provider+"/") {
			continue
		}
		rest, cred, _ := strings.Cut(key[len(d.Provider)+1:], "#")
		if c, ok := d.children.Load(rest); ok && cred == d.Credential {
			return c.(*deployment), true
		}
	}
	return nil, false
}

// Replicas is how many processes share the deployments, this one included; 1 while nobody can be asked.
func (f *Fleet) Replicas() int { return int(f.replicas.Load()) }

// seenFor is how long a replica that went is reckoned with. A store that has lost its data, or is late, knows of fewer than there are
// until each has told it again.
const seenFor = time.Minute

// Seen is how many replicas there may be: the most that were seen in the last minute that anybody could be asked in. Whoever keeps to
// a part of something while the others cannot be asked goes by it: more than there are is safe, fewer is not.
func (f *Fleet) Seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// see notes how many replicas there are now.
func (f *Fleet) see(n int, now time.Time) {
	f.replicas.Store(int32(n))
	f.mu.Lock()
	defer f.mu.Unlock()
	if n >= f.seen || now.Sub(f.seenAt) >= seenFor {
		f.seen, f.seenAt = n, now
	}
}

func (d *deployment) word() Mode {
	if m := d.mode.Load(); m != nil {
		return *m
	}
	return Active
}

// load is what is known of the deployment now.
func (d *deployment) load(now time.Time, l *llm.Load) {
	d.tracker.load(l)
	var full bool
	l.InFlight, l.Others, full = d.queue.load()
	if m := d.mode.Load(); m != nil && *m != Active {
		l.Bar = llm.Draining
		if *m == Disabled {
			l.Bar = llm.Disabled
		}
		return
	}
	if ok, at := d.cred.breaker.ready(now); !ok {
		l.Bar, l.Until = llm.Credential, at.UnixNano()
		return
	}
	if ok, at := d.breaker.ready(now); !ok {
		l.Bar, l.Until = llm.Open, at.UnixNano()
		return
	}
	if until := d.throttled.Load(); until != 0 && until > now.UnixNano() {
		l.Bar, l.Until = llm.Throttled, until
		return
	}
	if full {
		l.Bar = llm.Full
	}
}

// A View is a deployment as operators see it.
type View struct {
	Deployment  string    `json:"deployment"`
	Provider    string    `json:"provider"`
	Model       string    `json:"model,omitempty"`
	Credential  string    `json:"credential,omitempty"`
	State       string    `json:"state"`            // as llm.Bar: free, full, throttled, breaker_open, credential_refused, draining, disabled
	Breaker     string    `json:"breaker"`          // closed, open, half_open
	Opens       int       `json:"opens,omitempty"`  // in a row
	Until       time.Time `json:"until,omitzero"`   // when it may be called again by itself
	InFlight    int32     `json:"in_flight"`        // from this process
	Others      int32     `json:"in_flight_others"` // from other replicas
	Waiting     int       `json:"waiting"`          // in the line before it
	MaxInFlight int       `json:"max_in_flight,omitempty"`
	LatencyMs   float64   `json:"latency_ms,omitempty"`     // moving average of the time to the first output
	P95Ms       float64   `json:"latency_p95_ms,omitempty"` // of this process
	Failing     float64   `json:"failing"`                  // moving average of the share that failed
	LastTried   time.Time `json:"last_tried,omitzero"`
	LastError   *Mishap   `json:"last_error,omitempty"`
}

// Views are all deployments as they are now, by key.
func (f *Fleet) Views() []View {
	now := time.Now()
	views := []View{}
	for _, d := range f.all() {
		var l llm.Load
		d.load(now, &l)
		p, until, opens := d.breaker.state(now)
		v := View{
			Deployment: d.key, Provider: d.Provider, Model: d.Model, Credential: d.Credential,
			State: l.Bar.String(), Breaker: p.String(), Opens: opens, InFlight: l.InFlight, Others: l.Others, Waiting: d.queue.length(),
			MaxInFlight: d.queue.bound(), LatencyMs: ms(l.Latency), Failing: float64(l.Failing), LastError: d.mishap.Load(),
		}
		if p95, ok := d.firsts.p95(); ok {
			v.P95Ms = ms(p95)
		}
		if l.Until != 0 {
			until = time.Unix(0, l.Until)
		}
		if !until.IsZero() {
			v.Until = until.UTC()
		}
		if l.Tried != 0 {
			v.LastTried = time.Unix(0, l.Tried).UTC()
		}
		views = append(views, v)
	}
	return views
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ErrNoDeployment says that there is no deployment of that key.
var ErrNoDeployment = errors.New("there is no such deployment")

// SetMode puts a deployment into a mode, on every replica and until the next word.
func (f *Fleet) SetMode(key string, m Mode) error {
	d, ok := f.find(key)
	if !ok {
		return ErrNoDeployment
	}
	d.wording.Lock()
	if f.shared != nil {
		d.unsaid.Add(1)
	}
	d.mode.Store(&m)
	d.words.Add(1)
	d.wording.Unlock()
	f.notify(Change{Deployment: key, Event: "mode", Mode: m})
	if f.shared != nil {
		f.tellSurely(Notice{Deployment: key, Mode: string(m)})
	}
	return nil
}

// Revoke tells the other replicas to refuse a client's key, by its public part.
func (f *Fleet) Revoke(public string) { f.tellSurely(Notice{RevokedKey: public}) }

// Reset forgets all that speaks against a deployment and its credential, on every replica.
func (f *Fleet) Reset(key string) error {
	d, ok := f.find(key)
	if !ok {
		return ErrNoDeployment
	}
	d.reset()
	f.notify(Change{Deployment: key, Event: "reset"})
	f.tellSurely(Notice{Deployment: key, Reset: true})
	return nil
}

func (d *deployment) reset() {
	d.breaker.reset()
	d.cred.breaker.reset()
	d.cred.told.Store(false)
	d.tracker.reset()
	d.throttled.Store(0)
	d.told.Store(0)
	d.mishap.Store(nil)
}
