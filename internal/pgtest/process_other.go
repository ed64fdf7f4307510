//go:build !linux

package pgtest

import "syscall"

func childAttr(*syscall.Credential) *syscall.SysProcAttr { return nil }

func servant() *syscall.Credential { return nil }
