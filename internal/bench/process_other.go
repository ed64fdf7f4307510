//go:build !linux

package bench

import (
	"runtime"
	"syscall"
)

func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// cpus is empty where programs cannot be bound to one.
func cpus() []int { return nil }

func onCPU(_ int, f func() error) error { return f() }

func bindSelf(int) (func(), error) { return func() {}, nil }

func machine() (cpu, kernel string) { return runtime.GOARCH, runtime.GOOS }
