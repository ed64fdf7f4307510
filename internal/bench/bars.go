package bench

import (
	"fmt"
	"slices"
)

// Bar is a figure that must not be above a limit.
type Bar struct {
	Name string  `json:"name"`
	Unit string  `json:"unit"`
	Got  float64 `json:"got"`
	Most float64 `json:"most"`
	Met  bool    `json:"met"`
}

func (b Bar) show(v float64) string {
	switch b.Unit {
	case "x":
		return fmt.Sprintf("%.2fx", v)
	case "":
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.1f %s", v, b.Unit)
	}
}

// The target that is judged, and the one that it is judged against.
const (
	judged   = "sluice"
	baseline = "proxy"
)

// The bars of CPU per call, as multiples of a bare reverse proxy.
var cpuBars = []struct {
	scenario string
	most     float64
}{{"small", 0.6}, {"stream", 1}, {"200k", 1.3}, {"2m", 1.8}}

// mostForPool is what a pool of 300 deployments may cost, as a multiple of a pool of one.
const mostForPool = 1.03

// judge holds what was measured against the bars; what was not measured is not judged.
func (r *Report) judge() {
	add := func(name, unit string, got, most float64) {
		r.Bars = append(r.Bars, Bar{name, unit, got, most, got <= most})
	}
	for _, b := range cpuBars {
		if t := r.target(b.scenario, judged); t != nil {
			if ratio, ok := t.Ratios["cpu"]; ok {
				add(b.scenario+": CPU a call beside a bare proxy", "x", ratio.Median, b.most)
			}
		}
	}
	if one, many := r.target("small", "pool-1"), r.target("small", "pool-300"); one != nil && many != nil {
		if ratio, ok := compare(many.Rounds, one.Rounds)["cpu"]; ok {
			add("small: CPU a call with 300 deployments beside one", "x", ratio.Median, mostForPool)
		}
	}
	if ratio, ok := r.addedP99(); ok {
		add("p99 added at half load beside a bare proxy", "x", ratio, 2)
	}
	if t := r.target("slow", judged); t != nil && t.Median.PerStream > 0 {
		add("memory a slow stream", "KB", float64(t.Median.PerStream)/(1<<10), 40)
	}
	if p := r.program(judged); p != nil {
		add("idle memory", "MB", float64(p.Idle)/(1<<20), 40)
		add("start to first answer", "ms", medianFloat(p.Startup), 300)
		if p.Binary > 0 {
			add("binary", "MB", float64(p.Binary)/(1<<20), 40)
		}
	}
	errors := int64(0)
	for _, s := range r.Scenarios {
		if t := s.find(judged); t != nil {
			errors += t.Median.Errors
		}
	}
	if len(r.Bars) > 0 {
		add("wrong answers", "", float64(errors), 0)
	}
}

func (r *Report) target(scenario, target string) *TargetReport {
	if s := r.scenario(scenario); s != nil {
		return s.find(target)
	}
	return nil
}

// addedP99 is what the judged target adds to the upstream's own p99 at half load, as a multiple of what the proxy adds. It
// is taken of the medians: a difference of two tails of one round is mostly noise.
func (r *Report) addedP99() (float64, bool) {
	direct, base, own := r.target("halfload", "direct"), r.target("halfload", baseline), r.target("halfload", judged)
	if direct == nil || base == nil || own == nil {
		return 0, false
	}
	d := direct.Median.P99
	// Below a tenth of the upstream's own p99 the difference is noise too, and a ratio of two noises says nothing.
	floor := d / 10
	return max(own.Median.P99-d, floor) / max(base.Median.P99-d, floor), d > 0
}

// missed are the bars that were not met.
func (r *Report) missed() []Bar {
	return slices.DeleteFunc(slices.Clone(r.Bars), func(b Bar) bool { return b.Met })
}
