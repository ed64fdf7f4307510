// Package alert tells people's systems that a budget has passed a threshold: a signed POST to every webhook, at
// least once, however often it fails at first and whoever crashes meanwhile. What is to be told is kept in an
// outbox, once for each threshold and period; replicas take turns in emptying it.
package alert

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
)

// A Notice says that a budget has passed a threshold.
type Notice struct {
	ID      string    `json:"id"`   // the same for the same threshold of the same period: who gets it twice can tell
	Type    string    `json:"type"` // budget.threshold
	At      time.Time `json:"at"`
	Org     string    `json:"organisation"`
	Subject string    `json:"subject"` // whose budget: key:ID, team:ID, ..., as lists of rules name it
	Rule    string    `json:"rule"`    // the rule's name
	Period  time.Time `json:"period_start,omitzero"`
	Percent int       `json:"percent"`
	Unit    string    `json:"unit"` // usd or tokens
	Spent   string    `json:"spent"`
	Limit   string    `json:"limit"`
}

// A Task is a notice that one webhook has not got yet.
type Task struct {
	Notice
	Hook  string // its name in the outbox
	Tries int    // before this one
}

// An Outbox keeps what is to be told, for all replicas. Every method is one transaction.
type Outbox interface {
	// Put adds a notice for each hook. One with the same ID and hook that is or was there stays as it is.
	Put(ctx context.Context, n *Notice, hooks []string) error
	// Claim gives at most so many tasks for these hooks that are due by the outbox's clock, and makes them due again
	// when lease has passed: whoever claims must end in time, or another tells it, too.
	Claim(ctx context.Context, hooks []string, most int, lease time.Duration) ([]Task, error)
	// Done ends a task.
	Done(ctx context.Context, t *Task) error
	// Later makes a task due again after a time, with one more try behind it.
	Later(ctx context.Context, t *Task, after time.Duration) error
}

// A Hook is a webhook.
type Hook struct {
	URL       *url.URL
	Secret    llm.Secret
	Transport llm.Transport // refuses addresses that nobody meant
}

// Name is the hook in the outbox, so that a restart with the same configuration finds its tasks. It tells nothing
// of an address that may hold a secret.
func (h *Hook) Name() string {
	sum := sha256.Sum256([]byte("sluice webhook " + h.URL.String()))
	return hex.EncodeToString(sum[:8])
}

// Options are what a sender is made of.
type Options struct {
	Outbox Outbox
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// A Sender puts notices into the outbox and delivers what is there.
type Sender struct {
	o     Options
	hooks map[string]*Hook
	names []string
	wake  chan struct{}
}

// New makes a sender. It delivers while Run runs.
func New(o Options, hooks []Hook) *Sender {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Sender{o: o, hooks: make(map[string]*Hook), wake: make(chan struct{}, 1)}
	for i := range hooks {
		name := hooks[i].Name()
		if s.hooks[name] == nil {
			s.names = append(s.names, name)
		}
		s.hooks[name] = &hooks[i]
	}
	return s
}

// Tell puts a notice into the outbox. Without webhooks it does nothing.
func (s *Sender) Tell(ctx context.Context, n *Notice) error {
	if len(s.names) == 0 {
		return nil
	}
	if err := s.o.Outbox.Put(ctx, n, s.names); err != nil {
		return fmt.Errorf("keep alert: %w", err)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

const (
	// poll is how often the outbox is looked into where nobody says that there is something: other replicas put into it,
	// too, and tries become due.
	poll      = 5 * time.Second
	batch     = 20
	timeout   = 10 * time.Second // of one POST
	lease     = batch*timeout + time.Minute
	maxAnswer = 64 << 10
	maxWait   = time.Hour
	maxTries  = 100 // about four days
)

// Run delivers until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	if len(s.names) == 0 {
		return
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		for s.round(ctx) == batch {
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// round delivers what is due, at most a batch, and tells how many there were.
func (s *Sender) round(ctx context.Context) int {
	tasks, err := s.o.Outbox.Claim(ctx, s.names, batch, lease)
	if err != nil {
		if ctx.Err() == nil {
			s.o.Log.Warn("alert.outbox", "error", err.Error())
		}
		return 0
	}
	for i := range tasks {
		s.deliver(ctx, &tasks[i])
	}
	return len(tasks)
}

func (s *Sender) deliver(ctx context.Context, t *Task) {
	why := s.post(ctx, s.hooks[t.Hook], &t.Notice)
	if ctx.Err() != nil {
		return // the lease brings it back
	}
	var err error
	switch {
	case why == "":
		err = s.o.Outbox.Done(ctx, t)
	case t.Tries+1 >= maxTries:
		s.o.Log.Error("alert.given_up", "hook", t.Hook, "notice", t.ID, "tries", t.Tries+1, "error", why)
		err = s.o.Outbox.Done(ctx, t)
	default:
		wait := Backoff(t.Tries)
		s.o.Log.Warn("alert.failed", "hook", t.Hook, "notice", t.ID, "tries", t.Tries+1, "again_in", wait.String(), "error", why)
		err = s.o.Outbox.Later(ctx, t, wait)
	}
	if err != nil {
		s.o.Log.Warn("alert.outbox", "error", err.Error())
	}
}

// Backoff is the wait after so many tries: a second, doubling, an hour at most.
func Backoff(tries int) time.Duration {
	if tries >= 12 {
		return maxWait
	}
	return min(time.Second<<tries, maxWait)
}

// post sends a notice and says why it did not arrive, in words without the address.
func (s *Sender) post(ctx context.Context, h *Hook, n *Notice) (why string) {
	body, err := json.Marshal(n)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := h.Transport.Send(ctx, &llm.Request{
		Method: http.MethodPost, URL: h.URL, Body: [][]byte{body},
		Header: http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"sluice"}, "X-Sluice-Event": {n.Type}, "X-Sluice-Delivery": {n.ID},
			"X-Sluice-Signature": {Sign(h.Secret, s.o.Now(), body)},
		},
	})
	if err != nil {
		return string(llm.AsError(err).Kind)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.Status/100 != 2 {
		return "status " + strconv.Itoa(resp.Status)
	}
	return ""
}

// Sign makes the value of X-Sluice-Signature: t=TIME,v1=HEX, where HEX is the HMAC-SHA-256, under the hook's secret,
// of TIME (Unix seconds), a point and the body. A receiver refuses what is older than five minutes.
func Sign(secret llm.Secret, now time.Time, body []byte) string {
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(at + "."))
	_, _ = mac.Write(body)
	return "t=" + at + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
