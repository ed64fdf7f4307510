package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// MasterName is what the Sentinels call the servers that they watch.
const MasterName = "sluice-test"

// A Watched is a master and its replica under three Sentinels.
type Watched struct {
	Master, Replica *Server
	Sentinels       []*Server
}

// Sentinel starts five processes. The master is taken for dead after half a second.
func (p Program) Sentinel(t testing.TB) Watched {
	t.Helper()
	fast := []string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}
	w := Watched{Master: p.Start(t, fast...)}
	host, port, _ := net.SplitHostPort(w.Master.Addr)
	w.Replica = p.Start(t, append(fast, "--replicaof", host+" "+port)...)
	w.Replica.wait(t, "has the master's data", func() bool { return w.Replica.Info("master_link_status") == "up" })
	for range 3 {
		s := p.server(t)
		conf := filepath.Join(s.dir, "sentinel.conf") // Sentinels write into it
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %q\nsentinel monitor %[3]s %s %s 2\nsentinel down-after-milliseconds %[3]s 500\n"+
			"sentinel failover-timeout %[3]s 2000\n", s.port, s.dir, MasterName, host, port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = []string{conf, "--sentinel"}
		s.Run(t)
		w.Sentinels = append(w.Sentinels, s)
	}
	for _, s := range w.Sentinels {
		s.wait(t, "knows the replica and the other Sentinels", func() bool {
			info := s.Info("master0")
			return strings.Contains(info, "slaves=1") && strings.Contains(info, "sentinels=3")
		})
	}
	return w
}

// MasterAddr is the master's address in the word of a Sentinel.
func (w Watched) MasterAddr() string {
	got, _ := w.Sentinels[0].Try("SENTINEL", "get-master-addr-by-name", MasterName)
	host, port, _ := strings.Cut(got, "\n")
	return net.JoinHostPort(host, port)
}

// Addrs are those of the Sentinels.
func (w Watched) Addrs() []string { return addrs(w.Sentinels) }

// A Cluster is three masters, each with a replica.
type Cluster struct{ Masters, Replicas []*Server }

// slots are all that a cluster has.
const slots = 16384

// Cluster starts six processes. A master is taken for dead after a second.
func (p Program) Cluster(t testing.TB) Cluster {
	t.Helper()
	start := func() *Server {
		return p.Start(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)), "--cluster-node-timeout", "1000",
			"--cluster-replica-validity-factor", "0", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
	}
	var c Cluster
	for i := range 3 {
		m := start()
		m.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		m.Do(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/3), strconv.Itoa((i+1)*slots/3-1))
		c.Masters, c.Replicas = append(c.Masters, m), append(c.Replicas, start())
	}
	all := append(append([]*Server(nil), c.Masters...), c.Replicas...)
	for _, s := range all[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		_, bus, _ := strings.Cut(s.Do(t, "CONFIG", "GET", "cluster-port"), "\n")
		all[0].Do(t, "CLUSTER", "MEET", host, port, bus)
	}
	for _, s := range all {
		s.wait(t, "knows the other nodes", func() bool { return clusterInfo(s, "cluster_known_nodes") == strconv.Itoa(len(all)) })
	}
	for i, r := range c.Replicas {
		id := c.Masters[i].Do(t, "CLUSTER", "MYID")
		r.wait(t, "follows its master", func() bool {
			_, err := r.Try("CLUSTER", "REPLICATE", id)
			return err == nil && r.Info("master_link_status") == "up"
		})
	}
	for _, s := range all {
		s.wait(t, "finds the cluster sound", func() bool {
			nodes, _ := s.Try("CLUSTER", "NODES")
			return clusterInfo(s, "cluster_state") == "ok" && strings.Count(nodes, " slave ")+strings.Count(nodes, "myself,slave ") >= len(c.Replicas)
		})
	}
	return c
}

// Addrs are those of all nodes.
func (c Cluster) Addrs() []string { return append(addrs(c.Masters), addrs(c.Replicas)...) }

// Owner is the master of a key and its replica.
func (c Cluster) Owner(t testing.TB, key string) (master, replica *Server) {
	t.Helper()
	slot, err := strconv.Atoi(c.Masters[0].Do(t, "CLUSTER", "KEYSLOT", key))
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Masters {
		if slot < (i+1)*slots/3 {
			return c.Masters[i], c.Replicas[i]
		}
	}
	t.Fatalf("nobody has slot %d", slot)
	return nil, nil
}

func clusterInfo(s *Server, field string) string {
	all, _ := s.Try("CLUSTER", "INFO")
	for line := range strings.Lines(all) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return v
		}
	}
	return ""
}

func addrs(servers []*Server) (all []string) {
	for _, s := range servers {
		all = append(all, s.Addr)
	}
	return all
}
