// Package faultproxy stands between a client and a server in tests and does to their connections what networks
// do: delay, narrow, cut without a word, reset, refuse. It knows bytes only, no protocol.
package faultproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Faults are what is wrong with the network now. The zero value is a good one.
type Faults struct {
	Latency   time.Duration // each way, without loss of bandwidth
	Bandwidth int           // bytes a second each way; 0: no limit
	Partition bool          // nothing arrives, nobody is told: bytes wait, as they do until TCP gives up
	Refuse    bool          // new connections are refused; those that stand are kept
}

// A Proxy hands on what comes to Addr to one target. Its methods may be called at any time.
type Proxy struct {
	target string
	addr   string
	ctx    context.Context // ends with Close: the life of the proxy, not of a call
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	faults   Faults
	changed  chan struct{} // closed when faults change
	listener net.Listener  // nil while refusing
	conns    map[*net.TCPConn]struct{}
}

// Listen starts a proxy for a target (host:port) on a free loopback port. Close ends it.
func Listen(target string) (*Proxy, error) {
	p := &Proxy{target: target, addr: "127.0.0.1:0", changed: make(chan struct{}), conns: make(map[*net.TCPConn]struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	return p, p.open()
}

// Addr is where the proxy listens, the same for its whole life.
func (p *Proxy) Addr() string { return p.addr }

// Set makes the network as bad as f says, from now on, also for connections that stand.
func (p *Proxy) Set(f Faults) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
	close(p.changed)
	p.changed = make(chan struct{})
	if f.Refuse && p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	if !f.Refuse && p.listener == nil {
		return p.open()
	}
	return nil
}

// Reset ends every connection with a RST.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// Close ends the proxy and its connections, and waits for them.
func (p *Proxy) Close() error {
	p.cancel()
	_ = p.Set(Faults{Refuse: true})
	p.Reset()
	p.work.Wait()
	return nil
}

// open listens. p.mu is held.
func (p *Proxy) open() error {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("fault proxy: %w", err)
	}
	p.addr, p.listener = l.Addr().String(), l
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(c.(*net.TCPConn)) })
		}
	})
	return nil
}

// now says what is wrong, and gives a channel that closes when it changes.
func (p *Proxy) now() (Faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}

// own keeps a connection for Reset; false: the proxy has been closed.
func (p *Proxy) own(c *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) disown(c *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

func (p *Proxy) serve(client *net.TCPConn) {
	defer p.disown(client)
	if !p.own(client) || !p.healed() {
		return
	}
	var d net.Dialer
	c, err := d.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		_ = client.SetLinger(0) // as near to a refused connection as one that stands can come
		return
	}
	server := c.(*net.TCPConn)
	defer p.disown(server)
	if !p.own(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.carry(server, client) })
	both.Go(func() { p.carry(client, server) })
	both.Wait()
}

// A parcel is bytes and when they arrive.
type parcel struct {
	data []byte
	due  time.Time
}

// carry takes bytes from one side to the other until either ends, then half-closes.
func (p *Proxy) carry(to, from *net.TCPConn) {
	road := make(chan parcel, 1024)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(road)
		buf := make([]byte, 16<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				f, _ := p.now()
				road <- parcel{append([]byte(nil), buf[:n]...), time.Now().Add(f.Latency)}
			}
			if err != nil {
				return
			}
		}
	})
	for m := range road {
		if !p.deliver(to, m) {
			_ = from.Close() // ends the reader
			for range road {
				continue
			}
			break
		}
	}
	reader.Wait()
	if p.healed() {
		_ = to.CloseWrite()
	}
}

func (p *Proxy) deliver(to io.Writer, m parcel) bool {
	f, _ := p.now()
	if f.Bandwidth > 0 {
		m.due = later(m.due, time.Now()).Add(time.Duration(len(m.data)) * time.Second / time.Duration(f.Bandwidth))
	}
	select {
	case <-time.After(time.Until(m.due)):
	case <-p.ctx.Done():
		return false
	}
	if !p.healed() {
		return false
	}
	_, err := to.Write(m.data)
	return err == nil
}

// healed waits for the end of a partition; false: the proxy was closed before.
func (p *Proxy) healed() bool {
	for {
		f, changed := p.now()
		if !f.Partition || p.ctx.Err() != nil {
			return p.ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
