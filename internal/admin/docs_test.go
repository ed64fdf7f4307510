package admin

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/control"
)

const (
	docsFile  = "../../docs/admin-api.md"
	tableHead = "<!-- routes: written by go generate ./internal/admin -->\n"
	tableEnd  = "<!-- end of routes -->\n"
)

// routesTable is the table of the documentation.
func routesTable(h *Handler) string {
	var b strings.Builder
	b.WriteString("\n| Route | What it does | Act | Who may |\n|---|---|---|---|\n")
	for i := range h.table {
		r := &h.table[i]
		act, who := string(r.Act), string(r.For)
		if r.Act != "" {
			roles, whole, proof := control.Allowed(r.Act)
			var words []string
			for _, role := range roles {
				words = append(words, string(role))
			}
			if who = strings.Join(words, ", "); len(roles) == len(control.Roles) {
				who = "all"
			}
			if whole {
				who += "; *whole*"
			}
			if proof {
				who += "; *proof*"
			}
			act = "`" + act + "`"
		}
		fmt.Fprintf(&b, "| `%s %s` | %s | %s | %s |\n", r.Method, r.Path, r.Summary, act, who)
	}
	return b.String() + "\n"
}

// The table of routes in the documentation is that of the code.
func TestDocs(t *testing.T) {
	h, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableHead)
	table, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		t.Fatal("the documentation has no place for the table")
	}
	want := routesTable(h)
	if *rewrite {
		if err := os.WriteFile(docsFile, []byte(before+tableHead+want+tableEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("the table of routes is stale; go generate ./internal/admin (-want +got):\n%.2000s", diff)
	}
}

// The examples of the documentation are run as they stand there.
func TestExamples(t *testing.T) {
	for _, program := range []string{"curl", "sh", "sed"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("SLUICE_E2E") == "full" {
				t.Fatal(err) // as a check has all that it needs
			}
			t.Skip("NOT TESTED: the examples of the admin API: ", err)
		}
	}
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "")
	server := httptest.NewServer(w.handler)
	defer server.Close()
	dir := t.TempDir()
	w.ok(os.WriteFile(filepath.Join(dir, "admin.auth"), []byte("Authorization: Bearer "+adminToken+"\n"), 0o600))
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	for _, block := range blocks {
		c := exec.CommandContext(t.Context(), "sh", "-e", "-u", "-c", block[1])
		c.Dir, c.Env = dir, append(os.Environ(), "SLUICE_ADMIN_URL="+server.URL, "NO_PROXY=*")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s%v: %s", block[1], err, out)
		}
	}
	if len(blocks) < 5 {
		t.Errorf("only %d examples", len(blocks))
	}
}
