package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/redistest"
)

// An inspection runs every script, and leaves nothing.
func TestInspect(t *testing.T) {
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			s := p.Start(t)
			in, err := Inspect(t.Context(), single(s))
			if err != nil {
				t.Fatal(err)
			}
			if in.Scripts != nil || in.Kind != "single" || len(in.Nodes) != 1 || in.Latency <= 0 || in.Ahead.Abs() > time.Minute {
				t.Errorf("%+v", in)
			}
			if n := in.Nodes[0]; n.Version == "" || n.Role != "master" || n.Policy != "noeviction" || n.Used == 0 || n.Append {
				t.Errorf("%+v", n)
			}
			if p.External() {
				return
			}
			if keys := s.Do(t, "KEYS", "*"); strings.TrimSpace(keys) != "" {
				t.Errorf("it left %q", keys)
			}
			// Whoever may not run scripts is told so.
			s.Do(t, "ACL", "SETUSER", "default", "-@scripting")
			if in, err = Inspect(t.Context(), single(s)); err != nil || in.Scripts == nil || !strings.Contains(in.Scripts.Error(), "script sync") {
				t.Errorf("without scripts: %+v, %v", in, err)
			}
		})
	}
}

func TestInspectCluster(t *testing.T) {
	c := redistest.Own(t).Cluster(t)
	o := single(c.Masters[0])
	o.Cluster = true
	in, err := Inspect(t.Context(), o)
	if err != nil || in.Scripts != nil || len(in.Nodes) < len(c.Masters) {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestInspectFails(t *testing.T) {
	for _, url := range []string{"redis://:hidden@127.0.0.1:1", "http://hidden"} {
		if _, err := Inspect(t.Context(), Options{URL: url}); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.2.4\r\nmaxmemory:100\r\nrole:master\r\naof_last_write_status:err\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n := readInfo("a", text); n.Addr != "a" {
			t.Error(n)
		}
	})
}

func TestReadInfo(t *testing.T) {
	got := readInfo("a", "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.0\r\nrole:slave\r\nmaxmemory:100\r\nused_memory:7\r\nloading:1\r\n"+
		"maxmemory_policy:allkeys-lru\r\naof_enabled:1\r\nrdb_last_bgsave_status:err\r\nnonsense\r\n")
	want := Node{Addr: "a", Version: "Valkey 8.1.0", Role: "slave", Policy: "allkeys-lru", MaxMemory: 100, Used: 7, Loading: true, Append: true, Failing: "rdb_last_bgsave_status"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
