package app

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"sluice/internal/config"
)

// unknownMemory stands for the memory of a machine that does not tell how much it has.
const unknownMemory = 4 << 30

// callsMemory is how much calls under way may take: what is configured, else half of what the process may.
func callsMemory(cfg *config.Config, root fs.FS) int64 {
	switch n := int64(cfg.Limits.Memory); {
	case n == config.Off:
		return 0
	case n > 0:
		return n
	}
	return min(debug.SetMemoryLimit(-1), cgroupLimit(root), machineMemory(root)) / 2
}

// machineMemory is how much memory there is in all.
func machineMemory(root fs.FS) int64 {
	text, _ := fs.ReadFile(root, "proc/meminfo") // unknown where there is none
	for line := range bytes.Lines(text) {
		var kb int64
		if n, _ := fmt.Sscanf(string(line), "MemTotal: %d kB", &kb); n == 1 && kb > 0 {
			return kb << 10
		}
	}
	return unknownMemory
}

// cgroupLimit is the least limit of memory of this process's control group (version 2) and those above it.
func cgroupLimit(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return least
	}
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ok {
			text, err := fs.ReadFile(root, path.Join("sys/fs/cgroup", group, "memory.max"))
			if n, err2 := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && err2 == nil {
				least = min(least, n)
			}
			if ok = group != "/" && group != "." && group != ""; ok {
				group = path.Dir(group)
			}
		}
	}
	return least
}
