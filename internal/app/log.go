package app

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"sluice/internal/config"
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
	}
}
