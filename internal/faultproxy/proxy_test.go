package faultproxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every line with itself.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func start(t *testing.T, target string) *Proxy {
	t.Helper()
	p, err := Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func set(t *testing.T, p *Proxy, f Faults) {
	t.Helper()
	if err := p.Set(f); err != nil {
		t.Fatal(err)
	}
}

// A line is a connection that says a word and waits for it to come back, for as long as it is told.
type line struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *Proxy) line {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return line{c, bufio.NewReader(c)}
}

func (l line) say(word string, patience time.Duration) (string, error) {
	if _, err := io.WriteString(l, word+"\n"); err != nil {
		return "", err
	}
	return l.hear(patience)
}

func (l line) hear(patience time.Duration) (string, error) {
	_ = l.SetReadDeadline(time.Now().Add(patience))
	return l.r.ReadString('\n')
}

const (
	enough = 10 * time.Second
	little = 50 * time.Millisecond
)

func TestProxy(t *testing.T) {
	p := start(t, echo(t))
	l := dial(t, p)
	if got, err := l.say("good", enough); got != "good\n" || err != nil {
		t.Fatalf("good network: %q, %v", got, err)
	}
	for name, f := range map[string]Faults{
		"latency":   {Latency: little},
		"bandwidth": {Bandwidth: int(int64(len("slow\n")) * int64(time.Second/little))},
	} {
		t.Run(name, func(t *testing.T) {
			set(t, p, f)
			began := time.Now()
			if got, err := l.say("slow", enough); got != "slow\n" || err != nil || time.Since(began) < 2*little {
				t.Errorf("%q, %v after %v, want it after %v there and back", got, err, time.Since(began), 2*little)
			}
		})
	}
	t.Run("partition", func(t *testing.T) {
		set(t, p, Faults{Partition: true})
		if got, err := l.say("slow", little); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("while bad: %q, %v, want nothing yet", got, err)
		}
		set(t, p, Faults{})
		if got, err := l.hear(enough); got != "slow\n" || err != nil {
			t.Errorf("after: %q, %v, want what was under way", got, err)
		}
	})
	t.Run("refuse", func(t *testing.T) {
		set(t, p, Faults{Refuse: true})
		if c, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v, %v, want refused", c, err)
		}
		if got, err := l.say("old", enough); got != "old\n" || err != nil {
			t.Errorf("standing connection: %q, %v", got, err)
		}
		set(t, p, Faults{})
		if got, err := dial(t, p).say("new", enough); got != "new\n" || err != nil {
			t.Errorf("after: %q, %v", got, err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		p.Reset()
		if got, err := l.hear(enough); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q, %v, want a reset", got, err)
		}
		if got, err := dial(t, p).say("new", enough); got != "new\n" || err != nil {
			t.Errorf("after: %q, %v", got, err)
		}
	})
}

func TestEndsAreHandedOn(t *testing.T) {
	p := start(t, echo(t))
	l := dial(t, p)
	if _, err := io.WriteString(l, "last\n"); err != nil {
		t.Fatal(err)
	}
	_ = l.Conn.(*net.TCPConn).CloseWrite()
	_ = l.SetReadDeadline(time.Now().Add(enough))
	got, err := io.ReadAll(l.r)
	if string(got) != "last\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoTarget(t *testing.T) {
	c, err := net.Dial("tcp", start(t, "127.0.0.1:1").Addr())
	if err == nil { // the reset may come before or after the connection stands
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(enough))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}
