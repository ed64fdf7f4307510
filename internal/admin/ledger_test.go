package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// books answer what they are told to, and keep what they are asked.
type books struct {
	lines   []usage.Line
	page    usage.Page
	reports []usage.Query
	lists   []usage.RowQuery
}

func (b *books) Report(_ context.Context, q *usage.Query) (lines []usage.Line, total usage.Totals, err error) {
	b.reports = append(b.reports, *q)
	for i := range b.lines {
		l := &b.lines[i]
		total.Calls, total.Input, total.Output, total.Cost, total.Saved = total.Calls+l.Calls, total.Input+l.Input, total.Output+l.Output, total.Cost+l.Cost, total.Saved+l.Saved
	}
	return b.lines[:min(len(b.lines), q.Limit)], total, nil
}

func (b *books) Rows(_ context.Context, q *usage.RowQuery) (usage.Page, error) {
	b.lists = append(b.lists, *q)
	return b.page, nil
}

// at is when the tests are: a Thursday evening in UTC, Friday in Tokyo.
func at() time.Time { return time.Date(2026, 11, 26, 18, 30, 0, 0, time.UTC) }

func ask(t testing.TB, b Books, path string) (int, string) {
	t.Helper()
	h, err := New(Options{Books: b, Now: at, Listen: "127.0.0.1:3002"})
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest("GET", "http://localhost:3002"+path, nil)
	req.RemoteAddr = "127.0.0.1:5"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func TestUsage(t *testing.T) {
	b := &books{}
	for i, key := range []string{"", "a", "b", "c"} {
		b.lines = append(b.lines, usage.Line{Key: key, At: at(), Totals: usage.Totals{Calls: 1, Input: 10, Output: int64(i), Cost: llm.Dollar/10 + llm.Nano(i), Saved: 1}})
	}
	code, body := ask(t, b, "/admin/usage?by=key,day&team=t1&organisation=acme&model=gpt-*,o*&zone=Asia/Tokyo&from=2026-11-01&limit=2")
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	tokyo := b.reports[0].Zone
	want := usage.Query{
		Filter: usage.Filter{Org: "acme", Team: "t1", Models: []string{"gpt-*", "o*"}, From: time.Date(2026, 11, 1, 0, 0, 0, 0, tokyo), Until: time.Date(2026, 11, 28, 0, 0, 0, 0, tokyo)},
		By:     []usage.By{usage.ByKey, usage.ByDay}, Zone: tokyo, Limit: 3,
	}
	if tokyo.String() != "Asia/Tokyo" || len(b.reports) != 1 {
		t.Errorf("asked %d times, in zone %v", len(b.reports), tokyo)
	}
	if diff := cmp.Diff(want, b.reports[0], cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	var u Usage
	if err := json.Unmarshal([]byte(body), &u); err != nil {
		t.Fatal(err)
	}
	if len(u.Lines) != 2 || u.Lines[0].Key == nil || *u.Lines[0].Key != "" || u.Lines[0].Team != nil || *u.Lines[1].Key != "a" {
		t.Errorf("lines %+v", u.Lines)
	}
	if u.Total.Cost != "0.400000006" || u.Total.Calls != 4 || u.Others == nil || u.Others.Cost != "0.200000005" || u.Others.Output != 5 {
		t.Errorf("total %+v, others %+v", u.Total, u.Others)
	}
	if code, body = ask(t, b, "/admin/usage?by=key&top=9"); code != 200 || strings.Contains(body, "others") || !b.reports[1].Dearest || len(b.reports) != 2 {
		t.Errorf("%d %s, asked %+v", code, body, b.reports)
	}
}

func TestMoments(t *testing.T) {
	for text, want := range map[string][2]string{ // from, and until
		"today":                     {"2026-11-27T00:00", "2026-11-28T00:00"},
		"yesterday":                 {"2026-11-26T00:00", "2026-11-27T00:00"},
		"this-month":                {"2026-11-01T00:00", "2026-12-01T00:00"},
		"last-month":                {"2026-10-01T00:00", "2026-11-01T00:00"},
		"2026-02-28":                {"2026-02-28T00:00", "2026-03-01T00:00"},
		"2025-12":                   {"2025-12-01T00:00", "2026-01-01T00:00"},
		"2026-11-26T18:30:01Z":      {"2026-11-27T03:30", "2026-11-27T03:30"},
		"2026-11-26T18:30:01+09:00": {"2026-11-26T18:30", "2026-11-26T18:30"},
	} {
		b := &books{}
		for i, name := range []string{"from", "until"} {
			code, body := ask(t, b, "/admin/ledger?zone=Asia/Tokyo&"+name+"="+url.QueryEscape(text))
			if code != 200 {
				t.Fatalf("%s=%s: %d %s", name, text, code, body)
			}
			f := b.lists[i].Filter
			got := f.From
			if i == 1 {
				got = f.Until
			}
			if got := got.In(mustZone(t, "Asia/Tokyo")).Format("2006-01-02T15:04"); got != want[i] {
				t.Errorf("%s=%s: %s, want %s", name, text, got, want[i])
			}
		}
	}
}

func mustZone(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestStrictQueries(t *testing.T) {
	b := &books{}
	for _, path := range []string{
		"/admin/usage?tema=x", "/admin/usage?team=a&team=b", "/admin/usage?by=colour", "/admin/usage?limit=0", "/admin/usage?limit=x", "/admin/usage?limit=10000",
		"/admin/usage?from=soon", "/admin/usage?from=2026-02-30", "/admin/usage?zone=Local", "/admin/usage?zone=../../etc/passwd", "/admin/usage?from=today&until=yesterday",
		"/admin/usage?after=x", "/admin/ledger?by=key", "/admin/ledger?limit=1001", "/admin/ledger?from=%00",
	} {
		code, body := ask(t, b, path)
		if code != 400 || !strings.Contains(body, "urn:sluice:error:") || !strings.Contains(body, "query: ") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if len(b.reports)+len(b.lists) > 0 {
		t.Errorf("the books were asked all the same: %+v %+v", b.reports, b.lists)
	}
}

func TestRows(t *testing.T) {
	row := usage.Row{
		Replica: "r", Position: 7, Status: 200, Saved: 3,
		Call: usage.Call{RequestID: "req_1", Payer: usage.Payer{Org: "default", Key: "k", Tags: []string{"x"}}, Charged: at(), Start: at(), Format: "openai", Op: llm.OpChat, Model: "gpt"},
		Mark: usage.Mark{
			Provider: "p", Usage: llm.Usage{Input: llm.Tokens(0), Output: llm.Tokens(5)}, Costs: usage.Costs{Output: 12_345_678_901, Tools: 1}, Estimated: true, Total: time.Second,
		},
	}
	b := &books{page: usage.Page{Rows: []usage.Row{row}, Next: "17.req_1"}}
	code, body := ask(t, b, "/admin/ledger?request=req_1&key=k&after=5.x&limit=7&until=today&provider=p&tag=x&user=u&project=pr")
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	want := usage.RowQuery{
		Filter:    usage.Filter{Key: "k", Provider: "p", Tag: "x", User: "u", Project: "pr", Until: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)},
		RequestID: "req_1", After: "5.x", Limit: 7,
	}
	if diff := cmp.Diff([]usage.RowQuery{want}, b.lists); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	var got Rows
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	r := got.Data[0]
	if got.Next != "17.req_1" || r.Cost != "12.345678902" || r.Saved != "0.000000003" || !r.Estimated || r.Total != 1e6 ||
		fmt.Sprint(r.Tokens) != "map[input:0 output:5]" || fmt.Sprint(r.Costs) != "map[output:12.345678901 tools:0.000000001]" {
		t.Errorf("%s", body)
	}
}

// FuzzParams: no query does anything but select, or be refused for a reason.
func FuzzParams(f *testing.F) {
	for _, q := range []string{"by=key,day&from=today", "from=2026-11&until=2026-11-30T00:00:00Z&zone=Europe/Berlin", "limit=-1", "%zz", "a=1;b=2", "from=9999-12-31&until=0000-01-01"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, _ := url.ParseQuery(raw)
		p := params{values: values, now: at()}
		filter := p.filter()
		p.number("limit", usualLines, mostLines)
		if p.err == nil && !filter.Until.IsZero() && !filter.From.IsZero() && !filter.Until.After(filter.From) {
			t.Errorf("%q selects from %v until %v", raw, filter.From, filter.Until)
		}
	})
}
