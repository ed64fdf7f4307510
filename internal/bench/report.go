package bench

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// Report is everything that was measured; it is what --json writes.
type Report struct {
	Machine   Machine          `json:"machine"`
	Method    Method           `json:"method"`
	Programs  []Program        `json:"programs"`
	Scenarios []ScenarioReport `json:"scenarios"`
	Bars      []Bar            `json:"bars,omitzero"`
}

// Machine is where it was measured.
type Machine struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Kernel string    `json:"kernel"`
	Go     string    `json:"go"`
	Date   time.Time `json:"date"`
}

// Method is how it was measured.
type Method struct {
	Rounds   int     `json:"rounds"`
	Seconds  float64 `json:"seconds_per_run"`
	LoadCPU  int     `json:"load_cpu"` // of load and upstream; -1: unbound
	GateCPU  int     `json:"gateway_cpu"`
	Baseline string  `json:"baseline"` // the target that ratios are against; "" for none
}

// Program has the figures of a target that do not belong to a scenario.
type Program struct {
	Target  string    `json:"target"`
	Startup []float64 `json:"startup_ms"` // from start to first answer, each time it was started
	Idle    int64     `json:"idle_rss"`
	Binary  int64     `json:"binary_bytes,omitzero"`
}

// ScenarioReport is one scenario against every target.
type ScenarioReport struct {
	Name    string         `json:"name"`
	About   string         `json:"about"`
	Targets []TargetReport `json:"targets"`
}

// TargetReport is a target's rounds, their medians, and its ratios to the baseline round by round.
type TargetReport struct {
	Target string           `json:"target"`
	Rounds []Result         `json:"rounds"`
	Median Result           `json:"median"`
	Ratios map[string]Ratio `json:"ratios,omitzero"` // by metric
}

// Ratio is the median of the rounds' ratios, and the lowest and highest of them.
type Ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// String is "0.80 (0.75–0.91)".
func (r Ratio) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", r.Median, r.Low, r.High) }

// metrics are the figures of a Result that a median is taken of; those with a ratio are compared with the baseline.
var metrics = []struct {
	name  string
	ratio bool
	value func(*Result) *float64
}{
	{"cpu", true, func(r *Result) *float64 { return &r.CPU }},
	{"throughput", true, func(r *Result) *float64 { return &r.Throughput }},
	{"p50", true, func(r *Result) *float64 { return &r.P50 }},
	{"p99", true, func(r *Result) *float64 { return &r.P99 }},
	{"p999", false, func(r *Result) *float64 { return &r.P999 }},
	{"max", false, func(r *Result) *float64 { return &r.Max }},
	{"first_p50", false, func(r *Result) *float64 { return &r.FirstP50 }},
	{"first_p99", true, func(r *Result) *float64 { return &r.FirstP99 }},
	{"gap_p50", false, func(r *Result) *float64 { return &r.GapP50 }},
	{"gap_p99", false, func(r *Result) *float64 { return &r.GapP99 }},
	{"gap_max", false, func(r *Result) *float64 { return &r.GapMax }},
}

func median[T cmp.Ordered](values []T, mean func(a, b T) T) (m T) {
	if len(values) == 0 {
		return m
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return mean(s[n/2-1], s[n/2])
	}
	return s[len(s)/2]
}

func medianFloat(values []float64) float64 {
	return median(values, func(a, b float64) float64 { return (a + b) / 2 })
}

func medianInt(values []int64) int64 {
	return median(values, func(a, b int64) int64 { return a + (b-a)/2 })
}

// summarise is the median of each figure; calls and errors are sums, so that one error in one round is not lost.
func summarise(rounds []Result) Result {
	var out Result
	column := func(value func(*Result) *float64) (all []float64) {
		for i := range rounds {
			all = append(all, *value(&rounds[i]))
		}
		return all
	}
	for _, m := range metrics {
		*m.value(&out) = medianFloat(column(m.value))
	}
	out.Rate = medianFloat(column(func(r *Result) *float64 { return &r.Rate }))
	var peaks, streams []int64
	for _, r := range rounds {
		out.Calls += r.Calls
		out.Errors += r.Errors
		out.Error = cmp.Or(out.Error, r.Error)
		peaks, streams = append(peaks, r.Peak), append(streams, r.PerStream)
	}
	out.Peak, out.PerStream = medianInt(peaks), medianInt(streams)
	return out
}

// compare takes the ratio of each round with the baseline's run of the same round: what slows the machine for a while
// slows both.
func compare(rounds, base []Result) map[string]Ratio {
	out := map[string]Ratio{}
	for _, m := range metrics {
		var all []float64
		for i := range min(len(rounds), len(base)) {
			if a, b := *m.value(&rounds[i]), *m.value(&base[i]); a > 0 && b > 0 && m.ratio {
				all = append(all, a/b)
			}
		}
		if len(all) > 0 {
			out[m.name] = Ratio{medianFloat(all), slices.Min(all), slices.Max(all)}
		}
	}
	return out
}

// finish fills in medians and ratios.
func (r *Report) finish() {
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		base := s.find(r.Method.Baseline)
		for j := range s.Targets {
			t := &s.Targets[j]
			t.Median = summarise(t.Rounds)
			if base != nil && t.Target != base.Target {
				t.Ratios = compare(t.Rounds, base.Rounds)
			}
		}
	}
}

func (s *ScenarioReport) find(target string) *TargetReport {
	for i := range s.Targets {
		if s.Targets[i].Target == target {
			return &s.Targets[i]
		}
	}
	return nil
}

func (r *Report) scenario(name string) *ScenarioReport {
	for i := range r.Scenarios {
		if r.Scenarios[i].Name == name {
			return &r.Scenarios[i]
		}
	}
	return nil
}

func (r *Report) program(name string) *Program {
	for i := range r.Programs {
		if r.Programs[i].Target == name {
			return &r.Programs[i]
		}
	}
	return nil
}

// table is what both texts are made of.
type table struct {
	title string
	head  []string
	rows  [][]string
}

func (r *Report) tables() []table {
	var all []table
	for _, s := range r.Scenarios {
		all = append(all, s.table(r.Method.Baseline))
	}
	if len(r.Programs) > 0 {
		t := table{title: "Programs", head: []string{"target", "start to first answer", "idle memory", "binary"}}
		for _, p := range r.Programs {
			t.rows = append(t.rows, []string{
				p.Target, fmt.Sprintf("%.0f ms", medianFloat(p.Startup)), megabytes(p.Idle), megabytes(p.Binary),
			})
		}
		all = append(all, t)
	}
	if len(r.Bars) > 0 {
		t := table{title: "Bars", head: []string{"figure", "measured", "bar", ""}}
		for _, b := range r.Bars {
			verdict := "met"
			if !b.Met {
				verdict = "MISSED"
			}
			t.rows = append(t.rows, []string{b.Name, b.show(b.Got), "≤ " + b.show(b.Most), verdict})
		}
		all = append(all, t)
	}
	return all
}

func (s *ScenarioReport) table(baseline string) table {
	t := table{title: s.Name + ": " + s.About}
	if s.Name == "slow" {
		t.head = []string{"target", "streams", "memory a stream", "peak memory", "errors"}
		for _, r := range s.Targets {
			m := r.Median
			t.rows = append(t.rows, []string{
				r.Target, fmt.Sprint(m.Calls), kilobytes(m.PerStream), megabytes(m.Peak), fmt.Sprint(m.Errors),
			})
		}
		return t
	}
	t.head = []string{"target", "calls/s", "CPU a call", "p50", "p99", "p99.9", "first byte p50 / p99", "peak memory", "errors"}
	streamed := slices.ContainsFunc(s.Targets, func(r TargetReport) bool { return r.Median.GapMax > 0 })
	if streamed {
		t.head = slices.Insert(t.head, 7, "gap p99 / max")
	}
	if baseline != "" {
		t.head = append(t.head, "CPU x "+baseline, "p99 x "+baseline)
	}
	for _, r := range s.Targets {
		m := r.Median
		row := []string{
			r.Target, fmt.Sprintf("%.0f", m.Throughput), micro(m.CPU), micro(m.P50), micro(m.P99), micro(m.P999),
			micro(m.FirstP50) + " / " + micro(m.FirstP99), megabytes(m.Peak), fmt.Sprint(m.Errors),
		}
		if streamed {
			row = slices.Insert(row, 7, micro(m.GapP99)+" / "+micro(m.GapMax))
		}
		if baseline != "" {
			for _, metric := range []string{"cpu", "p99"} {
				cell := "–"
				if ratio, ok := r.Ratios[metric]; ok {
					cell = ratio.String()
				} else if r.Target == baseline {
					cell = "1"
				}
				row = append(row, cell)
			}
		}
		t.rows = append(t.rows, row)
	}
	return t
}

func micro(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v < 1000:
		return fmt.Sprintf("%.0f µs", v)
	case v < 1e5:
		return fmt.Sprintf("%.1f ms", v/1e3)
	default:
		return fmt.Sprintf("%.2f s", v/1e6)
	}
}

func megabytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}

func kilobytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f KB", math.Ceil(float64(n)/(1<<10)))
}

func (r *Report) preamble() string {
	bound := "programs are not bound to CPUs"
	if r.Method.LoadCPU >= 0 {
		bound = fmt.Sprintf("gateways on CPU %d, load and fake upstream on CPU %d", r.Method.GateCPU, r.Method.LoadCPU)
	}
	return fmt.Sprintf("%s, %d cores, %s, %s, %s. %d rounds of %g s, targets in turn, %s; medians, and the spread of the rounds' ratios. Every answer was checked. CPU and memory in a row direct are the fake upstream's own.",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Machine.Date.Format(time.DateOnly), r.Method.Rounds, r.Method.Seconds, bound)
}

// Text writes tables for a terminal.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.preamble() + "\n")
	for _, t := range r.tables() {
		widths := make([]int, len(t.head))
		for _, row := range append([][]string{t.head}, t.rows...) {
			for i, cell := range row {
				widths[i] = max(widths[i], len([]rune(cell)))
			}
		}
		fmt.Fprintf(&b, "\n%s\n", t.title)
		for _, row := range append([][]string{t.head}, t.rows...) {
			line := ""
			for i, cell := range row {
				pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
				if i == 0 {
					line += "  " + cell + pad
				} else {
					line += "  " + pad + cell
				}
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	for _, e := range r.failures() {
		b.WriteString("\n" + e)
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// Markdown writes the same for a document.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.preamble() + "\n")
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n### %s\n\n| %s |\n|%s\n", t.title, strings.Join(t.head, " | "), strings.Repeat(" --- |", len(t.head)))
		for _, row := range t.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) failures() []string {
	var all []string
	for _, s := range r.Scenarios {
		for _, t := range s.Targets {
			if t.Median.Errors > 0 {
				all = append(all, fmt.Sprintf("%s, %s: %d errors, the first: %s\n", s.Name, t.Target, t.Median.Errors, t.Median.Error))
			}
		}
	}
	return all
}
