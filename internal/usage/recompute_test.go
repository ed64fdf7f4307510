package usage

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/llm"
)

// The counters are found to be what the rows say, over several pages; a counter or a sum that is off is found.
func TestRecompute(t *testing.T) {
	h := newHouse(t, nil)
	for i := range 1200 {
		e := h.begin(fmt.Sprint("req_", i))
		e.Usage.Input, e.Usage.Output = llm.Tokens(1), llm.Tokens(1)
		e.Err = read(e, []*llm.Event{last(1, 1)}, io.EOF)
		e.Close()
	}
	h.flush()
	right := Counter{Name: "budget", Query: SpentQuery{Filter: Filter{Key: "sk-slc-public"}}, Money: h.counters.spent["budget"], Tokens: 2400}
	wrong := Counter{Name: "off", Query: SpentQuery{Filter: Filter{Team: "red"}}, Money: 1200*12 + 1, Tokens: 2400}
	other := Counter{Name: "none", Query: SpentQuery{Filter: Filter{Team: "blue"}}}
	got, err := Recompute(t.Context(), h.store, []Counter{right, wrong, other})
	if err != nil || len(got) != 1 || got[0].Name != "off" || got[0].Rows.Money != 1200*12 || got[0].Rows.Calls != 1200 {
		t.Errorf("got %v, %v", got, err)
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
