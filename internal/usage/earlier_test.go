package usage

import (
	"bytes"
	"encoding/hex"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/usage/wal"
)

// A log that a release wrote before records had parts is handed on as that release would have: the file holds the records of a call, intent, mark
// and end, and of one that was open when the process ended.
func TestEarlierRecords(t *testing.T) {
	text, err := os.ReadFile("testdata/records-2026-11-26.hex")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, nil)
	h.kill()
	h.store, h.counters = newMemory(), newCounters()
	h.o.Dir, h.o.Store, h.o.Settle = t.TempDir(), h.store, h.counters.settle
	log, err := wal.Open(h.o.Dir, h.o.WAL)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		record, err := hex.DecodeString(string(bytes.TrimSpace(line)))
		if err == nil {
			_, err = log.Append(record, 0, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.flush()

	at := time.UnixMicro(1795750614923058).UTC()
	ended := Row{
		Replica: h.j.Replica(), Position: 3, Upstream: 3694546, FirstToken: 3707384, Own: 12838, Fallback: "f", Status: 200, Saved: 3,
		Call: Call{
			RequestID: "req_01M8DH7NWBCYDVZE0HE2DTADM9", Payer: Payer{Org: "acme", Team: "red", User: "ann", Key: "k1", Project: "p", Tags: []string{"x", "y"}},
			Start: at, Charged: at.Add(5 * time.Microsecond), Format: llm.OpenAIChat, Op: llm.OpChat, Model: "gpt-5-mini", BytesIn: 245,
		},
		Mark: Mark{
			Provider: "openai", Upmodel: "gpt-5-mini-2026-08-01", Credential: "main", Attempts: 1, BytesOut: 1016, Frames: 1,
			Usage: llm.Usage{
				Input: llm.Tokens(37), CacheRead: llm.Tokens(0), Output: llm.Tokens(40), Reasoning: llm.Tokens(8), AudioInput: llm.Tokens(0),
				Total: llm.Tokens(77), Tier: "default", Runs: llm.Runs{"search": 2},
			},
			Costs: Costs{Input: 37000, Output: 80000, Tools: 5, Waste: 7}, PriceVersion: "2026-11-01", Total: 3704580, Wasted: 9,
		},
	}
	open := Row{Replica: ended.Replica, Position: 6, Call: ended.Call, Mark: ended.Mark}
	open.RequestID, open.BytesOut, open.Frames, open.Partial = "req_01M8DH7NWB9HJYSDZH7Y79B87Y", 0, 0, true
	if diff := cmp.Diff(map[string]Row{ended.RequestID: ended, open.RequestID: open}, h.store.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]llm.Nano{"acme|a": 2 * 117012, "acme|b": 2 * 117012}, h.counters.spent); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	h.kill()
	if c, err := Verify(h.o.Dir); err != nil || !c.OK() || c.Finals != 2 || c.Open != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}
