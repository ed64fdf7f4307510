package mock

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func getLog(t *testing.T, s *Server, query string) Log {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/log"+query, nil))
	var l Log
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLog(t *testing.T) {
	s := newServer(t, Options{Log: 4})
	for i := range 10 {
		post(s, "/v1/chat/completions", chat("echo", i%2 == 1), "X-Request-Id", strconv.Itoa(i), "X-Custom", "secret")
	}
	l := getLog(t, s, "")
	if l.Served != 10 || l.Dropped != 6 || len(l.Entries) != 4 {
		t.Fatalf("served %d, dropped %d, entries %d", l.Served, l.Dropped, len(l.Entries))
	}
	for i, e := range l.Entries {
		if e.ID != strconv.Itoa(6+i) || e.Seq != int64(7+i) {
			t.Errorf("entry %d is call %s, seq %d", i, e.ID, e.Seq)
		}
	}
	want := Entry{
		Seq: 10, ID: "9", API: "openai.chat", Path: "/v1/chat/completions", Proto: "HTTP/1.1", Model: "echo", Stream: true, Status: 200,
		Outcome: "complete", Tokens: Tokens{Input: 10, Output: 8, Whole: 8}, Received: len(chat("echo", true)), Events: 11,
		Headers: []string{"X-Custom", "X-Request-Id"},
	}
	last := l.Entries[3]
	if diff := cmp.Diff(want, last, cmpopts.IgnoreFields(Entry{}, "Start", "Head", "First", "End", "Bytes")); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if whole := post(s, "/v1/chat/completions", chat("echo", true)).Body.Len(); last.Bytes != int64(whole) {
		t.Errorf("logged %d bytes of %d", last.Bytes, whole)
	}
	if got := getLog(t, s, "?id=9"); len(got.Entries) != 1 || got.Entries[0].ID != "9" {
		t.Errorf("?id=9: %+v", got.Entries)
	}
	if got := getLog(t, s, "?after=9"); len(got.Entries) != 2 {
		t.Errorf("?after=9: %+v", got.Entries)
	}
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, "/log", nil))
	if got := getLog(t, s, ""); got.Served != 0 || len(got.Entries) != 0 {
		t.Errorf("after DELETE: %+v", got)
	}
	post(s, "/v1/chat/completions", chat("echo", false), "X-Request-Id", "new")
	if got := getLog(t, s, ""); got.Served != 1 || got.Entries[0].ID != "new" {
		t.Errorf("after DELETE and one call: %+v", got)
	}
}

func TestCapture(t *testing.T) {
	s := newServer(t, Options{Capture: 10})
	post(s, "/v1beta/models/echo:generateContent?key=k", paths[10].body, "X-Custom", "value")
	e := s.Log().Entries[0]
	if e.RequestBody != paths[10].body[:10] || e.RequestHead.Get("X-Custom") != "value" || e.RequestQuery != "key=k" {
		t.Errorf("captured %+v", e)
	}
	if e := func() Entry {
		s := newServer(t, Options{})
		post(s, "/v1beta/models/echo:generateContent?key=k", paths[10].body, "X-Custom", "value")
		return s.Log().Entries[0]
	}(); e.RequestBody != "" || e.RequestHead != nil || e.RequestQuery != "" {
		t.Errorf("captured without being asked: %+v", e)
	}
}

func TestLogUnderLoad(t *testing.T) {
	s := newServer(t, Options{Log: 50})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				post(s, "/v1/chat/completions", chat("usage?cut=3", true), "A", "b")
				s.Log()
			}
		})
	}
	group.Wait()
	l, err := s.Await(t.Context(), 800)
	if err != nil || l.Served != 800 || len(l.Entries) != 50 {
		t.Fatalf("served %d, %d entries, %v", l.Served, len(l.Entries), err)
	}
	for i, e := range l.Entries {
		if e.Seq != int64(751+i) || e.Outcome != "cut" || len(e.Headers) != 1 {
			t.Errorf("entry %+v", e)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Await(ctx, 801); err == nil {
		t.Error("Await came back without the call")
	}
}
