package sql

import (
	"cmp"
	"context"
	"slices"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// Spans of sums, in seconds. Every period of a budget begins at a full quarter of an hour, whatever its zone.
const (
	quarter int64 = 900
	hour    int64 = 3600 // of reports only
	day     int64 = 86400
	month   int64 = 1 // of reports only, and no length: each stretch of theirs says which month it is in
)

// A sumKey is what a line of sums is for.
type sumKey struct{ series, span, start int64 }

func (a sumKey) compare(b sumKey) int {
	return cmp.Or(cmp.Compare(a.series, b.series), cmp.Compare(a.span, b.span), cmp.Compare(a.start, b.start))
}

// sum adds up rows for their quarters and days. isNew nil: all of them.
func sum(rows []usage.Row, numbers []int64, isNew []bool) map[sumKey]*usage.Totals {
	sums := make(map[sumKey]*usage.Totals)
	var keys [2]sumKey // of the row before: most have the same
	var lines [2]*usage.Totals
	for i := range rows {
		if isNew != nil && !isNew[i] {
			continue
		}
		at := floorTo(rows[i].Charged.UnixMicro(), 1e6) / 1e6
		for k, span := range [...]int64{quarter, day} {
			if key := (sumKey{numbers[i], span, floorTo(at, span)}); key != keys[k] || lines[k] == nil {
				if sums[key] == nil {
					sums[key] = new(usage.Totals)
				}
				keys[k], lines[k] = key, sums[key]
			}
			lines[k].Add(&rows[i])
		}
	}
	return sums
}

// floorTo is the last multiple of unit that is not after n.
func floorTo(n, unit int64) int64 {
	if r := n % unit; r < 0 {
		return n - r - unit
	}
	return n - n%unit
}

// most is the largest amount added to sums at once: no row, however absurd, may make them overflow and keep all
// later ones out.
const most = 1 << 55

const sumColumns text = "series, span, start, calls, failed, estimated, cached, input, cache_read, cache_write, output, reasoning, cost, saved"

// addSums adds to the lines of sums, in one order for all replicas.
func (s *session) addSums(ctx context.Context, sums map[sumKey]*usage.Totals) error {
	keys := make([]sumKey, 0, len(sums))
	for key := range sums {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, sumKey.compare)
	for piece := range pieces(keys) {
		args := make([]any, 0, len(piece)*14)
		for _, k := range piece {
			t := sums[k]
			args = append(args, k.series, k.span, k.start, t.Calls, t.Failed, t.Estimated, t.Cached,
				min(t.Input, most), min(t.CacheRead, most), min(t.CacheWrite, most), min(t.Output, most), min(t.Reasoning, most),
				int64(min(t.Cost, llm.Nano(most))), int64(min(t.Saved, llm.Nano(most))))
		}
		add := say(s.insertInto()).and("rollup (").and(sumColumns).and(") VALUES ").list(len(piece), "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", args...)
		err := s.do(ctx, add.and(" ON CONFLICT (series, span, start) DO UPDATE SET calls = rollup.calls + excluded.calls, "+
			"failed = rollup.failed + excluded.failed, estimated = rollup.estimated + excluded.estimated, cached = rollup.cached + excluded.cached, "+
			"input = rollup.input + excluded.input, cache_read = rollup.cache_read + excluded.cache_read, "+
			"cache_write = rollup.cache_write + excluded.cache_write, output = rollup.output + excluded.output, "+
			"reasoning = rollup.reasoning + excluded.reasoning, cost = rollup.cost + excluded.cost, saved = rollup.saved + excluded.saved"))
		if err != nil {
			return err
		}
	}
	return nil
}
