package usage

import (
	"bytes"
	"slices"
)

// A Batch is a piece of a replica's log, in order.
type Batch struct {
	Replica  string
	After    uint64 // the position of the batch before: 0 at the beginning
	Position uint64 // all records up to here are accounted for by this batch and those before
	// Rows are the calls that ended. They may lack what stores have no column for: AppendRest and Row have it.
	Rows []Row
	Open []Open // open at Position, and new or with a new mark since the batch before
	// Ended are the request ids of rows whose calls may be open in the store: most begin and end within a batch, and the
	// store never hears of them.
	Ended []string

	rests [][]byte // of the Rows that come from the log: the members that they lack, as records have them; nil: they lack none
	bytes []byte   // that the rests are made of
}

// AppendRest appends, in the form of Row.AppendBinary, all of a row but what stores have columns for: RequestID, Replica, Position,
// Charged, Payer, Model, Provider, Status, Error, PriceVersion, Estimated, Partial, Cache, Saved, and in Usage Input, CacheRead, CacheWrite,
// Output and Reasoning.
func (b *Batch) AppendRest(to []byte, i int) []byte {
	to = appendCosts(append(to, recordRow), &b.Rows[i].Costs)
	if rest := b.rest(i); rest != nil {
		return append(to, rest...)
	}
	return appendRest(to, &b.Rows[i])
}

// Row is a row with all its members.
func (b *Batch) Row(i int) (Row, error) {
	r := b.Rows[i]
	err := eachField(b.rest(i), func(f field) { setRow(&r, f) })
	return r, err
}

func (b *Batch) rest(i int) []byte {
	if i < len(b.rests) {
		return b.rests[i]
	}
	return nil
}

// take appends the row of a final record, of which it keeps nothing.
func (b *Batch) take(record []byte, read *rowReader) (*Row, error) {
	n := len(b.Rows)
	b.Rows = slices.Grow(b.Rows, 1)[:n+1] // what is beyond the rows is zero: to make a large thing zero again costs as much as to read it
	rest, err := read.row(record, &b.Rows[n])
	if rest != nil {
		from := len(b.bytes)
		b.bytes = append(b.bytes, rest...)
		rest = b.bytes[from:len(b.bytes):len(b.bytes)]
	}
	b.rests = append(b.rests, rest)
	return &b.Rows[n], err
}

// drop takes out the last row.
func (b *Batch) drop() {
	last := len(b.Rows) - 1
	clear(b.Rows[last:])
	b.Rows, b.rests = b.Rows[:last], b.rests[:last]
}

// keep takes out the rows that are not to be kept.
func (b *Batch) keep(which func(i int) bool) {
	kept := 0
	for i := range b.Rows {
		if which(i) {
			b.Rows[kept], b.rests[kept] = b.Rows[i], b.rests[i]
			kept++
		}
	}
	clear(b.Rows[kept:])
	b.Rows, b.rests = b.Rows[:kept], b.rests[:kept]
}

// clear makes room for the next batch.
func (b *Batch) clear() {
	clear(b.Rows)
	clear(b.Open)
	clear(b.Ended)
	b.Rows, b.Open, b.Ended, b.rests, b.bytes = b.Rows[:0], b.Open[:0], b.Ended[:0], b.rests[:0], b.bytes[:0]
}

// A rowReader reads final records one after the other. It keeps nothing of them but names, of which there is one copy each.
type rowReader struct {
	names  names
	series []byte // that part of the last record which had another one than that before it
	of     Row    // what it says
}

// row sets the members of a row, which is zero, and leaves those that are in the record's last part, which it gives: it lies in the record. rest
// is nil where there is no such part.
func (d *rowReader) row(record []byte, r *Row) (rest []byte, err error) {
	part := partCounters
	var series []byte // from where it begins, when it is another one
	var f raw
	for b := record[1:]; len(b) > 0; {
		before := b
		if f, b, err = nextField(b); err != nil {
			return nil, err
		}
		switch f.num {
		case fieldPart:
			part++
			switch {
			case part == partSeries && len(d.series) > 0 && bytes.HasPrefix(b, d.series):
				r.Payer, r.Model, r.Provider = d.of.Payer, d.of.Model, d.of.Provider
				b = b[len(d.series):] // more of it may follow, which is added then
			case part == partSeries:
				series = b
			case part == partCosts && series != nil:
				d.series = append(d.series[:0], series[:len(series)-len(before)]...)
				r.Tags = slices.Clip(r.Tags)
				d.of.Payer, d.of.Model, d.of.Provider = r.Payer, r.Model, r.Provider
			case part == partRest:
				return b, nil
			}
		case fieldCounter, fieldIntentAt:
		case fieldRequestID:
			r.RequestID = string(f.text)
		default:
			setRow(r, field{f.num, f.n, d.names.of(f.text)})
		}
	}
	return nil, nil
}
