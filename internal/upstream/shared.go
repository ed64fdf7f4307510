package upstream

import (
	"context"
	"time"
)

// Shared is what replicas tell one another about their deployments. State is local first: nothing on the
// path of a call waits for it, every method may fail, and a failure leaves each replica with what it knows
// itself. Deployments go by their key, which is the same on every replica (Deployment.Key).
//
// Times are the caller's own. Between replicas they travel as what is left of them, so that clocks may differ.
type Shared interface {
	// Sync hands over a replica's report and gives the picture that all reports make. A replica that has not
	// reported for LeaseTime is gone, with its calls in flight. It is atomic, and repeating a report whose
	// answer was lost counts its samples twice at worst.
	Sync(ctx context.Context, r Report) (Picture, error)
	// Permit asks for the one permit that the cluster has in each span of the given length for a purpose (the
	// probe of a half-open breaker, a health check). True: it is ours. After an error it may be nobody's until
	// the span is over.
	Permit(ctx context.Context, purpose string, span time.Duration) (bool, error)
	// Tell sends a notice to every replica that listens, this one included, and keeps what must outlast it: all
	// but Reset and Probed is in later pictures, too. After an error some may have heard it.
	Tell(ctx context.Context, n Notice) error
	// Listen calls f for each notice until ctx ends, whose error it returns, and joins again after a lost
	// connection. What is sent while it is not joined only later pictures tell. f must neither block nor call the store.
	Listen(ctx context.Context, f func(Notice)) error
}

// LeaseTime is how long a replica's report holds.
const LeaseTime = 5 * time.Second

// MaxDeployments is how many deployments a store keeps, and a report may name. What is new beyond it is left out.
const MaxDeployments = 2000

// A Report is what one replica has to say since its last one.
type Report struct {
	Replica string           // unique for each process
	Shares  map[string]Share // by deployment; one left out has no calls in flight and nothing new
}

// A Share is one replica's part in a deployment.
type Share struct {
	InFlight int           // calls under way now
	Samples  int           // latencies measured since the last report
	Latency  time.Duration // their mean
	Until    time.Time     // new in this report: the breaker is open until then; zero: nothing new
	Opens    int           // how often in a row it has opened, for Until
	Closed   bool          // new in this report: the breaker has closed, before Until if both are set
}

// A Picture is what all replicas know together.
type Picture struct {
	Replicas int               // that report, this one included
	Commons  map[string]Common // by deployment, those about which there is something to say
	Revoked  []string          // public parts of clients' keys; all of the last day at first, then what is new, some twice
}

// A Common is what is known together of one deployment.
type Common struct {
	Others  int           // calls under way from the other replicas
	Latency time.Duration // moving average over the samples of all: each report moves it by 1-(1-Alpha)^Samples towards its mean; 0: none
	Until   time.Time     // the breaker was opened until then; past: half-open, nobody has closed it; zero: nothing is known, which closes nothing
	Opens   int           // how often in a row it has opened, for Until
	Mode    string        // an operator's last word, as Notice.Mode; "": none is known, which unsays nothing
}

// A Notice is news that cannot wait for the next report.
type Notice struct {
	From       string    `json:"from"`                  // the replica that sent it
	Deployment string    `json:"deployment,omitempty"`  // its key
	Mode       string    `json:"mode,omitempty"`        // draining, disabled or active: kept until the next word
	Until      time.Time `json:"until,omitzero"`        // the breaker opened until then
	Opens      int       `json:"opens,omitempty"`       // how often in a row, for Until
	Closed     bool      `json:"closed,omitempty"`      // the breaker closed
	Probed     bool      `json:"probed,omitempty"`      // a probe of the half-open breaker went well, one of those that close it
	Reset      bool      `json:"reset,omitempty"`       // all that was learned of it is forgotten
	RevokedKey string    `json:"revoked_key,omitempty"` // the public part of a client's key that no replica may take any more
}

// Alpha is the weight of a new sample in every moving average.
const Alpha = 0.3
