package redis

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"sluice/internal/upstream"
)

// A mind is what a store itself remembers between two reports: so much that a server that lost everything gets back what
// an operator said, and that what nobody needs is forgotten. It does no I/O.
type mind struct {
	words  map[string]word // operators' latest, by deployment
	lost   map[string]word // those of them that the server does not know
	forget []row           // what the server need not keep
	since  int64           // the server's time up to which revoked keys have been seen; 0: none yet
}

// maxForget is how many rows one report has forgotten; the next ones take the rest.
const maxForget = 100

// overlap is how much of what was revoked is read twice, so that nothing told during a report is missed.
const overlap = 10 * time.Second

func newMind() mind {
	return mind{words: make(map[string]word), lost: make(map[string]word)}
}

// learn takes in an operator's word; the latest holds.
func (m *mind) learn(key string, w word) {
	if w.since > m.words[key].since {
		m.words[key] = w
	}
}

// report packs a report as the script's arguments.
func (m *mind) report(r upstream.Report, now time.Time) ([]string, error) {
	if len(r.Shares) > upstream.MaxDeployments || len(r.Replica) > maxName || r.Replica == "" {
		return nil, fmt.Errorf("sync: a report of %d deployments by a replica with a name of %d bytes", len(r.Shares), len(r.Replica))
	}
	counts := make(map[string]int)
	var latencies, breakers, lost, forget []string
	for key, s := range r.Shares {
		if len(key) > maxName {
			return nil, fmt.Errorf("sync: a deployment with a key of %d bytes", len(key))
		}
		if s.InFlight > 0 {
			counts[key] = s.InFlight
		}
		if s.Samples > 0 {
			latencies = append(latencies, key, strconv.Itoa(s.Samples), strconv.FormatInt(max(int64(s.Latency), 0), 10))
		}
		if s.Closed || !s.Until.IsZero() {
			breakers = append(breakers, key, strconv.FormatInt(left(s.Until, now), 10), strconv.Itoa(max(s.Opens, 0)), bit(s.Closed))
		}
	}
	for key, w := range m.lost {
		lost = append(lost, key, strconv.FormatInt(w.since, 10), w.mode)
	}
	for _, f := range m.forget {
		forget = append(forget, strconv.Itoa(f.key), f.field, f.value)
	}
	text, err := json.Marshal(counts)
	if err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	args := []string{
		r.Replica, ms(upstream.LeaseTime), string(text), strconv.FormatFloat(1-upstream.Alpha, 'g', -1, 64), strconv.Itoa(upstream.MaxDeployments),
		strconv.FormatInt(m.since, 10), ms(keep),
		strconv.Itoa(len(latencies) / 3), strconv.Itoa(len(breakers) / 4), strconv.Itoa(len(lost) / 3), strconv.Itoa(len(forget) / 3),
	}
	for _, rows := range [][]string{latencies, breakers, lost, forget} {
		args = append(args, rows...)
	}
	return args, nil
}

// picture turns what the server has into what replica me is told, and remembers what the next report is to mend.
func (m *mind) picture(f facts, me string, now time.Time) upstream.Picture {
	p := upstream.Picture{Replicas: len(f.inFlight), Commons: make(map[string]upstream.Common), Revoked: f.revoked}
	change := func(key string, f func(*upstream.Common)) {
		c := p.Commons[key]
		f(&c)
		p.Commons[key] = c
	}
	for id, counts := range f.inFlight {
		if id == me {
			continue
		}
		for key, n := range counts {
			change(key, func(c *upstream.Common) { c.Others += n })
		}
	}
	for key, a := range f.latency {
		change(key, func(c *upstream.Common) { c.Latency = a.mean })
	}
	for key, b := range f.breakers {
		change(key, func(c *upstream.Common) { c.Until, c.Opens = after(now, b.until-f.now), b.opens })
	}
	m.mend(f)
	for key, w := range m.words {
		change(key, func(c *upstream.Common) { c.Mode = w.mode })
	}
	m.since = f.now - overlap.Milliseconds()
	return p
}

// mend finds what the server has lost, and what it need not keep.
func (m *mind) mend(f facts) {
	if m.since != 0 && f.now-m.since > keep.Milliseconds() {
		clear(m.words) // away for so long that newer words may have come and been forgotten
	}
	for key, w := range f.modes {
		m.learn(key, w)
	}
	clear(m.lost)
	old := func(at int64, limit time.Duration) bool { return f.now-at > limit.Milliseconds() }
	for key, w := range m.words {
		switch {
		case w.mode == string(upstream.Active) && old(w.since, keep):
			delete(m.words, key)
		case f.modes[key].since < w.since:
			m.lost[key] = w
		}
	}
	m.forget = f.garbage
	for key, a := range f.latency {
		if old(a.at, keep) {
			m.forget = append(m.forget, row{keyLatency, key, f.raw[keyLatency][key]})
		}
	}
	for key, b := range f.breakers {
		if old(b.until, keepBreaker) {
			m.forget = append(m.forget, row{keyBreaker, key, f.raw[keyBreaker][key]})
		}
	}
	for key, w := range f.modes {
		if w.mode == string(upstream.Active) && old(w.since, keep) {
			m.forget = append(m.forget, row{keyMode, key, f.raw[keyMode][key]})
		}
	}
	m.forget = m.forget[:min(len(m.forget), maxForget)]
}
