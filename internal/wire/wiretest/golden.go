package wiretest

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Golden holds each archive that a pattern names to what is made of it: remake gives the files that are made, in the order in which they
// stand behind those that are given. With -update they are put into it instead.
func Golden(t *testing.T, pattern string, remake func(t *testing.T, name string, a *txtar.Archive) []txtar.File) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files at %s: %v", pattern, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			a := txtar.Parse(want)
			made := remake(t, name, a)
			a.Files = slices.DeleteFunc(a.Files, func(old txtar.File) bool {
				return slices.ContainsFunc(made, func(f txtar.File) bool { return f.Name == old.Name })
			})
			a.Files = append(a.Files, made...)
			got := txtar.Format(a)
			diff := cmp.Diff(string(want), string(got))
			if diff == "" {
				return
			}
			if !*update {
				t.Fatalf("(-file +got; -update rewrites it):\n%s", diff)
			}
			if err := os.WriteFile(path, got, 0o644); err != nil { //nolint:gosec // G306: it is no secret
				t.Fatal(err)
			}
		})
	}
}
