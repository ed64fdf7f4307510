package redistest

import (
	"bufio"
	"strings"
	"testing"
)

func TestServer(t *testing.T) {
	for _, p := range Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			if got := s.Do(t, "PING"); got != "PONG" {
				t.Errorf("PING: %q", got)
			}
			if p.External() {
				return
			}
			s.Do(t, "SET", "k", "v")
			s.Kill(t)
			if got, err := s.Try("PING"); err == nil {
				t.Errorf("a killed server says %q", got)
			}
			s.Restart(t)
			if got := s.Do(t, "GET", "k"); got != "" {
				t.Errorf("a server without a disk still has %q", got)
			}
			t.Logf("%s%s", s.Info("redis_version"), s.Info("valkey_version"))
		})
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	w := Own(t).Sentinel(t)
	if got := w.MasterAddr(); got != w.Master.Addr {
		t.Errorf("the master is at %s, the Sentinels say %s", w.Master.Addr, got)
	}
	w.Master.Kill(t)
	w.Sentinels[0].wait(t, "has made the replica master", func() bool { return w.MasterAddr() == w.Replica.Addr })
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := Own(t).Cluster(t)
	master, replica := c.Owner(t, "{sluice}")
	master.Do(t, "SET", "{sluice}", "here")
	master.Kill(t)
	replica.wait(t, "owns the slot", func() bool {
		_, err := replica.Try("SET", "{sluice}", "there")
		return err == nil
	})
}

func TestReply(t *testing.T) {
	tests := map[string]string{
		"+OK\r\n": "OK", ":7\r\n": "7", "$3\r\na\nb\r\n": "a\nb", "$-1\r\n": "", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n": "a\n1",
	}
	for in, want := range tests {
		if got, err := reply(bufio.NewReader(strings.NewReader(in))); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "\r\n", "-ERR no\r\n", "$5\r\na", "?\r\n", "*1\r\n"} {
		if got, err := reply(bufio.NewReader(strings.NewReader(in))); err == nil {
			t.Errorf("%q: %q, want an error", in, got)
		}
	}
}
