// Package embedtest finds what tests of meaning need and the project does not hold: a real model, and data that people judged. Tests
// skip with a notice where it is absent.
package embedtest

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// USELite is the folder of the Universal Sentence Encoder lite, which .ci/tools fetches.
func USELite(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(moduleRoot(t), ".cache", "models", "use-lite")
	if _, err := os.Stat(filepath.Join(dir, "model.json")); err != nil {
		t.Skip("NOT TESTED: no real model of embeddings; run .ci/tools, which fetches one where npm works")
	}
	return dir
}

// A Pair is two questions, and whether people found that they mean the same.
type Pair struct {
	A, B  string
	Label int // 1: they do
}

// QQP are 20,000 pairs of questions that people asked on Quora, in their order.
func QQP(t testing.TB) []Pair {
	t.Helper()
	f := open(t, "qqp_dev_20k.jsonl.gz")
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []Pair
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		var p Pair
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := lines.Err(); err != nil || len(all) != 20_000 {
		t.Fatalf("%d pairs of questions, %v: the file is not whole", len(all), err)
	}
	return all
}

// A Request is what somebody wrote to a bank, and which of 77 intents people found in it.
type Request struct{ Text, Intent string }

// Banking77 are the requests of a set, train or test, in their order.
func Banking77(t testing.TB, name string) []Request {
	t.Helper()
	rows, err := csv.NewReader(open(t, "banking77_"+name+".csv")).ReadAll()
	if err != nil || len(rows) < 1000 {
		t.Fatalf("%d requests, %v: the file is not whole", len(rows), err)
	}
	var all []Request
	for _, r := range rows[1:] {
		all = append(all, Request{r[0], r[1]})
	}
	return all
}

// open opens a file of ../shared/eval beside the project, or of eval under SLUICE_SHARED.
func open(t testing.TB, name string) *os.File {
	t.Helper()
	dir := os.Getenv("SLUICE_SHARED")
	if dir == "" {
		dir = filepath.Join(moduleRoot(t), "..", "shared")
	}
	f, err := os.Open(filepath.Join(dir, "eval", name)) //nolint:gosec // a test's own file
	if err != nil {
		t.Skipf("NOT TESTED: the data that people judged are not here (%v); put them at ../shared/eval, or name their folder's parent in SLUICE_SHARED", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}
