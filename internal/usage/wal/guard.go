package wal

import (
	"errors"
	"runtime"
	"runtime/debug"
)

// caught makes an error of a fault in mapped memory: the disk that could not give the page, or a file that
// somebody cut. It is deferred, with what debug.SetPanicOnFault(true) gave.
func caught(err *error, before bool) {
	debug.SetPanicOnFault(before)
	p := recover()
	if p == nil {
		return
	}
	if e, ok := p.(runtime.Error); ok {
		if _, fault := e.(interface{ Addr() uintptr }); fault {
			*err = errors.Join(errFault, e)
			return
		}
	}
	panic(p)
}

// guard does something with mapped memory.
func guard(do func()) (err error) {
	defer caught(&err, debug.SetPanicOnFault(true))
	do()
	return nil
}

var errFault = errors.New("the log's file could not be read or written where it is mapped")
