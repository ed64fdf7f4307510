package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttr puts a child in a group of its own, so that a Ctrl-C reaches the bench alone, which then ends its children in
// order; and has the kernel end them should the bench die.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// cpus are those that this process may use, in order.
func cpus() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var all []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all
}

// onCPU runs f on a thread that is bound to cpu: a child that f starts inherits the binding with its first instruction,
// where binding it afterwards would miss the threads that it already has.
func onCPU(cpu int, f func() error) error {
	if cpu < 0 {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read CPU affinity: %w", err)
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("bind to CPU %d: %w", cpu, err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	return f()
}

// bindSelf binds every thread of this process to cpu, and returns what undoes it.
func bindSelf(cpu int) (func(), error) {
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read CPU affinity: %w", err)
	}
	only.Set(cpu)
	procs := runtime.GOMAXPROCS(1)
	set := func(to *unix.CPUSet) error {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			if tid, err := strconv.Atoi(t.Name()); err == nil {
				_ = unix.SchedSetaffinity(tid, to) // the thread may have ended
			}
		}
		return nil
	}
	if err := set(&only); err != nil {
		return nil, fmt.Errorf("bind to CPU %d: %w", cpu, err)
	}
	return func() {
		_ = set(&before)
		runtime.GOMAXPROCS(procs)
	}, nil
}

// machine describes the processor and the kernel.
func machine() (cpu, kernel string) {
	info, _ := os.ReadFile("/proc/cpuinfo")
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return field(string(info), "model name"), kernel
}
