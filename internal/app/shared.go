package app

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"sluice/internal/backend/redis"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/telemetry"
	"sluice/internal/upstream"
)

func openRedis(c *config.Redis, log *slog.Logger) (*redis.Store, error) {
	o, err := redisOptions(c, log)
	if err != nil {
		return nil, err
	}
	s, err := redis.Open(o)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return s, nil
}

func redisOptions(c *config.Redis, log *slog.Logger) (redis.Options, error) {
	o := redis.Options{
		URL: string(c.URL), Addresses: c.Addresses, Sentinel: c.Sentinel, Cluster: c.Cluster, Prefix: c.Prefix, Log: log,
		SentinelUser: c.SentinelUser, SentinelPassword: string(c.SentinelPassword),
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return o, fmt.Errorf("redis.ca: %w", err)
		}
		o.CAs = x509.NewCertPool()
		if !o.CAs.AppendCertsFromPEM(pem) {
			return o, fmt.Errorf("redis.ca: %s holds no certificate", c.CA)
		}
	}
	return o, nil
}

// changed tells operators what became of a deployment or credential.
func (a *App) changed(c upstream.Change) {
	level := slog.LevelInfo
	switch c.Event {
	case "breaker_open", "credential_refused":
		level = slog.LevelWarn
	}
	attrs := []any{"event", c.Event, "deployment", c.Deployment}
	if c.Mode != "" {
		attrs = append(attrs, "mode", string(c.Mode))
	}
	if !c.Until.IsZero() {
		attrs = append(attrs, "until", c.Until.UTC())
	}
	if c.Class != "" {
		attrs = append(attrs, "class", c.Class)
	}
	if c.Remote {
		attrs = append(attrs, "told_by", "another replica")
	}
	a.log.Log(nil, level, "upstream changed", attrs...) //nolint:staticcheck // handlers of the standard library ignore the context
	a.metrics.UpstreamChanged(c.Event)
}

// heardRevoked takes over a key that another replica was told to refuse.
func (a *App) heardRevoked(public string) {
	if err := a.revoked.Add(public); err != nil {
		a.log.Error("a revoked key is refused, but not kept for the next start", "key", public, "error", err.Error())
	}
}

func (a *App) upstreamStates() []telemetry.UpstreamState {
	views := a.fleet.Views()
	states := make([]telemetry.UpstreamState, len(views))
	for i := range views {
		v := &views[i]
		states[i] = telemetry.UpstreamState{
			Deployment: v.Deployment, Callable: v.State == llm.Free.String(), InFlight: int(v.InFlight), Waiting: v.Waiting, Latency: v.LatencyMs / 1000,
		}
	}
	return states
}
