package pii

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// shared gives a folder of third-party data, beside the project or where SLUICE_SHARED says.
func shared(t *testing.T, name string) string {
	t.Helper()
	if dir := os.Getenv("SLUICE_SHARED"); dir != "" {
		return filepath.Join(dir, name)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "..", "shared", name)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// A labelled is one document of the set and what people (or its template) say is in it.
type labelled struct {
	Text  string `json:"full_text"`
	Spans []struct {
		Entity Entity `json:"entity_type"`
		Start  int    `json:"start_position"` // characters
		End    int    `json:"end_position"`
	}
}

// A tally is how one entity came out.
type tally struct{ labelled, met, found, right int }

func (c *tally) recall() float64    { return float64(c.met) / float64(c.labelled) }
func (c *tally) precision() float64 { return float64(c.right) / float64(c.found) }

// The labelled documents of Presidio's research set, which templates made: what is reached there is a floor. Recall and
// precision are counted as in docs/pii.md: a span counts as found when a finding of its entity overlaps it.
func TestAccuracy(t *testing.T) {
	raw, err := os.ReadFile(shared(t, filepath.Join("eval", "presidio_synth_dataset_v2.json")))
	if err != nil {
		t.Skipf("NOTICE: accuracy is NOT tested: the labelled set is not here (%v). Put it at ../shared/eval, or name that folder's parent in SLUICE_SHARED.", err)
	}
	var docs []labelled
	if err := json.Unmarshal(raw, &docs); err != nil {
		t.Fatal(err)
	}
	if len(docs) != 1500 {
		t.Fatalf("%d documents: the set is not the one that the figures are of", len(docs))
	}
	floors := map[Entity]struct{ recall, precision float64 }{
		CreditCard: {1, 0.986}, EmailAddress: {1, 1}, IBAN: {1, 1}, IPAddress: {1, 0.875}, USSSN: {1, 1}, PhoneNumber: {0.95, 0.95},
	}
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	tallies := map[Entity]*tally{}
	for e := range floors {
		tallies[e] = &tally{}
	}
	for _, doc := range docs {
		doc.count(t, s, tallies)
	}
	for e, floor := range floors {
		c := tallies[e]
		t.Logf("%-15s labelled %3d, recall %.3f, found %3d, precision %.3f", e, c.labelled, c.recall(), c.found, c.precision())
		if c.recall() < floor.recall-0.001 || c.precision() < floor.precision-0.001 {
			t.Errorf("%s: recall %.3f and precision %.3f, want at least %.3f and %.3f", e, c.recall(), c.precision(), floor.recall, floor.precision)
		}
	}
}

// count scans the document and adds to tallies; what is wrong is logged.
func (doc *labelled) count(t *testing.T, s *Scanner, tallies map[Entity]*tally) {
	at, found := runeOffsets(doc.Text), s.Scan(doc.Text, nil)
	right := make([]bool, len(found))
	for _, span := range doc.Spans {
		c := tallies[span.Entity]
		if c == nil {
			continue
		}
		c.labelled++
		met := false
		for k, f := range found {
			if f.Entity == span.Entity && f.Start < at[span.End] && at[span.Start] < f.End {
				met, right[k] = true, true
			}
		}
		if met {
			c.met++
		} else {
			t.Logf("missed %s %q in %q", span.Entity, doc.Text[at[span.Start]:at[span.End]], doc.Text)
		}
	}
	for k, f := range found {
		c := tallies[f.Entity]
		if c == nil {
			continue
		}
		c.found++
		if right[k] {
			c.right++
		} else {
			t.Logf("false %s %q (%s %.2f) in %q", f.Entity, doc.Text[f.Start:f.End], f.Recognizer, f.Score, doc.Text)
		}
	}
}

// runeOffsets gives the byte at which each character of text begins, and its end.
func runeOffsets(text string) []int {
	at := make([]int, 0, len(text)+1)
	for i := range text {
		at = append(at, i)
	}
	return append(at, len(text))
}
