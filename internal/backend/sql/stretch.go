package sql

import (
	"slices"
	"time"
)

// Limits of time, in microseconds: the year 1 and the year 10,000.
const (
	dawn int64 = -62135596800_000000
	dusk int64 = 253402300800_000000
)

// A stretch is a piece of time for which one kind of line is added up: quarters, days, or the rows themselves.
type stretch struct {
	span        int64 // seconds; 0: rows
	from, until int64 // in microseconds
	offset      int64 // of the zone from UTC while it lasts, in seconds
	month       int64 // of the zone, counted from the year 0; of reports by months only
}

// stretches cuts [from, until) into as few lines as there can be: days in the middle, where they may be used, quarters of an
// hour about them, and rows where it does not begin or end at a full quarter.
func stretches(from, until int64, days bool) (all []stretch) {
	add := func(span, from, until int64) {
		if from < until {
			all = append(all, stretch{span: span, from: from, until: until})
		}
	}
	q0, q1 := ceilTo(from, quarter*1e6), floorTo(until, quarter*1e6)
	if q0 >= q1 {
		add(0, from, until)
		return all
	}
	add(0, from, q0)
	d0, d1 := ceilTo(q0, day*1e6), floorTo(q1, day*1e6)
	if !days || d0 >= d1 {
		add(quarter, q0, q1)
	} else {
		add(quarter, q0, d0)
		add(day, d0, d1)
		add(quarter, d1, q1)
	}
	add(0, q1, until)
	return all
}

// calendar cuts [from, until) where the zone's offset changes, for months where they begin, and then into stretches. Days of
// the store are days of the zone only while it is UTC's.
func calendar(from, until int64, zone *time.Location, unit int64) (all []stretch) {
	for from < until {
		t := time.UnixMicro(from).In(zone)
		_, offset := t.Zone()
		end := until
		if _, changes := t.ZoneBounds(); !changes.IsZero() {
			end = min(until, changes.UnixMicro())
		}
		y, m, _ := t.Date()
		if unit == month { // where the zone has no midnight then, its clocks change, and that is a cut
			if next := time.Date(y, m+1, 1, 0, 0, 0, 0, zone).UnixMicro(); next > from {
				end = min(end, next)
			}
		}
		for _, piece := range stretches(from, end, unit != hour && int64(offset)%day == 0) {
			piece.offset, piece.month = int64(offset), int64(y)*12+int64(m-1)
			all = append(all, piece)
		}
		from = end
	}
	return slices.Clip(all)
}

func ceilTo(n, unit int64) int64 {
	if f := floorTo(n, unit); f != n {
		return f + unit
	}
	return n
}

// window gives [from, until) in microseconds. A row's time is whole microseconds, so a bound between two of them is the later
// one; a zero bound is none.
func window(from, until time.Time) (lo, hi int64) {
	lo, hi = dawn, dusk
	if !from.IsZero() {
		lo = max(lo, ceilMicro(from))
	}
	if !until.IsZero() {
		hi = min(hi, ceilMicro(until))
	}
	return lo, hi
}

func ceilMicro(t time.Time) int64 {
	if s := t.Unix(); s < dawn/1e6 || s > dusk/1e6 {
		if s > 0 {
			return dusk
		}
		return dawn
	}
	n := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		n++
	}
	return n
}
