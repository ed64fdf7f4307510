package rules

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

const full = `[{"name":"month","models":["gpt-*"],"per":["key","model"],"requests":["10/second","600/minute"],"tokens":["100000/minute","5000000/day"],` +
	`"parallel":20,"budgets":[{"dollars":"500","every":"month","zone":"Europe/Berlin","mode":"hard_after_grace","grace":"36h","alerts":[50,80,100],` +
	`"overrides":[{"from":"2026-03-01T00:00:00Z","until":"2026-04-01T00:00:00Z","dollars":"750.000000001"}]},` +
	`{"tokens":2000000,"every":"rolling-day","mode":"soft"}]},{"name":"p","parallel":1}]`

func read(t *testing.T, text string) ([]llm.Rule, []llm.Problem) {
	t.Helper()
	var list []Rule
	if err := Decode([]byte(text), &list); err != nil {
		return nil, llm.AsError(err).Problems
	}
	return Read(list)
}

// zones compares time zones by name.
var zones = cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })

func TestRead(t *testing.T) {
	got, problems := read(t, full)
	if problems != nil {
		t.Fatal(problems)
	}
	berlin, _ := time.LoadLocation("Europe/Berlin")
	want := []llm.Rule{{
		Name: "month", Models: []string{"gpt-*"}, Per: []llm.Dim{llm.DimKey, llm.DimModel}, Parallel: 20,
		Requests: []llm.Pace{{N: 10, Per: time.Second}, {N: 600, Per: time.Minute}},
		Tokens:   []llm.Pace{{N: 100000, Per: time.Minute}, {N: 5000000, Per: 24 * time.Hour}},
		Budgets: []llm.Budget{
			{
				Money: 500 * llm.Dollar, Every: llm.Monthly, Zone: berlin, Mode: llm.HardAfterGrace, Grace: 36 * time.Hour, Alerts: []int{50, 80, 100},
				Overrides: []llm.Override{{From: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), Money: 750*llm.Dollar + 1}},
			},
			{Tokens: 2000000, Every: llm.RollDay, Mode: llm.Soft},
		},
	}, {Name: "p", Parallel: 1}}
	if diff := cmp.Diff(want, got, zones); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := json.Marshal(WriteAll(got))
	if err != nil || string(text) != full {
		t.Errorf("written as %s, %v", text, err)
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, at, says string }{
		{"no JSON", `[{`, "/0", "no valid JSON at byte 2"},
		{"unknown member", `[{"name":"a","request":["1/minute"]}]`, "/0/request", "remove it"},
		{"other case", `[{"Name":"a"}]`, "/0/Name", "remove it"},
		{"said twice", `[{"name":"a","name":"b"}]`, "/0/name", "said twice"},
		{"wrong type", `[{"name":"a","budgets":[{"dollars":500,"every":"day"}]}]`, "/0/budgets/0/dollars", "a text in quotes"},
		{"number for a list", `[{"name":"a","requests":5}]`, "/0/requests", "a list"},
		{"name", `[{"name":"A b","parallel":1}]`, "/0/name", "lower case"},
		{"name twice", `[{"name":"a","parallel":1},{"name":"a","parallel":2}]`, "/1/name", "already the name of rule 0"},
		{"nothing", `[{"name":"a"}]`, "/0", "limits nothing"},
		{"pace", `[{"name":"a","requests":["600/min"]}]`, "/0/requests/0", "such as 600/minute"},
		{"pace of zero", `[{"name":"a","requests":["0/minute"]}]`, "/0/requests/0", "no pace"},
		{"signed pace", `[{"name":"a","requests":["+1/minute"]}]`, "/0/requests/0", "no pace"},
		{"empty pace", `[{"name":"a","tokens":[""]}]`, "/0/tokens/0", "no pace"},
		{"span twice", `[{"name":"a","tokens":["1/minute","2/minute"]}]`, "/0/tokens/1", "second limit"},
		{"parallel", `[{"name":"a","parallel":-1}]`, "/0/parallel", "under way"},
		{"dimension", `[{"name":"a","per":["ip"],"parallel":1}]`, "/0/per/0", "key, user, team"},
		{"dimension twice", `[{"name":"a","per":["key","key"],"parallel":1}]`, "/0/per/1", "each once"},
		{"empty glob", `[{"name":"a","models":[""],"parallel":1}]`, "/0/models/0", "* for any"},
		{"glob with a space", `[{"name":"a","models":["a b"],"parallel":1}]`, "/0/models/0", "no spaces"},
		{"no amount", `[{"name":"a","budgets":[{"every":"day"}]}]`, "/0/budgets/0/tokens", "give tokens"},
		{"two amounts", `[{"name":"a","budgets":[{"dollars":"1","tokens":1,"every":"day"}]}]`, "/0/budgets/0/tokens", "two budgets"},
		{"dollars", `[{"name":"a","budgets":[{"dollars":"1,50","every":"day"}]}]`, "/0/budgets/0/dollars", "digits"},
		{"negative dollars", `[{"name":"a","budgets":[{"dollars":"-1","every":"day"}]}]`, "/0/budgets/0/dollars", "above 0"},
		{"period", `[{"name":"a","budgets":[{"dollars":"1","every":"year"}]}]`, "/0/budgets/0/every", "quarter"},
		{"zone", `[{"name":"a","budgets":[{"dollars":"1","every":"day","zone":"Mars"}]}]`, "/0/budgets/0/zone", "Europe/Berlin"},
		{"zone of a rolling one", `[{"name":"a","budgets":[{"dollars":"1","every":"rolling-day","zone":"Europe/Berlin"}]}]`, "/0/budgets/0/zone", "no calendar"},
		{"path as zone", `[{"name":"a","budgets":[{"dollars":"1","every":"day","zone":"../x"}]}]`, "/0/budgets/0/zone", "Europe/Berlin"},
		{"mode", `[{"name":"a","budgets":[{"dollars":"1","every":"day","mode":"firm"}]}]`, "/0/budgets/0/mode", "hard_after_grace"},
		{"grace alone", `[{"name":"a","budgets":[{"dollars":"1","every":"day","grace":"1h"}]}]`, "/0/budgets/0/grace", "goes with"},
		{"no grace", `[{"name":"a","budgets":[{"dollars":"1","every":"day","mode":"hard_after_grace"}]}]`, "/0/budgets/0/grace", "goes with"},
		{"alerts", `[{"name":"a","budgets":[{"dollars":"1","every":"day","alerts":[80,50]}]}]`, "/0/budgets/0/alerts/1", "lowest first"},
		{"override's unit", `[{"name":"a","budgets":[{"dollars":"1","every":"day","overrides":[{"from":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z","tokens":5}]}]}]`, "/0/budgets/0/overrides/0", "dollars or tokens"},
		{"override's times", `[{"name":"a","budgets":[{"dollars":"1","every":"day","overrides":[{"from":"2026-01-02T00:00:00Z","until":"2026-01-02T00:00:00Z","dollars":"5"}]}]}]`, "/0/budgets/0/overrides/0/until", "not after"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := read(t, tt.text)
			if len(problems) != 1 || problems[0].At != tt.at || !strings.Contains(problems[0].Msg, tt.says) {
				t.Errorf("got %v, want one at %q that says %q", problems, tt.at, tt.says)
			}
		})
	}
	_, problems := read(t, `[{"name":"A","requests":["x"],"parallel":-1,"budgets":[{"dollars":"x","every":"y","zone":"z"}]}]`)
	if len(problems) != 6 {
		t.Errorf("%d problems, want all 6 at once: %v", len(problems), problems)
	}
}

func TestShortForms(t *testing.T) {
	for in, want := range map[string]Budget{
		"500/month":                 {Dollars: "500", Every: "month"},
		"$0.25/hour":                {Dollars: "0.25", Every: "hour"},
		"2000000tokens/rolling-day": {Tokens: 2000000, Every: "rolling-day"},
		"2000000 tokens/day":        {Tokens: 2000000, Every: "day"},
	} {
		if got, err := ParseBudget(in); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: got %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "500", "500/year", "x/month", "tokens/month", "0/month", "500/month/x", "-5tokens/day"} {
		if got, err := ParseBudget(in); err == nil {
			t.Errorf("%q: got %+v", in, got)
		}
	}
	for in, want := range map[string]time.Duration{"7d": 7 * 24 * time.Hour, "90m": 90 * time.Minute, "1d": 24 * time.Hour, "1h30m": 90 * time.Minute, "30s": 30 * time.Second} {
		got, err := ParseSpan(in)
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
		if again, err := ParseSpan(FormatSpan(got)); err != nil || again != want {
			t.Errorf("%s written as %s: %s, %v", in, FormatSpan(got), again, err)
		}
	}
	for _, in := range []string{"", "0d", "-1d", "d", "1.5s", "999999h", "99999d", "0s", "5"} {
		if got, err := ParseSpan(in); err == nil {
			t.Errorf("%q: got %s", in, got)
		}
	}
	for _, in := range []string{"2030-01-31", "2030-01-31T12:00:00+01:00"} {
		if _, err := ParseTime(in); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range []string{"", "31.1.2030", "0001-01-01", "2030-02-30"} {
		if got, err := ParseTime(in); err == nil {
			t.Errorf("%q: got %s", in, got)
		}
	}
}

// What was read and written is read as the same again, and nothing that a stranger writes does harm.
func FuzzRules(f *testing.F) {
	f.Add(full)
	f.Add(`[{"name":"a","budgets":[{"dollars":"0.000000001","every":"week","zone":"America/New_York"}]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		var in []Rule
		if err := Decode([]byte(text), &in); err != nil {
			if e := llm.AsError(err); e.Kind == llm.KindInternal || len(e.Problems) == 0 {
				t.Fatalf("an error without a problem: %v", err)
			}
			return
		}
		list, problems := Read(in)
		for _, p := range problems {
			if p.Msg == "" || len(p.Msg) > 1000 {
				t.Fatalf("problem %q at %q", p.Msg, p.At)
			}
		}
		if len(problems) > 0 {
			return
		}
		again, problems := Read(WriteAll(list))
		if diff := cmp.Diff(list, again, zones); diff != "" || len(problems) > 0 {
			t.Fatalf("%v (-first +again):\n%s", problems, diff)
		}
	})
}
