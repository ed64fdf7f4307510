package usage

import (
	"bytes"
	"context"
	"time"

	"sluice/internal/llm"
)

// A Sample is a call whose upstream told no usage.
type Sample struct {
	Format   llm.Format // of Request
	Request  []byte     // the body, as the client sent it; nil: too long, or edited
	Provider string
	Model    string     // the upstream's name
	Answered llm.Format // of Answer
	Stream   bool
	Answer   []byte // the frames or the body, as the upstream sent them
}

const (
	sampleSize  = 256 << 10 // of an answer that is kept to be counted
	requestSize = 1 << 20   // of its request
	mostJobs    = 64        // that wait
)

// A job is the end of a call whose tokens must be counted first.
type job struct {
	sample   Sample
	final    final
	promised int
	start    time.Time
	input    bool // was not told, either
	ledger   *Ledger
}

// count lets the tokens of a call be counted before its end is written down. False: they cannot be, or too many
// calls wait for it.
func (j *Journal) count(e *Entry) bool {
	m := &e.meter
	if j.o.Count == nil || m.lost || len(m.sample) == 0 || len(j.jobs) == cap(j.jobs) {
		return false
	}
	n := &job{
		final: e.draft.final, promised: e.draft.promised, start: e.Start, input: !e.Usage.Input.Known, ledger: e.ledger,
		sample: Sample{
			Format: e.Format, Request: m.request, Provider: e.Target.Provider, Model: e.Target.Model,
			Answered: m.format, Stream: e.Stream, Answer: bytes.Clone(m.sample),
		},
	}
	j.queued.Add(1)
	select {
	case j.jobs <- n:
		return true
	default:
		j.queued.Add(-1)
		return false
	}
}

// counter is the goroutine that counts. After the journal's end it only writes down what still waits, as it was
// estimated.
func (j *Journal) counter(ctx context.Context) {
	for {
		select {
		case n := <-j.jobs:
			j.counted(ctx, n)
		case <-ctx.Done():
			for len(j.jobs) > 0 {
				j.counted(ctx, <-j.jobs)
			}
			return
		}
	}
}

func (j *Journal) counted(ctx context.Context, n *job) {
	r := &n.final.row
	input, output, err := j.o.Count(ctx, &n.sample)
	if err != nil {
		j.o.Log.Warn("ledger count", "request_id", r.RequestID, "error", err)
	} else {
		r.Usage.Output = llm.Tokens(output)
		if n.input && n.sample.Request != nil {
			r.Usage.Input = llm.Tokens(input)
		}
		n.ledger.charge(r, n.start)
	}
	j.end(appendFinal(nil, &n.final), n.promised)
	j.queued.Add(-1)
	j.move(func() {})
}
