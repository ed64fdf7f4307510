package bench

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress is a line on a terminal that says how far a long run is; elsewhere it is silent.
type progress struct {
	w     io.Writer // nil: silent
	mu    sync.Mutex
	total time.Duration
	done  time.Duration // of the steps that are over
	step  time.Duration // that runs
	began time.Time
	label string
	end   chan struct{}
	over  sync.WaitGroup
}

func startProgress(w io.Writer, total time.Duration) *progress {
	p := &progress{w: w, total: max(total, 1), end: make(chan struct{})}
	if w == nil {
		return p
	}
	p.over.Go(func() {
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				p.draw()
			case <-p.end:
				_, _ = fmt.Fprint(w, "\r\x1b[K")
				return
			}
		}
	})
	return p
}

// next begins a step that should take d.
func (p *progress) next(label string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += p.step
	p.label, p.step, p.began = label, d, time.Now()
}

func (p *progress) stop() {
	close(p.end)
	p.over.Wait()
}

func (p *progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprint(p.w, "\r\x1b[K"+bar(p.done+min(p.step, time.Since(p.began)), p.total, p.label))
}

const barWidth = 30

func bar(done, total time.Duration, label string) string {
	share := min(1, float64(done)/float64(total))
	full := int(share * barWidth)
	left := (total - done).Round(time.Second)
	return fmt.Sprintf("[%s%s] %3.0f %% %s, %s left", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), share*100, label, max(0, left))
}
