package usage

import (
	"fmt"
	"io"
	"slices"

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

// Verify checks a log, also one that is in use: every checksum, and that every record can be read. A record that is just being
// written looks torn: a torn end is looked at again, and no damage if the log has gone on.
func Verify(dir string) (Check, error) {
	for try := 1; ; try++ {
		c, err := verify(dir)
		busy := func(d wal.Damage) bool { return d.Tail }
		if err != nil || try == 3 || c.OK() || len(c.Unreadable) > 0 || !slices.ContainsFunc(c.Damage, busy) {
			return c, err
		}
	}
}

func verify(dir string) (Check, error) {
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
		fmt.Fprintf(w, "%s\n    cure: %s\n", d, cure(&d))
	}
	for range min(len(c.Unreadable), 1) {
		fmt.Fprintln(w, "    cure: a newer version wrote them, or memory failed before the checksum was made; nothing can be read from them here")
	}
	if c.OK() {
		fmt.Fprintln(w, "no damage")
	}
}

// cure says what is to be done about a damage.
func cure(d *wal.Damage) string {
	switch {
	case d.Tail:
		return "none is needed if the process or the machine was stopped: what was being written then is not in the log, and its call is closed at the next start with what is known of it"
	case d.Before == d.After+1:
		return "none is needed: every record is there"
	}
	return "what those records said is lost unless the database has it (sluice ledger list); restore the file from a copy taken while the gateway was stopped, or go on: " +
		"calls whose end is lost are closed at the next start as partial, and a copy of the file goes to quarantine/"
}

// A CheckView is a check for programs.
type CheckView struct {
	Replica    string       `json:"replica"`
	Files      int          `json:"files"`
	Records    int          `json:"records"`
	First      uint64       `json:"first"`
	Last       uint64       `json:"last"`
	Intents    int          `json:"intents"`
	Progress   int          `json:"progress"`
	Finals     int          `json:"finals"`
	Unknown    int          `json:"unknown"`
	Open       int          `json:"open"`
	Unreadable []uint64     `json:"unreadable"` // positions of whole records that cannot be read
	Damage     []DamageView `json:"damage"`
}

// A DamageView is a damage for programs.
type DamageView struct {
	File   string `json:"file"`
	Offset int    `json:"offset"`
	Bytes  int    `json:"bytes"`
	After  uint64 `json:"after"`  // the positions between these are missing
	Before uint64 `json:"before"` // 0: how many is not known
	Tail   bool   `json:"tail"`
	What   string `json:"what"`
	Cure   string `json:"cure"`
}

// View is the check for programs.
func (c *Check) View() CheckView {
	v := CheckView{
		Replica: c.Replica, Files: c.Files, Records: c.Records, First: c.First, Last: c.Last, Intents: c.Intents, Progress: c.Progress, Finals: c.Finals,
		Unknown: c.Unknown, Open: c.Open, Unreadable: append([]uint64{}, c.Unreadable...), Damage: []DamageView{},
	}
	for i := range c.Damage {
		d := &c.Damage[i]
		v.Damage = append(v.Damage, DamageView{File: d.File, Offset: d.Offset, Bytes: d.Bytes, After: d.After, Before: d.Before, Tail: d.Tail, What: d.String(), Cure: cure(d)})
	}
	return v
}
