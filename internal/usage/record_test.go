package usage

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"sluice/internal/llm"
)

// anyTime draws a time as the log keeps them.
func anyTime(t *rapid.T, name string) time.Time {
	if rapid.Bool().Draw(t, name+" is zero") {
		return time.Time{}
	}
	return time.UnixMicro(rapid.Int64Range(-1<<40, 1<<55).Draw(t, name)).UTC()
}

func anyCall(t *rapid.T) Call {
	text := rapid.String()
	c := Call{
		RequestID: text.Draw(t, "id"), Model: text.Draw(t, "model"), Format: llm.Format(text.Draw(t, "format")), Op: llm.OpChat,
		Start: anyTime(t, "start"), Charged: anyTime(t, "charged"), Stream: rapid.Bool().Draw(t, "stream"), BytesIn: rapid.Int64().Draw(t, "in"),
		Payer: Payer{Org: text.Draw(t, "org"), Team: text.Draw(t, "team"), User: text.Draw(t, "user"), Key: text.Draw(t, "key"), Project: text.Draw(t, "project")},
	}
	for range rapid.IntRange(0, 2).Draw(t, "tags") {
		c.Tags = append(c.Tags, "tag")
	}
	return c
}

func anyMark(t *rapid.T) Mark {
	count := rapid.Custom(func(t *rapid.T) llm.Count {
		if rapid.Bool().Draw(t, "absent") {
			return llm.Count{}
		}
		return llm.Tokens(rapid.Int64().Draw(t, "n"))
	})
	nano := rapid.Custom(func(t *rapid.T) llm.Nano { return llm.Nano(rapid.Int64().Draw(t, "nano")) })
	return Mark{
		Provider: "openai", Upmodel: rapid.String().Draw(t, "upmodel"), Credential: "a", Attempts: rapid.IntRange(0, 9).Draw(t, "attempts"),
		Usage: llm.Usage{
			Input: count.Draw(t, "input"), CacheRead: count.Draw(t, "read"), CacheWrite: count.Draw(t, "write"), CacheWrite1h: count.Draw(t, "1h"),
			Output: count.Draw(t, "output"), Reasoning: count.Draw(t, "reasoning"), AudioInput: count.Draw(t, "ai"), AudioOutput: count.Draw(t, "ao"),
			ImageInput: count.Draw(t, "ii"), ImageOutput: count.Draw(t, "io"), Total: count.Draw(t, "total"), Tier: rapid.String().Draw(t, "tier"),
			Runs: rapid.MapOfN(rapid.String(), rapid.Int64(), 1, 3).Draw(t, "calls"),
		},
		Costs: Costs{
			nano.Draw(t, "c1"), nano.Draw(t, "c2"), nano.Draw(t, "c3"), nano.Draw(t, "c4"), nano.Draw(t, "c5"), nano.Draw(t, "c6"), nano.Draw(t, "c7"), nano.Draw(t, "c8"), nano.Draw(t, "c9"), nano.Draw(t, "c10"),
		},
		PriceVersion: "2026-11-01", Wasted: rapid.Int64().Draw(t, "wasted"), BytesOut: rapid.Int64().Draw(t, "out"), Frames: 7, Total: time.Duration(rapid.Int64().Draw(t, "total time")),
		Estimated: rapid.Bool().Draw(t, "estimated"), Partial: rapid.Bool().Draw(t, "partial"),
	}
}

// A row is put together again of what a store keeps by itself and the form that has the rest.
func TestRowForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := Row{
			Replica: rapid.String().Draw(t, "replica"), Position: rapid.Uint64().Draw(t, "position"), Call: anyCall(t), Mark: anyMark(t),
			Upstream: time.Second, FirstToken: 2, Own: -3, Fallback: "f", Status: 200, Error: llm.KindInvalid, Cache: "exact", Saved: 5,
		}
		short := row
		short.RequestID, short.Org, short.Charged, short.Usage.Output, short.Status = "", "", time.Time{}, llm.Count{}, 0
		form, _ := short.AppendBinary(nil)
		got := Row{Status: row.Status}
		got.RequestID, got.Org, got.Charged, got.Usage.Output = row.RequestID, row.Org, row.Charged, row.Usage.Output
		if err := got.Merge(append(form, 0xfe, 0x7f, 0x02)); err != nil { // and a field of a later version
			t.Fatal(err)
		}
		if diff := cmp.Diff(row, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
	if err := new(Row).Merge(appendFinal(nil, &final{})); err == nil {
		t.Error("a record of the log was taken for a row")
	}
}

// What is written is read again, also when a later version added fields.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Uint64().Draw(t, "at")
		in := Intent{Call: anyCall(t), Input: rapid.Int64().Draw(t, "bound"), InputCost: 7, Price: rapid.String().Draw(t, "price"), Counters: rapid.SliceOfN(rapid.StringN(1, 9, 9), 1, 3).Draw(t, "counters")}
		m := anyMark(t)
		f := final{at: at, counters: in.Counters, row: Row{
			Call: in.Call, Mark: m, Upstream: 1, FirstToken: 2, Own: 3, Fallback: "other", Status: 200, Error: llm.KindBudget, Cache: "exact", Saved: 5,
		}}
		later := func(b []byte) []byte {
			return appendText(appendInt(b, 900, 1), 901, "new")
		}
		check := func(b []byte, want record) {
			t.Helper()
			got, err := decode(later(b))
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(record{}, final{})); err != nil || diff != "" {
				t.Fatal(err, diff)
			}
			if want.intent == nil && intentAt(b) != at {
				t.Fatalf("intent at %d, want %d", intentAt(b), at)
			}
		}
		check(appendIntent(nil, &in), record{intent: &in})
		check(appendProgress(nil, at, &m), record{mark: &m, at: at})
		check(appendFinal(nil, &f), record{final: &f, at: at})
		for _, mark := range []*Mark{nil, &m} {
			open := Open{Replica: "r", Position: at, Intent: in, Mark: mark}
			var got Open
			b, _ := open.AppendBinary(nil)
			err := got.UnmarshalBinary(later(b))
			if diff := cmp.Diff(open, got); err != nil || diff != "" {
				t.Fatal(err, diff)
			}
		}
	})
}

// No member of a row is forgotten: each is set to a value of its own, also those that are added later.
func TestRecordIsWhole(t *testing.T) {
	var f final
	n := int64(0)
	fill(reflect.ValueOf(&f.row).Elem(), &n)
	f.row.Usage.Extra, f.row.Replica, f.row.Position = nil, "", 0 // not the record's
	got, err := decode(appendFinal(nil, &f))
	if diff := cmp.Diff(&f, got.final, cmp.AllowUnexported(final{})); err != nil || diff != "" {
		t.Error(err, diff)
	}
	checkReaders(t, &rowReader{names: names{}}, &f)
}

// fill sets every member.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.UnixMicro(*n).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.String:
		v.SetString(strconv.FormatInt(*n, 10))
	case reflect.Int, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	}
}

// checkReaders holds what those who follow the log read of a final record against the whole of it.
func checkReaders(t interface {
	Helper()
	Fatalf(string, ...any)
}, read *rowReader, f *final,
) {
	t.Helper()
	record := appendFinal(nil, f)
	c, err := decodeCost(record, nil)
	r := &f.row
	if err != nil || len(c.counters) != len(f.counters) {
		t.Fatalf("%x: %d counters, %v; want %d", record, len(c.counters), err, len(f.counters))
	}
	if len(c.counters) > 0 && (string(c.id) != r.RequestID || string(c.org) != r.Org || c.total() != r.Costs.Total() || c.tokens() != r.Tokens()) {
		t.Fatalf("%x: %+v; want what %+v says", record, c, f)
	}
	b := Batch{Replica: "r"}
	if _, err := b.take(record, read); err != nil {
		t.Fatalf("%x: %v", record, err)
	}
	got, err := b.Row(0)
	if diff := cmp.Diff(*r, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Fatalf("%x: %v, (-want +got):\n%s", record, err, diff)
	}
	// And what a store keeps of it, in columns and beside them.
	got = columns(&b.Rows[0])
	if err := got.Merge(b.AppendRest(nil, 0)); err != nil {
		t.Fatalf("%x: %v", record, err)
	}
	if diff := cmp.Diff(*r, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%x: from a store (-want +got):\n%s", record, diff)
	}
}

// columns is what stores have columns for.
func columns(r *Row) Row {
	u := &r.Usage
	return Row{
		Call: Call{RequestID: r.RequestID, Payer: r.Payer, Charged: r.Charged, Model: r.Model},
		Mark: Mark{
			Provider: r.Provider, PriceVersion: r.PriceVersion, Estimated: r.Estimated, Partial: r.Partial,
			Usage: llm.Usage{Input: u.Input, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Output: u.Output, Reasoning: u.Reasoning},
		},
		Status: r.Status, Error: r.Error, Cache: r.Cache, Saved: r.Saved,
	}
}

// Whoever follows the log reads the same of a record, whatever came before it.
func TestReaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		read := &rowReader{names: names{}}
		payers := []Payer{{Org: "a", Key: "k"}, {Org: "a", Key: "k", Tags: []string{"tag"}}, {Org: "a", Key: "k", Tags: []string{"tag", "tags"}}, {Org: "b"}, {}}
		for range rapid.IntRange(1, 6).Draw(t, "records") {
			f := final{at: rapid.Uint64().Draw(t, "at"), counters: rapid.SliceOfN(rapid.StringN(1, 9, 9), 0, 3).Draw(t, "counters"), row: Row{Call: anyCall(t), Mark: anyMark(t)}}
			if rapid.Bool().Draw(t, "known") {
				f.row.Payer, f.row.Model = rapid.SampledFrom(payers).Draw(t, "payer"), rapid.SampledFrom([]string{"", "m", "n"}).Draw(t, "of")
				f.row.Provider = rapid.SampledFrom([]string{"", "p"}).Draw(t, "provider")
			}
			r := &f.row
			r.Upstream, r.FirstToken, r.Own, r.Fallback, r.Status, r.Error, r.Saved = 1, 2, -3, "other", 200, llm.KindBudget, 5
			r.Cache = rapid.SampledFrom([]string{"", "exact"}).Draw(t, "cache")
			checkReaders(t, read, &f)
		}
	})
}

// Who pays is taken from the record before where it is the same, or where more of it follows.
func TestSameSeries(t *testing.T) {
	abc := []string{"a", "b", "c"}
	var rows []Row
	for _, p := range []Payer{
		{Org: "o", Key: "k", Tags: abc},
		{Org: "o", Key: "k", Tags: append(slices.Clip(abc), "d")},
		{Org: "o", Key: "k", Tags: append(slices.Clip(abc), "e")},
		{Org: "o", Key: "other"},
		{},
		{Org: "o", Key: "other"},
		{Org: "o", Key: "k", Tags: abc},
	} {
		for _, provider := range []string{"", "p", "p", "q"} {
			for _, model := range []string{"", "m"} {
				rows = append(rows, Row{Call: Call{RequestID: strconv.Itoa(len(rows)), Payer: p, Model: model}, Mark: Mark{Provider: provider}})
			}
		}
	}
	for range 3 {
		read, b := rowReader{names: names{}}, Batch{}
		for i := range rows {
			if _, err := b.take(appendFinal(nil, &final{row: rows[i]}), &read); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(rows, b.Rows); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
}

func FuzzRecord(f *testing.F) {
	in := Intent{Call: Call{RequestID: "req_1", Model: "m"}, Counters: []string{"a", "b"}}
	f.Add(appendIntent(nil, &in))
	f.Add(appendProgress(nil, 5, &Mark{Provider: "p", Usage: llm.Usage{Output: llm.Tokens(0)}}))
	f.Add(appendFinal(nil, &final{row: Row{Call: in.Call, Status: 200}, at: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decode(b)
		if err == nil && rec.final != nil {
			_, _ = decodeCost(b, nil)
			_, _ = (&rowReader{names: names{}}).row(b, new(Row))
			again, err := decode(appendFinal(nil, rec.final)) // without what is not written down, as a tag that is ""
			if err != nil {
				t.Fatal(err)
			}
			checkReaders(t, &rowReader{names: names{}}, again.final)
		}
		intentAt(b)
		_ = new(Open).UnmarshalBinary(b)
		_ = new(Row).Merge(b)
	})
}

// BenchmarkDecode reads the record of a call that ended, as whoever ships it does.
func BenchmarkDecode(b *testing.B) {
	count := llm.Tokens(1234)
	record := appendFinal(nil, &final{at: 5, counters: []string{"org/default/money/2026-11", "key/k1/money/2026-11"}, row: Row{
		Call: Call{
			RequestID: "req_01KB0123456789ABCDEFGHJKMN", Payer: Payer{Org: "default", Team: "team1", User: "user1", Key: "key1", Tags: []string{"a"}},
			Start: time.Unix(1e9, 0), Charged: time.Unix(1e9, 0), Format: "openai", Op: llm.OpChat, Model: "gpt-4o", BytesIn: 1000,
		},
		Mark: Mark{
			Provider: "openai", Upmodel: "gpt-4o-2024-11-20", Credential: "main", Attempts: 1, Usage: llm.Usage{Input: count, Output: count, Total: count},
			Costs: Costs{Input: 10, Output: 20}, PriceVersion: "2026-11-01", BytesOut: 2000, Frames: 1, Total: time.Second,
		},
		Upstream: time.Second, FirstToken: time.Second, Own: 1000, Status: 200,
	}})
	read, batch := rowReader{names: names{}}, Batch{}
	b.ReportAllocs()
	for b.Loop() {
		if len(batch.Rows) == 1000 {
			batch.clear()
		}
		if _, err := batch.take(record, &read); err != nil {
			b.Fatal(err)
		}
	}
}
