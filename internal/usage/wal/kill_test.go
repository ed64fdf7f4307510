//go:build unix

package wal

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

const isChild = "SLUICE_WAL_CHILD"

// A process that is killed has lost nothing that it appended: everything that it told before is there, and nothing else
// but what it had no time to tell.
func TestKill(t *testing.T) {
	if os.Getenv(isChild) != "" {
		child()
		return
	}
	dir := t.TempDir()
	told := map[uint64]bool{} // over all lives
	for life := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), isChild+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		enough := len(told) + 500 + life*777
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				break // the line was cut
			}
			told[n] = true
			if len(told) == enough {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		l := open(t, dir, Options{})
		got := all(t, l, l.Reader(0))
		for pos := range told {
			if _, ok := got[pos]; !ok {
				t.Fatalf("life %d: record %d was told and is lost; %v", life, pos, l.Damage())
			}
		}
		for pos, have := range got {
			if have != string(text(int(pos))) {
				t.Fatalf("life %d: record %d is %q", life, pos, have)
			}
		}
		if len(l.Damage()) == 0 && len(got) != int(l.Last()) {
			t.Fatalf("life %d: %d records up to %d", life, len(got), l.Last())
		}
		_ = l.Close()
	}
}

// child appends for as long as it lives, and tells each position once it has it.
func child() {
	l, err := Open(".", Options{Segment: 32 << 10, Sync: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	var line bytes.Buffer
	for {
		pos, err := l.Append(text(int(l.Last()+1)), 0, 0)
		if err != nil {
			fmt.Println(err)
			return
		}
		line.Reset()
		fmt.Fprintln(&line, pos)
		if _, err := os.Stdout.Write(line.Bytes()); err != nil {
			return
		}
	}
}
