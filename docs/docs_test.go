// Package docs holds the documentation to the code.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/control"
	"sluice/internal/wire"
)

// errors.md lists every code with its status, and no other.
func TestErrorsAreListed(t *testing.T) {
	text, err := os.ReadFile("errors.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\d{3}) \\|").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = m[2]
	}
	for kind, status := range wire.Kinds() {
		if got := listed[string(kind)]; got != fmt.Sprint(status) {
			t.Errorf("errors.md gives %s the status %q, the code %d", kind, got, status)
		}
		delete(listed, string(kind))
	}
	for code := range listed {
		t.Errorf("errors.md lists %s, which no code has", code)
	}
}

// threat-model.md names a test for each check, and each test that it names exists.
func TestChecksAreHeld(t *testing.T) {
	text, err := os.ReadFile("threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{} // the test files of a folder
	held := map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^\| (S\d+) \|.*$`).FindAllStringSubmatch(string(text), -1) {
		for _, m := range regexp.MustCompile("`((?:internal|cmd|docs)[a-z0-9/]*)\\.([A-Z]\\w+)`").FindAllStringSubmatch(row[0], -1) {
			held[row[1]]++
			dir, name := m[1], m[2]
			if known[dir] == "" {
				known[dir] = testsOf(t, dir)
			}
			if !strings.Contains(known[dir], "\nfunc "+name+"(") {
				t.Errorf("%s is held by %s of %s, which is not there", row[1], name, dir)
			}
		}
		if held[row[1]] == 0 {
			t.Errorf("%s names no test", row[1])
		}
	}
	for n := 1; n <= 38; n++ {
		check := fmt.Sprint("S", n)
		if held[check] == 0 && !regexp.MustCompile("There is no row for [^\n]*\\b"+check+"\\b").Match(text) {
			t.Errorf("%s has no row, and is not said to have none", check)
		}
	}
}

// testsOf is the text of a folder's tests.
func testsOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob("../" + dir + "/*_test.go")
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests (%v)", dir, err)
	}
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
		b.Write(text)
	}
	return b.String()
}

// Every link to a file of the project leads somewhere.
func TestLinks(t *testing.T) {
	for _, dir := range []string{".", "..", "adr"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".md") {
				continue
			}
			name := dir + "/" + f.Name()
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
				if _, err := os.Stat(dir + "/" + m[1]); err != nil {
					t.Errorf("%s links to %s, which is not there", name, m[1])
				}
			}
		}
	}
}

// accounts.md lists every act with who may do it, as the code has it.
func TestActsAreListed(t *testing.T) {
	text, err := os.ReadFile("accounts.md")
	if err != nil {
		t.Fatal(err)
	}
	x := map[bool]string{true: "x"}
	got, want := map[string]string{}, map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_]+(?:\\.[a-z_]+)?`.*?) \\|(.*)\\|$").FindAllStringSubmatch(string(text), -1) {
		for act := range strings.FieldsSeq(row[1]) {
			var cells []string
			for cell := range strings.SplitSeq(row[2], "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			got[strings.Trim(act, "`")] = strings.Join(cells, "|")
		}
	}
	for _, act := range control.Acts() {
		roles, whole, proof := control.Allowed(act)
		var cells []string
		for _, r := range control.Roles {
			cells = append(cells, x[slices.Contains(roles, r)])
		}
		want[string(act)] = strings.Join(append(cells, x[whole], x[proof]), "|")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("accounts.md and the table of acts (-code +page):\n%s", diff)
	}
}
