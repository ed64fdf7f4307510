package app

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"sluice/internal/config"
	"sluice/internal/quota"
	"sluice/internal/telemetry"
	"sluice/internal/upstream"
	"sluice/internal/usage"
)

// logs is where the program's lines go.
type logs struct {
	out    *telemetry.Writer
	file   *os.File // nil: standard error
	level  *slog.LevelVar
	text   slog.Handler // nil: JSON
	logger *slog.Logger
}

func openLog(cfg config.Log, stderr io.Writer) (*logs, error) {
	l := &logs{level: new(slog.LevelVar)}
	out := stderr
	if cfg.File != "" {
		f, err := os.OpenFile(cfg.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		l.file, out = f, f
	}
	if err := l.level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	l.out = telemetry.NewWriter(out, int(cfg.Buffer))
	options := &slog.HandlerOptions{Level: l.level}
	if cfg.Format == "text" {
		l.text = slog.NewTextHandler(l.out, options)
		l.logger = slog.New(l.text)
	} else {
		l.logger = slog.New(slog.NewJSONHandler(l.out, options))
	}
	return l, nil
}

func (l *logs) close() {
	_ = l.out.Close()
	if l.file != nil {
		_ = l.file.Close()
	}
}

// recorder is what happens to the account of each call that ended.
func (a *App) recorder(upstreams map[string]upstream.Upstream) func(*usage.Entry) {
	calls := telemetry.NewCallLog(a.logs.out, a.logs.text, a.logs.level.Level())
	return func(e *usage.Entry) {
		calls.Record(e)
		if _, ok := upstreams[e.Target.Provider]; !ok {
			e.Target.Provider = "" // only configured names become labels
		}
		a.metrics.Record(e)
		if e.Err != nil {
			if r, ok := errors.AsType[*quota.Refusal](e.Err); ok {
				a.metrics.Refused(limitNames[r.Kind])
			}
		}
	}
}

// limitNames are what metrics call the kinds of limits.
var limitNames = map[quota.Kind]string{
	quota.Requests: "requests", quota.Tokens: "tokens", quota.Parallel: "parallel", quota.Money: "money", quota.TokenBudget: "token_budget",
}

// ledgerState is what metrics tell of the ledger and of the cache of keys.
func (a *App) ledgerState() telemetry.LedgerState {
	j, k := a.money.journal.Stats(), a.people.cache.Stats()
	s := telemetry.LedgerState{
		Appended: j.Last, Shipped: j.Shipped, Settled: j.Settled, Open: j.Open, Bytes: j.Bytes, Late: j.Late, Dropped: j.Dropped, Failures: j.Failures,
		Damages: j.Damages, Known: k.Known, Unknown: k.Unknown,
	}
	if j.Trouble != nil {
		s.Trouble = time.Since(j.Since)
	}
	return s
}
