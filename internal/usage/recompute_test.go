package usage

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
)

// The counters are found to be what the rows say that they have, while more come; one that is off is found, and one that
// cannot be held against rows is told apart.
func TestRecompute(t *testing.T) {
	h := newHouse(t, nil)
	for i := range 300 {
		e := h.begin(fmt.Sprint("req_", i))
		e.Usage.Input, e.Usage.Output = llm.Tokens(1), llm.Tokens(1)
		e.Err = read(e, []*llm.Event{last(1, 1)}, io.EOF)
		e.Close()
		if i == 199 {
			h.flush()
		}
	}
	h.counters.mu.Lock()
	marks := map[string]uint64{h.j.Replica(): h.counters.marks["budget"+h.j.Replica()]}
	key := Counter{Name: "key", Filter: Filter{Key: "sk-slc-public"}, Spent: int64(h.counters.spent["budget"]), Marks: marks}
	h.counters.mu.Unlock()
	h.flush()
	counters := []Counter{
		key,
		{Name: "off", Filter: Filter{Team: "red"}, Tokens: true, Spent: 2, Marks: marks},
		{Name: "none", Filter: Filter{Team: "blue"}, Marks: marks},
		{Name: "ahead", Filter: Filter{Team: "red"}, Marks: map[string]uint64{"other": 7}},
	}
	got, err := Recompute(t.Context(), h.store, counters)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, f := range got {
		text = append(text, fmt.Sprint(f.Name, " ", f.Wrong(), " ", f.Known(), " ", f.Behind))
	}
	if want := []string{"key false true ", "off true true ", "none false true ", "ahead false false other"}; !slices.Equal(text, want) || got[0].Rows == 0 || got[1].Rows < 400 {
		t.Errorf("got %q, want %q; %+v", text, want, got)
	}
	h.store.oldest = time.Now()
	if got, err := Recompute(t.Context(), h.store, counters[:1]); err != nil || !got[0].Gone || got[0].Wrong() {
		t.Errorf("without rows: %+v, %v", got, err)
	}
}

func TestVerify(t *testing.T) {
	h := newHouse(t, nil)
	h.begin("open")
	h.begin("closed").Close()
	h.j.log.Sync()
	c, err := Verify(h.o.Dir) // while it is in use
	if err != nil || !c.OK() || c.Intents != 2 || c.Finals != 1 || c.Open != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	h.kill()
	file := filepath.Join(h.o.Dir, "0000000000000000.wal")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[200] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = Verify(h.o.Dir)
	var text bytes.Buffer
	c.Write(&text)
	if err != nil || c.OK() || !strings.Contains(text.String(), "position 1 is missing") {
		t.Errorf("%s, %v", &text, err)
	}
}
