package usage

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// script is a stream of prepared steps.
type script struct {
	events []*llm.Event
	err    error // after them
	closed int
}

func (s *script) Next() (*llm.Event, error) {
	if len(s.events) == 0 {
		return nil, s.err
	}
	ev := s.events[0]
	s.events = s.events[1:]
	return ev, nil
}

func (s *script) Close() error { s.closed++; return nil }

var fields = cmpopts.IgnoreUnexported(Entry{})

// An entry tells what a call was, when its first byte left, and how much of the time was our own.
func TestEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Entry
		l := New(Options{Record: func(e *Entry) { got = append(got, *e) }})
		begin := time.Now()
		e := l.Open("req_1", llm.OpenAIChat, "192.0.2.1")
		e.Caller(&auth.Who{Name: "ci", ID: "sk-slc-public"})
		e.Call(&llm.Call{Op: llm.OpChat, Model: "fast", Stream: true, Body: llm.NewBody(nil, []byte("12345"), llm.Marks{})})
		<-time.After(3 * time.Second)
		e.Upstream = 2 * time.Second
		e.Wrote(100, 7, time.Now())
		<-time.After(4 * time.Second)
		e.Close()
		want := []Entry{{
			ID: "req_1", Start: begin, Format: llm.OpenAIChat, Op: llm.OpChat, Model: "fast", Stream: true, Key: "sk-slc-public", Remote: "192.0.2.1",
			BytesIn: 5, BytesOut: 100, Frames: 7, Upstream: 2 * time.Second, FirstToken: 3 * time.Second, Own: time.Second, Total: 7 * time.Second,
		}}
		if diff := cmp.Diff(want, got, fields); diff != "" {
			t.Error(diff)
		}
	})
}

// A call that never wrote an answer has no first byte: all its time but the wait for the upstream is our own.
func TestEntryWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got Entry
		e := New(Options{Record: func(e *Entry) { got = *e }}).Open("req_1", llm.AnthropicMessages, "")
		<-time.After(3 * time.Second)
		e.Upstream = 2 * time.Second
		e.Wrote(0, 0, time.Time{})
		e.Close()
		if got.FirstToken != 0 || got.Own != time.Second || got.Total != 3*time.Second {
			t.Errorf("first %v, own %v, total %v", got.FirstToken, got.Own, got.Total)
		}
	})
}

// Entries are used again. Nothing of a call may be in another one's account, and each is recorded once.
func TestEntriesAreClean(t *testing.T) {
	var ids []string
	var dirty []Entry
	l := New(Options{Record: func(e *Entry) {
		ids = append(ids, e.ID)
		if e.Err != nil || e.Usage.Input.Known || e.Key != "" || e.Attempts != 0 || e.BytesOut != 0 {
			dirty = append(dirty, *e)
		}
	}})
	fill := func(e *Entry) {
		e.Caller(&auth.Who{Name: "ci"})
		e.Attempts, e.Err = 3, errors.New("one")
		e.Wrote(5, 5, time.Now())
		s := e.Meter(&script{events: []*llm.Event{{Usage: &llm.Usage{Input: llm.Tokens(5)}}}, err: io.EOF}, Hooks{})
		_, _ = s.Next()
	}
	for range 50 {
		e := l.Open("full", llm.OpenAIChat, "")
		fill(e)
		e.Close()
		l.Open("clean", llm.OpenAIChat, "").Close()
	}
	full := 0
	for i := range dirty {
		if dirty[i].ID == "full" {
			full++
		} else {
			t.Errorf("a new entry holds %+v", dirty[i])
		}
	}
	if len(ids) != 100 || full != 50 {
		t.Errorf("%d entries recorded, %d of them full", len(ids), full)
	}
}

// The meter passes everything on as it is and keeps the last word on each kind of token.
func TestMeter(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name   string
		events []*llm.Event
		err    error
		want   llm.Usage
	}{
		{"nothing told", []*llm.Event{{Raw: []byte("a")}, {Raw: []byte("b")}}, io.EOF, llm.Usage{}},
		{"zero is not absent", []*llm.Event{{Usage: &llm.Usage{Input: llm.Tokens(0)}}}, io.EOF, llm.Usage{Input: llm.Tokens(0)}},
		{"in pieces", []*llm.Event{
			{Usage: &llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(1)}}, {}, {Usage: &llm.Usage{Output: llm.Tokens(7)}},
		}, io.EOF, llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(7)}},
		{"a running total, not a sum", []*llm.Event{
			{Usage: &llm.Usage{Output: llm.Tokens(5)}}, {Usage: &llm.Usage{Output: llm.Tokens(9)}},
		}, io.EOF, llm.Usage{Output: llm.Tokens(9)}},
		{"what came before a break counts", []*llm.Event{{Usage: &llm.Usage{Input: llm.Tokens(3)}}}, broken, llm.Usage{Input: llm.Tokens(3)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got llm.Usage
			e := New(Options{Record: func(e *Entry) { got = e.Usage }}).Open("req_1", llm.OpenAIChat, "")
			inner := &script{events: tt.events, err: tt.err}
			s := e.Meter(inner, Hooks{})
			for _, want := range tt.events {
				if ev, err := s.Next(); ev != want || err != nil {
					t.Errorf("got %v %v, want the event itself", ev, err)
				}
			}
			if _, err := s.Next(); !errors.Is(err, tt.err) {
				t.Errorf("ends with %v, want %v", err, tt.err)
			}
			if err := s.Close(); err != nil || inner.closed != 1 {
				t.Errorf("closed %d times, %v", inner.closed, err)
			}
			e.Close()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
