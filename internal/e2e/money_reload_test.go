package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rewrite changes the configuration files of all replicas as an operator's rollout does.
func (c *branches) rewrite(old, with string) {
	c.t.Helper()
	for _, dir := range c.dirs {
		file := filepath.Join(dir, "sluice.yaml")
		text, err := os.ReadFile(file)
		if err != nil {
			c.t.Fatal(err)
		}
		next := bytes.Replace(text, []byte(old), []byte(with), 1)
		if bytes.Equal(next, text) {
			c.t.Fatalf("the configuration has no %q", old)
		}
		if err := os.WriteFile(file, next, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

// reconfigure takes a model away and lowers a budget by new configurations, again and again, and gives how long each took until
// every replica refused.
func (c *branches) reconfigure(t *testing.T, n int) (took []time.Duration) {
	t.Helper()
	model := c.config[strings.Index(c.config, "  - {name: uneven"):]
	model = model[:strings.IndexByte(model, '\n')+1]
	changes := []struct{ what, old, with, key, model, status string }{
		{"a model removed", model, "", key, "uneven", "404"},
		{"a budget lowered", "{name: q, budgets: [{dollars: 1000, every: quarter}]}", `{name: q, budgets: [{dollars: "0.000000001", every: quarter}]}`, moneyKey("rich"), "good", "429"},
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for i := range n {
		ch := changes[i%len(changes)]
		use := func(g *gateway) string {
			return shoot(t.Context(), tr, g, ch.key, chat(ch.model, "ping", false)).why
		}
		want := func(ok func(why string) bool) {
			t.Helper()
			for _, g := range *c.now.Load() {
				last := ""
				if !comes(func() bool { last = use(g); return ok(last) }) {
					t.Fatalf("%s: %q", ch.what, last)
				}
			}
		}
		want(func(why string) bool { return why == "" || ch.model == "uneven" && !strings.HasPrefix(why, "404") })
		began := time.Now()
		c.rewrite(ch.old, ch.with)
		want(func(why string) bool { return strings.HasPrefix(why, ch.status) })
		took = append(took, time.Since(began))
		if ch.with == "" {
			c.rewrite("  - {name: good,", ch.old+"  - {name: good,")
		} else {
			c.rewrite(ch.with, ch.old)
		}
	}
	return took
}
