//go:build linux || darwin

package app

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// modesCount says that modes keep others out here.
const modesCount = true

func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }

func owner(info fs.FileInfo) (uid int, ok bool) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), true
	}
	return 0, false
}

func freeBytes(dir string) (uint64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}

// openFiles is the hard limit: Go raises the soft one to it.
func openFiles() (uint64, bool) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return l.Max, true
}
