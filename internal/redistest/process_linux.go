package redistest

import "syscall"

// childAttr has the kernel end a server should the test die.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
