package quota_test

import (
	"testing"

	"sluice/internal/llm"
	"sluice/internal/quota"
)

// Cover holds more beside what the answer may cost, once, and takes nothing of what that has.
func TestCover(t *testing.T) {
	l := start(t, nil)
	who := caller(
		llm.Rule{Name: "m", Budgets: []llm.Budget{{Money: 1000, Every: llm.Monthly, Mode: llm.Hard}, {Money: 1, Every: llm.Daily, Mode: llm.Soft}}},
		llm.Rule{Name: "t", Budgets: []llm.Budget{{Tokens: 1000, Every: llm.Monthly, Mode: llm.Hard}}})
	g, err := l.Reserve(t.Context(), who, call(1)) // 10 for its input, 100 for its output
	if err != nil {
		t.Fatal(err)
	}
	held := func() int64 {
		t.Helper()
		st, err := l.Status(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range st {
			if b.Rule == "m" && b.Limit == 1000 {
				return b.Held
			}
		}
		t.Fatalf("%+v", st)
		return 0
	}
	most, _ := g.MaxOutput()
	for _, c := range []struct{ beyond, want int64 }{{0, 110}, {50, 160}, {50, 160}, {20, 160}, {70, 180}, {890, 1000}} {
		if err := g.Cover(t.Context(), llm.Nano(c.beyond)); err != nil {
			t.Fatal(err)
		}
		if got := held(); got != c.want {
			t.Errorf("with %d beside the answer %d are held, want %d", c.beyond, got, c.want)
		}
	}
	if err := g.Cover(t.Context(), 891); llm.AsError(err).Kind != llm.KindBudget {
		t.Errorf("more than there is: %v", err)
	}
	if err := g.TopUp(t.Context(), most); err != nil {
		t.Errorf("the answer lost what it had: %v", err)
	}
	if err := new(quota.Grant).Cover(t.Context(), 1); err != nil {
		t.Error(err)
	}
}
