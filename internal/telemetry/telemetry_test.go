package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

func entry() *usage.Entry {
	return &usage.Entry{
		ID: "req_1", Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Format: llm.OpenAIChat, Op: llm.OpChat, Model: "fast", Stream: true,
		Key: "AbC", Remote: "10.0.0.1", Target: llm.Target{Provider: "openai", Model: "gpt"}, Attempts: 1, Status: 200,
		Usage:   llm.Usage{Input: llm.Tokens(3), Output: llm.Tokens(0)},
		BytesIn: 10, BytesOut: 20, Frames: 4, Upstream: 30 * time.Millisecond, FirstToken: 31 * time.Millisecond, Own: time.Millisecond, Total: time.Second,
	}
}

func TestAppendCall(t *testing.T) {
	e := entry()
	e.Err = &llm.Error{Kind: llm.KindUpstream, Msg: "the prompt was: secret", Err: errors.New("cut\nshort\u2028\"\x7f")}
	line := AppendCall(nil, e)
	if n := bytes.Count(line, []byte("\n")); n != 1 || bytes.Contains(line, []byte("\u2028")) {
		t.Errorf("a value breaks the line: %q", line)
	}
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	want := map[string]any{
		"time": "2026-01-02T03:04:06Z", "level": "WARN", "msg": "call", "request_id": "req_1", "key": "AbC", "remote": "10.0.0.1",
		"format": "openai.chat", "op": "chat", "model": "fast", "provider": "openai", "upstream_model": "gpt", "stream": 1.0, "status": 200.0,
		"error": "upstream_error", "cause": "cut\nshort\u2028\"\x7f", "attempts": 1.0, "input_tokens": 3.0, "output_tokens": 0.0,
		"bytes_in": 10.0, "bytes_out": 20.0, "frames": 4.0, "upstream_us": 30000.0, "first_token_us": 31000.0, "own_us": 1000.0, "total_us": 1e6,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestAppendCallAllocations(t *testing.T) {
	e, buf := entry(), make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(200, func() { buf = AppendCall(buf[:0], e) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestTextCallLog(t *testing.T) {
	var out strings.Builder
	log := NewCallLog(nil, slog.NewTextHandler(&out, nil), slog.LevelWarn)
	log.Record(entry())
	if out.Len() != 0 {
		t.Error("a call that succeeded is written at level warn")
	}
	e := entry()
	e.Err = errors.New("x")
	log.Record(e)
	if s := out.String(); !strings.Contains(s, "msg=call request_id=req_1") || !strings.Contains(s, "error=internal") {
		t.Errorf("line %q", s)
	}
}

// A slow output costs lines, never a caller's time.
func TestWriterDropsAndTells(t *testing.T) {
	pr, pw := io.Pipe() // nobody reads yet: the first write blocks
	w := NewWriter(pw, 100)
	line := []byte(strings.Repeat("x", 39) + "\n")
	for range 10 {
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write: %d %v", n, err)
		}
	}
	if d := w.Dropped(); d < 6 { // two fit, and two more if the drain has taken the first two
		t.Errorf("%d dropped, want at least 6", d)
	}
	var got bytes.Buffer
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(&got, pr) })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = pw.Close()
	reader.Wait()
	if s := got.String(); !strings.Contains(s, fmt.Sprintf(`"dropped":%d`, w.Dropped())) || strings.Count(s, "x\n") != 10-int(w.Dropped()) {
		t.Errorf("%d dropped, but the log has %q", w.Dropped(), s)
	}
	if _, err := w.Write(line); err != nil {
		t.Error("a late line fails instead of being dropped")
	}
}

// A failing output loses lines, counts them, and hears of it when it works again.
func TestWriterOutputFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &flaky{err: errors.New("no space left")}
		w := NewWriter(out, 1<<20)
		for range 2 { // in two batches: the second one's report is lost as well
			_, _ = w.Write([]byte("a\nb\n"))
			time.Sleep(2 * batch) // on synctest's clock
			synctest.Wait()
		}
		if d := w.Dropped(); d != 4 {
			t.Errorf("%d dropped, want 4", d)
		}
		out.err = nil
		_, _ = w.Write([]byte("c\n"))
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if s := out.String(); !strings.HasPrefix(s, "c\n{") || !strings.Contains(s, `"dropped":4}`) || w.Dropped() != 4 {
			t.Errorf("%d dropped, log %q; want 4 told of after the first line", w.Dropped(), s)
		}
	})
}

type flaky struct {
	bytes.Buffer
	err error
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.Buffer.Write(p)
}

// Whatever is logged by whomever, no credential comes out.
func TestWriterMasksSecrets(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, 1<<20)
	log := slog.New(slog.NewJSONHandler(w, nil))
	const tail = "9f8Kq2LmZ7xWv3Tn5RbYc1Hd"
	for _, secret := range []string{"sk-" + tail, "sk-proj-" + tail, "sk-ant-api03-" + tail, "sk-slc-AbCdEf123456-" + tail, "AIza" + tail, "gsk_" + tail, "Bearer " + tail} {
		log.Error("failed", "error", fmt.Errorf("dial: refused %q", secret), "in", "x="+secret+"&y", "typed", llm.Secret(secret))
		e := entry()
		e.Model, e.Err = secret, &llm.Error{Kind: llm.KindUpstream, Err: errors.New("said: " + secret)}
		_, _ = w.Write(AppendCall(nil, e))
	}
	log.Info("kept", "model", "task-forces-of-a-very-long-name-indeed", "id", "sk-short", "request_id", "req_"+tail)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := out.String()
	if strings.Contains(s, tail[8:]) && strings.Count(s, tail[8:]) != 1 {
		t.Errorf("a secret is in the log:\n%s", s)
	}
	for _, want := range []string{"task-forces-of-a-very-long-name-indeed", `"sk-short"`, "req_" + tail} {
		if !strings.Contains(s, want) {
			t.Errorf("%s was masked:\n%s", want, s)
		}
	}
	for line := range strings.Lines(s) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

type countWrites struct {
	bytes.Buffer
	writes int
}

func (c *countWrites) Write(p []byte) (int, error) { c.writes++; return c.Buffer.Write(p) }

func TestWriterBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out countWrites
		w := NewWriter(&out, 1<<20)
		for range 1000 {
			_, _ = w.Write([]byte("line\n"))
		}
		time.Sleep(2 * batch) // on synctest's clock
		synctest.Wait()
		if out.Len() != 5000 || out.writes != 1 {
			t.Errorf("%d bytes in %d writes, want 5000 in 1", out.Len(), out.writes)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestWriterConcurrently(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, 8<<20)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 1000 {
				_, _ = fmt.Fprintf(w, "%d-%d\n", i, j)
			}
		})
	}
	all.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 8000 || w.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped; want 8000 and 0", n, w.Dropped())
	}
}

func get(t *testing.T, h http.Handler, host, path string) (int, string) {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := NewMetrics(func() int64 { return 7 })
	h := m.Handler()
	m.Record(entry())
	failed := entry()
	failed.Err, failed.Status = &llm.Error{Kind: llm.KindUpstreamTimeout}, 504
	m.Record(failed)
	m.Reloaded(false)
	_, body := get(t, h, "localhost:3002", "/metrics")
	for _, want := range []string{
		`sluice_calls_total{code="",format="openai.chat",operation="chat",provider="openai",status="200"} 1`,
		`sluice_calls_total{code="upstream_timeout",format="openai.chat",operation="chat",provider="openai",status="504"} 1`,
		`sluice_tokens_total{kind="input",operation="chat",provider="openai"} 6`,
		`gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_token_type="input"} 6`,
		`gen_ai_client_token_usage_count{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_token_type="output"} 2`,
		`gen_ai_server_request_duration_seconds_count{error_type="upstream_timeout",gen_ai_operation_name="chat",gen_ai_provider_name="openai"} 1`,
		`gen_ai_server_time_to_first_token_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="openai"} 2`,
		`sluice_log_dropped_total 7`, `sluice_config_reloads_total{result="refused"} 1`, `sluice_requests_in_flight 0`, `sluice_build_info{`, `go_goroutines`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestRecordAllocations(t *testing.T) {
	m, e := NewMetrics(func() int64 { return 0 }), entry()
	m.Record(e)
	if n := testing.AllocsPerRun(200, func() { m.Record(e) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkCall(b *testing.B) {
	e := entry()
	log, m := NewCallLog(NewWriter(io.Discard, 16<<20), nil, slog.LevelInfo), NewMetrics(func() int64 { return 0 })
	b.ReportAllocs()
	for b.Loop() {
		log.Record(e)
		m.Record(e)
	}
}

func BenchmarkAppendCall(b *testing.B) {
	e, buf := entry(), make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendCall(buf[:0], e)
	}
}

func BenchmarkRecord(b *testing.B) {
	e, m := entry(), NewMetrics(func() int64 { return 0 })
	b.ReportAllocs()
	for b.Loop() {
		m.Record(e)
	}
}
