package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

var quickly = llm.Timeouts{FirstToken: time.Second, Idle: time.Minute, Total: time.Minute}

// A watch is a context like any other, to those below it, too.
func TestWatchIsAContext(t *testing.T) {
	errLeft := errors.New("left")
	for _, c := range []struct {
		name string
		end  func(w *watch, leave context.CancelCauseFunc)
		want error
	}{
		{"by the clock", func(*watch, context.CancelCauseFunc) { time.Sleep(time.Second) }, errFirst},
		{"with the call", func(_ *watch, leave context.CancelCauseFunc) { leave(errLeft) }, errLeft},
		{"stopped", func(w *watch, _ context.CancelCauseFunc) { w.stop() }, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call, leave := context.WithCancelCause(t.Context())
				defer leave(nil)
				var w watch
				w.begin(call, time.Now(), quickly)
				defer w.stop()
				below, cancel := context.WithCancel(&w)
				defer cancel()
				ran, kept := false, true
				context.AfterFunc(&w, func() { ran = true })
				keep := w.AfterFunc(func() { kept = false })
				if !keep() || keep() {
					t.Error("a func that has not run can be stopped once")
				}
				if w.Err() != nil || below.Err() != nil {
					t.Fatal("it ended at once")
				}
				select {
				case <-w.Done():
					t.Fatal("done at once")
				default:
				}
				c.end(&w, leave)
				<-w.Done()
				<-below.Done()
				synctest.Wait()
				if !ran || !kept {
					t.Errorf("at the end: ran %v, stopped one did not run %v", ran, kept)
				}
				for _, ctx := range []context.Context{&w, below} {
					if got := context.Cause(ctx); !errors.Is(got, c.want) || ctx.Err() == nil {
						t.Errorf("it ended because of %v (%v), want %v", got, ctx.Err(), c.want)
					}
				}
				late := false
				stop := w.AfterFunc(func() { late = true })
				if synctest.Wait(); !late || stop() {
					t.Error("what is asked for after the end does not run")
				}
			})
		})
	}
}

// What a watch allocates: its timer, and the look at the call's context.
func TestWatchAllocations(t *testing.T) {
	call, leave := context.WithCancel(t.Context())
	defer leave()
	const most = 8
	if n := testing.AllocsPerRun(100, func() {
		w := new(watch)
		w.begin(call, time.Now(), quickly)
		if !w.AfterFunc(leave)() {
			t.Error("it has ended")
		}
		w.stop()
	}); n > most {
		t.Errorf("%v allocations, want at most %d", n, most)
	}
}
