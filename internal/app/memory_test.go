package app

import (
	"runtime/debug"
	"testing"
	"testing/fstest"

	"sluice/internal/config"
)

// The memory of calls is half of the least of what the process may use, unless it is configured.
func TestCallsMemory(t *testing.T) {
	machine := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:        2097152 kB\nMemFree:  1 kB\n")}}
	group := fstest.MapFS{
		"proc/meminfo": machine["proc/meminfo"], "proc/self/cgroup": {Data: []byte("0::/a\n")}, "sys/fs/cgroup/a/memory.max": {Data: []byte("1073741824\n")},
	}
	old := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(old) })
	for _, c := range []struct {
		name       string
		configured config.Size
		root       fstest.MapFS
		limit      int64 // GOMEMLIMIT; 0: none
		want       int64
	}{
		{"configured", 64 << 20, group, 0, 64 << 20},
		{"off", config.Off, group, 0, 0},
		{"a machine", 0, machine, 0, 1 << 30},
		{"a control group", 0, group, 0, 512 << 20},
		{"GOMEMLIMIT", 0, group, 512 << 20, 256 << 20},
		{"nothing known", 0, fstest.MapFS{}, 0, unknownMemory / 2},
		{"told in another way", 0, fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal: much\n")}}, 0, unknownMemory / 2},
	} {
		debug.SetMemoryLimit(old)
		if c.limit > 0 {
			debug.SetMemoryLimit(c.limit)
		}
		if got := callsMemory(&config.Config{Limits: config.Limits{Memory: c.configured}}, c.root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
