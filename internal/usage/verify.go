package usage

import (
	"fmt"
	"io"

	"sluice/internal/usage/wal"
)

// A Check is what Verify found in a log.
type Check struct {
	wal.Report
	Intents, Progress, Finals int
	Unknown                   int // records of kinds that this binary does not know
	Unreadable                []uint64
	Open                      int // intents without an end, among those that the log still holds
}

// Verify checks a log, also one that is in use: every checksum, and that every record can be read.
func Verify(dir string) (Check, error) {
	var c Check
	open := map[uint64]bool{}
	rep, err := wal.Verify(dir, func(pos uint64, payload []byte) {
		rec, err := decode(payload)
		switch {
		case err != nil:
			c.Unreadable = append(c.Unreadable, pos)
		case rec.intent != nil:
			c.Intents++
			open[pos] = true
		case rec.mark != nil:
			c.Progress++
		case rec.final != nil:
			c.Finals++
			delete(open, rec.at)
		default:
			c.Unknown++
		}
	})
	c.Report, c.Open = rep, len(open)
	return c, err
}

// OK tells whether nothing was wrong.
func (c *Check) OK() bool { return len(c.Damage) == 0 && len(c.Unreadable) == 0 }

// Write tells what was found, for people.
func (c *Check) Write(w io.Writer) {
	fmt.Fprintf(w, "replica %s: %d records in %d files, positions %d to %d\n", c.Replica, c.Records, c.Files, c.First, c.Last)
	fmt.Fprintf(w, "%d intents, %d marks, %d ends; %d calls open in what the log holds\n", c.Intents, c.Progress, c.Finals, c.Open)
	if c.Unknown > 0 {
		fmt.Fprintf(w, "%d records of kinds that this version does not know\n", c.Unknown)
	}
	for _, pos := range c.Unreadable {
		fmt.Fprintf(w, "position %d: the record is whole, but cannot be read\n", pos)
	}
	for _, d := range c.Damage {
		fmt.Fprintln(w, d)
	}
}
