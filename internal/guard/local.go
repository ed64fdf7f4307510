package guard

import (
	"context"

	"sluice/internal/guard/pii"
)

// Local is a detector that looks by itself, with what package pii knows. drop are types that it finds and that do not count.
func Local(s *pii.Scanner, drop func(kind string) bool) Detector { return &local{s, drop} }

type local struct {
	s    *pii.Scanner
	drop func(kind string) bool
}

// Name implements Detector.
func (*local) Name() string { return "pii" }

// Detect implements Detector. It reads whatever there is, so long as the call goes on.
func (l *local) Detect(ctx context.Context, texts []string, found func(text int, f Finding)) error {
	var list []pii.Finding
	for i, text := range texts {
		if i&255 == 255 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		list = l.s.Scan(text, list[:0])
		for j := range list {
			if f := l.finding(&list[j]); f.Type != "" {
				found(i, f)
			}
		}
	}
	return nil
}

func (l *local) finding(f *pii.Finding) Finding {
	kind := string(f.Entity)
	if l.drop != nil && l.drop(kind) {
		return Finding{}
	}
	return Finding{kind, f.Start, f.End}
}

// Follow implements Follower.
func (l *local) Follow() Follow { return &localFollow{l, l.s.Stream()} }

type localFollow struct {
	l *local
	s *pii.Stream
}

// Next implements Follow.
func (f *localFollow) Next(piece string) (int, []Finding, error) { return f.give(f.s.Next(piece)) }

// Close implements Follow.
func (f *localFollow) Close() (int, []Finding, error) { return f.give(f.s.Close()) }

func (f *localFollow) give(part string, list []pii.Finding) (int, []Finding, error) {
	var out []Finding
	for i := range list {
		if v := f.l.finding(&list[i]); v.Type != "" {
			out = append(out, v)
		}
	}
	return len(part), out, nil
}
