package wire

// Apart runs f on a goroutine of its own and waits for it. Decoding JSON into structs needs more stack than all else
// that a call does, and a goroutine whose stack has grown keeps it: a stream that stays open for minutes after its
// first frames were decoded would hold 16 KB instead of 8. A panic of f is the caller's.
func Apart(f func()) {
	var p any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { p = recover() }()
		f()
	}()
	if <-done; p != nil {
		panic(p)
	}
}
