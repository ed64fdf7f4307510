package bench

import (
	"context"
	"fmt"
	"os"
	"time"
)

// session is one invocation: the settings, the programs, and what was measured so far.
type session struct {
	*Command
	lab      *lab
	report   *Report
	progress *progress
}

// starts is how often each program is started, for the median of its start-up time.
const starts = 3

// launch starts every target, and measures how long that takes and what memory it holds at rest.
func (s *session) launch(ctx context.Context) error {
	for _, t := range s.lab.targets {
		s.progress.next("start "+t.name, time.Second)
		for i := range starts {
			if err := t.launch(ctx); err != nil {
				return err
			}
			if t.argv == nil {
				break
			}
			if i+1 < starts {
				t.halt()
			}
		}
		if err := t.rest(ctx, s.settle); err != nil {
			return err
		}
	}
	return nil
}

// estimate is how long all of it should take, for the progress bar.
func (s *session) estimate(list []scenario) time.Duration {
	all := time.Duration(len(s.lab.targets)) * time.Second
	for _, sc := range list {
		switch sc.kind {
		case held:
			all += time.Duration(len(s.lab.targets)) * s.holdTime()
		case openLoop:
			all += s.runTime()
			fallthrough
		default:
			all += time.Duration(len(s.lab.targets)*s.Rounds) * s.runTime()
		}
	}
	return all
}

func (s *session) runTime() time.Duration { return s.Duration * 6 / 5 }

// holdTime is about what a run of held streams takes: opening them, and watching them.
func (s *session) holdTime() time.Duration { return time.Second + (1+watched)*s.settle }

// measure runs one scenario against all targets, alternating.
func (s *session) measure(ctx context.Context, sc *scenario) error {
	out := ScenarioReport{Name: sc.name, About: sc.about}
	for _, t := range s.lab.targets {
		out.Targets = append(out.Targets, TargetReport{Target: t.name})
	}
	rounds := s.Rounds
	var run func(context.Context, *target) (Result, error)
	if sc.kind == held {
		rounds = 1
		out.About = fmt.Sprintf("%d %s", s.Streams, sc.about)
		run = func(ctx context.Context, t *target) (Result, error) {
			s.progress.next(sc.name+" "+t.name, s.holdTime())
			return sc.hold(ctx, t, s.Streams, s.settle)
		}
	} else {
		check, err := s.reference(sc)
		if err != nil {
			return err
		}
		workers, rate := sc.workers, s.Rate
		if s.Connections > 0 {
			workers = s.Connections
		}
		if sc.kind == openLoop && rate == 0 {
			if rate, err = s.half(ctx); err != nil {
				return err
			}
		}
		if rate > 0 {
			out.About += fmt.Sprintf(", %.0f calls/s", rate)
		}
		checks := map[string]*checker{}
		run = func(ctx context.Context, t *target) (Result, error) {
			s.progress.next(sc.name+" "+t.name, s.runTime())
			if checks[t.name] == nil {
				checks[t.name] = &checker{want: check}
			}
			return sc.run(ctx, t, checks[t.name], s.Duration, rate, workers)
		}
	}
	for range rounds {
		for i, t := range s.lab.targets {
			r, err := run(ctx, t)
			if err != nil {
				return err
			}
			out.Targets[i].Rounds = append(out.Targets[i].Rounds, r)
		}
	}
	s.report.Scenarios = append(s.report.Scenarios, out)
	return nil
}

// reference asks the upstream itself for the scenario's answer.
func (s *session) reference(sc *scenario) (expected, error) {
	direct := &target{name: "direct", addr: s.lab.mockAt, path: "/v1"}
	c := client{addr: direct.addr, timeout: timeout, keep: true}
	defer c.close()
	h, err := c.do(sc.request(direct))
	if err == nil && h.status != 200 {
		err = fmt.Errorf("status %d: %.200s", h.status, c.body)
	}
	if err != nil {
		return expected{}, fmt.Errorf("ask the upstream for the answer of %s: %w", sc.name, err)
	}
	want, err := learn(sc.stream, sc.usage, c.body)
	if err != nil {
		return expected{}, fmt.Errorf("the upstream's own answer of %s: %w", sc.name, err)
	}
	return want, nil
}

// half is half of what the baseline, or else the first target, does of small calls at its best.
func (s *session) half(ctx context.Context) (float64, error) {
	base := s.lab.targets[0]
	for _, t := range s.lab.targets {
		if t.name == baseline {
			base = t
		}
	}
	if done := s.report.target("small", base.name); done != nil {
		return summarise(done.Rounds).Throughput / 2, nil
	}
	sc, err := findScenario("small")
	if err != nil {
		return 0, err
	}
	want, err := s.reference(&sc)
	if err != nil {
		return 0, err
	}
	s.progress.next("peak of "+base.name, s.runTime())
	r, err := sc.run(ctx, base, &checker{want: want}, s.Duration, 0, sc.workers)
	return r.Throughput / 2, err
}

// programs notes the figures of the programs themselves.
func (s *session) programs() {
	for _, t := range s.lab.targets {
		if t.argv == nil {
			continue
		}
		p := Program{Target: t.name, Idle: t.idle}
		for _, d := range t.startup {
			p.Startup = append(p.Startup, float64(d.Microseconds())/1e3)
		}
		if info, err := os.Stat(t.bin); t.bin != "" && err == nil {
			p.Binary = info.Size()
		}
		s.report.Programs = append(s.report.Programs, p)
	}
}
