package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	adminapi "sluice/internal/admin"
)

// gateway answers every request with one value and keeps what it was asked.
func gateway(t *testing.T, out any) *[]string {
	t.Helper()
	asked := &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery)
		_ = json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(s.Close)
	t.Setenv("SLUICE_ADMIN_URL", s.URL)
	t.Setenv("SLUICE_CONFIG", "")
	return asked
}

func said(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, err bytes.Buffer
	if got := run(args, &out, &err); got != code {
		t.Errorf("%v: code %d, want %d: %s", args, got, code, err.String())
	}
	return out.String()
}

func TestUsageIsPrinted(t *testing.T) {
	text := func(s string) *string { return &s }
	at := time.Date(2026, 10, 31, 23, 0, 0, 0, time.UTC) // a day begins then in Berlin
	asked := gateway(t, adminapi.Usage{
		From: at, Until: at.AddDate(0, 0, 2), Zone: "Europe/Berlin", By: []string{"day", "model"},
		Lines: []adminapi.Line{
			{At: at, Model: text("gpt-4o"), Totals: adminapi.Totals{Calls: 1200, Input: 5, Output: 7, Cost: "12.000000001", Saved: "0"}},
			{At: at, Model: text("=cmd|' /C calc'!A0\x1b[2J"), Totals: adminapi.Totals{Calls: 1, Cost: "0", Saved: "0"}},
			{At: at, Model: text(""), Totals: adminapi.Totals{Calls: 1, Failed: 1, Cost: "0", Saved: "0"}},
		},
		Others: &adminapi.Totals{Calls: 3, Cost: "0.5", Saved: "0"},
		Total:  adminapi.Totals{Calls: 1205, Failed: 1, Input: 5, Output: 7, Cost: "12.500000001", Saved: "0"},
	})
	want := `from 2026-11-01 00:00 until 2026-11-03 00:00, Europe/Berlin
DAY         MODEL                   CALLS  FAILED  INPUT  CACHED  OUTPUT           COST
2026-11-01  gpt-4o                   1200       0      5       0       7  $12.000000001
2026-11-01  =cmd|' /C calc'!A0` + "\uFFFD" + `[2J      1       0      0       0       0             $0
2026-11-01  -                           1       1      0       0       0             $0
others                                  3       0      0       0       0           $0.5
total                                1205       1      5       0       7  $12.500000001
`
	if diff := cmp.Diff(want, said(t, 0, "usage", "--by", "day,model", "--zone", "Europe/Berlin", "--from", "this-month", "--top", "3", "--model", "gpt-*")); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if want := []string{"GET /admin/usage?by=day%2Cmodel&from=this-month&model=gpt-%2A&top=3&zone=Europe%2FBerlin"}; !cmp.Equal(*asked, want) {
		t.Errorf("asked %q, want %q", *asked, want)
	}
	want = "day,model,calls,failed,estimated,cached,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd,saved_usd\n" +
		"2026-11-01,gpt-4o,1200,0,0,0,5,0,0,7,0,12.000000001,0\n" +
		"2026-11-01,'=cmd|' /C calc'!A0\x1b[2J,1,0,0,0,0,0,0,0,0,0,0\n" +
		"2026-11-01,,1,1,0,0,0,0,0,0,0,0,0\n"
	if diff := cmp.Diff(want, said(t, 0, "usage", "--csv")); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
	if got := said(t, 0, "usage", "--json"); !strings.Contains(got, `"cost_usd": "12.500000001"`) {
		t.Errorf("JSON: %s", got)
	}
	for _, text := range []string{"=1", "+1", "-1", "@x", "\tx", "\rx", "\n=1"} {
		if got := defused(text); got != "'"+text {
			t.Errorf("%q is %q in CSV", text, got)
		}
	}
}

func TestLedgerIsListed(t *testing.T) {
	row := adminapi.Row{
		RequestID: "req_1", Charged: time.Date(2026, 11, 1, 2, 3, 4, 5000, time.UTC), Key: "k", Model: "gpt\x07", Provider: "p", Status: 200, Stream: true, Estimated: true,
		Tokens: map[string]int64{"output": 5}, Cost: "0.25", Costs: map[string]string{"output": "0.25"}, Total: 1500000, Position: 1<<63 + 1,
	}
	asked := gateway(t, adminapi.Rows{Data: []adminapi.Row{row}, Next: "c"})
	want := "CHARGED (UTC)        REQUEST  KEY  MODEL  PROVIDER  STATUS  INPUT  OUTPUT  COST   TOOK  MARKS\n" +
		strings.Repeat("2026-11-01 02:03:04  req_1    k    gpt\uFFFD   p         200     -      5       $0.25  1.5s  stream,estimated\n", 3)
	if diff := cmp.Diff(want, said(t, 0, "ledger", "list", "--limit", "3", "--team", "t")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if want := []string{"GET /admin/ledger?limit=3&team=t", "GET /admin/ledger?after=c&limit=2&team=t", "GET /admin/ledger?after=c&limit=1&team=t"}; !cmp.Equal(*asked, want) {
		t.Errorf("asked %q, want %q", *asked, want)
	}
	for line := range strings.Lines(said(t, 0, "ledger", "list", "--limit", "2", "--json")) {
		var got adminapi.Row
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.RequestID != "req_1" {
			t.Errorf("%s: %v", line, err)
		}
	}
	one := strings.Join(strings.Fields(said(t, 0, "ledger", "list", "--request", "req_1", "--limit", "1")), " ")
	for _, want := range []string{"request_id req_1 charged", " tokens output 5 ", " position 9223372036854775809", " estimated true "} {
		if !strings.Contains(one, want) {
			t.Errorf("%q is not in\n%s", want, one)
		}
	}
}

func TestLedgerIsRecomputed(t *testing.T) {
	out := adminapi.Recounted{
		Sums: adminapi.SumsReport{Wrong: 1, List: []adminapi.WrongSum{{Span: "day", Key: "k", Calls: -1, Cost: "-0.5", Cause: "why", Cure: "what"}}},
		Counters: adminapi.CountersReport{Checked: 3, Wrong: 1, List: []adminapi.WrongCounter{
			{Subject: "key:k", Rule: "r", Spent: "2", Rows: "1", Held: "0", Unit: "usd", Cause: "because", Cure: "do"},
		}},
	}
	gateway(t, out)
	got := said(t, exitFound, "ledger", "recompute")
	for _, want := range []string{"sums: 1 wrong\n", "-1 calls, +0 tokens, $-0.5 are missing", "cause: why\n", "counters: 2 are right, 1 wrong", "spent 2 usd, the rows say 1", "cure: do\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	out.Sums.Mended, out.Counters.Anew = true, []string{"default"}
	asked := gateway(t, out)
	if got := said(t, 0, "ledger", "recompute", "--fix"); !strings.Contains(got, "they were made right") || !strings.Contains(got, "counted anew: default") {
		t.Errorf("mended:\n%s", got)
	}
	if (*asked)[0] != "POST /admin/ledger/recompute?" {
		t.Errorf("asked %q", *asked)
	}
}

// TestLedgerIsVerified: what is damaged is told with its place and cure, and ends with another code.
func TestLedgerIsVerified(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "0000000000000000.wal")
	if err := os.WriteFile(file, bytes.Repeat([]byte{7}, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	got := said(t, exitFound, "ledger", "verify", "--dir", dir)
	if !strings.Contains(got, "4096 bytes at offset 0 make no sense") || !strings.Contains(got, "cure: ") {
		t.Errorf("verified:\n%s", got)
	}
	var view struct {
		Damage []struct {
			File, Cure string
			Bytes      int
		}
	}
	if err := json.Unmarshal([]byte(said(t, exitFound, "ledger", "verify", "--dir", dir, "--json")), &view); err != nil || len(view.Damage) != 1 || view.Damage[0].File != file || view.Damage[0].Cure == "" {
		t.Errorf("JSON: %+v, %v", view, err)
	}
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := said(t, 0, "ledger", "verify", "--dir", dir); !strings.Contains(got, "no damage") {
		t.Errorf("a spare:\n%s", got)
	}
}
