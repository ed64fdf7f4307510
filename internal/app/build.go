package app

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sync"

	"sluice/internal/auth"
	"sluice/internal/config"
	"sluice/internal/gateway"
	"sluice/internal/llm"
	openaiapi "sluice/internal/provider/openai"
	"sluice/internal/route"
	"sluice/internal/upstream"
	"sluice/internal/usage"
	"sluice/internal/wire"
)

// built is one state with what must be closed when it is replaced.
type built struct {
	state      *gateway.State
	pool       *upstream.Pool
	callers    []*auth.Who
	prices     [sha256.Size]byte // of the price files
	transports []*upstream.Transport
	stop       context.CancelFunc // ends the health checks; nil: not started
	checks     sync.WaitGroup
}

// watch starts the health checks of the state's upstreams, which end with it.
func (b *built) watch(ctx context.Context) {
	ctx, b.stop = context.WithCancel(ctx)
	b.checks.Go(func() { b.pool.Check(ctx) })
}

func (b *built) close() {
	if b.stop != nil {
		b.stop()
		b.checks.Wait()
	}
	for _, t := range b.transports {
		t.CloseIdle()
	}
}

// Kinds names the provider kinds that a configuration may use.
func Kinds() []string {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// build makes the whole state of a configuration. Nothing of it is visible until it is swapped in.
func (a *App) build(cfg *config.Config) (*built, error) {
	b := &built{}
	ups := make(map[string]upstream.Upstream)
	providers := packed(a.providers(cfg))
	for _, p := range providers {
		t, err := transport(cfg, &p)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		b.transports = append(b.transports, t)
		provider, err := newProvider(&p, t)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		up := upstream.Upstream{Provider: provider, Secrets: make(map[string]llm.Secret), List: !slices.Contains(mocks, p.Name), Check: p.HealthCheck}
		for _, c := range p.Secrets() {
			up.Secrets[c.Name] = c.APIKey
		}
		ups[p.Name] = up
	}
	b.prices = pricesSum(cfg)
	prices, err := newPricing(cfg, providers)
	if err != nil {
		return nil, err
	}
	keys, callers, err := a.keys(cfg)
	if err != nil {
		return nil, err
	}
	chain, transports, err := guards(cfg)
	if err != nil {
		return nil, err
	}
	b.transports = append(b.transports, transports...)
	places := newPlaces(cfg, providers)
	known := places.catalog(prices)
	pool := upstream.NewPool(poolOptions(cfg, ups, places.list, a.fleet))
	b.pool, b.callers = pool, callers
	b.state = &gateway.State{
		Auth:     keys,
		Router:   route.New(route.Options{Catalog: known, Load: pool.Load, Gauge: pool.Gauge, Replicas: pool.Replicas}),
		Pool:     pool,
		Ledger:   usage.New(usage.Options{Record: a.recorder(ups), Journal: a.money.journal, Price: prices.mark}),
		NoLedger: a.money.journal == nil, Guards: chain,
		Limiter: a.money.limiter, Outputs: a.money.outputs, Once: a.money.once, Price: prices.price, Totals: a.totals,
		Cache: a.cache, CacheRules: cacheRules(cfg, providers),
		Limits: gateway.Limits{
			Memory: callsMemory(cfg, os.DirFS("/")),
			Body:   int64(cfg.Limits.Body), BodyTimeout: cfg.Limits.BodyTimeout, BodyMinRate: int64(cfg.Limits.BodyMinRate),
			Write: wire.WriteLimits{KeepAlive: cfg.Timeouts.KeepAliveComment, Stall: cfg.Limits.WriteStall},
		},
	}
	if cfg.Disconnect.Policy == "drain" {
		b.state.Linger = cfg.Disconnect.Drain
	}
	return b, nil
}

func poolOptions(cfg *config.Config, ups map[string]upstream.Upstream, list []upstream.Deployment, fleet *upstream.Fleet) upstream.Options {
	r, b := cfg.Retries, cfg.Breaker
	return upstream.Options{
		Upstreams: ups, Deployments: list, Fleet: fleet,
		Timeouts: cfg.Wait(nil, nil), MaxAnswer: int64(cfg.Limits.Answer),
		Attempts: r.Attempts, Within: r.Within, QueueLength: cfg.Queue.Length, QueueWait: cfg.Queue.Wait,
		Budget: upstream.BudgetRules{Percent: r.BudgetPercent, Floor: r.BudgetFloor},
		Breaker: upstream.BreakerRules{
			FailuresPercent: b.FailuresPercent, Requests: b.Requests, Window: b.Window, ConnectErrors: b.ConnectErrors,
			Open: b.Open, OpenMax: b.OpenMax, Probe: b.Probe, Successes: b.Successes,
		},
	}
}

// providers are the configured ones and, when it is on, the built-in fake upstream in its three dialects.
func (a *App) providers(cfg *config.Config) []config.Provider {
	if a.mock == nil {
		return cfg.Providers
	}
	return withMocks(cfg, a.mock.url)
}

func withMocks(cfg *config.Config, at string) []config.Provider {
	if !cfg.Mock.Enabled {
		return cfg.Providers
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	return append(slices.Clone(cfg.Providers),
		config.Provider{Name: "mock", Kind: "openai", BaseURL: at + "/v1", APIKey: "mock", AllowPrivate: loopback},
		config.Provider{Name: "mock-anthropic", Kind: "anthropic", BaseURL: at, APIKey: "mock", AllowPrivate: loopback},
		config.Provider{Name: "mock-gemini", Kind: "gemini", BaseURL: at, APIKey: "mock", AllowPrivate: loopback},
	)
}

func transport(cfg *config.Config, p *config.Provider) (*upstream.Transport, error) {
	dial := cfg.Dial(p)
	o := upstream.TransportOptions{Connect: dial.Connect, TLS: dial.TLS, AllowPrivate: p.AllowPrivate}
	if p.Proxy != "" {
		u, err := url.Parse(string(p.Proxy))
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		o.Proxy = u
	}
	if p.CA != "" {
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		o.RootCAs = x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate", p.CA)
		}
	}
	return upstream.NewTransport(o), nil
}

func newProvider(p *config.Provider, t llm.Transport) (llm.Provider, error) {
	make, ok := kinds[kindOf(p)]
	if !ok {
		return nil, fmt.Errorf("there is no provider kind %q", kindOf(p))
	}
	headers := http.Header{}
	for name, v := range p.Headers {
		headers.Set(name, string(v))
	}
	return make(upstreamSpec{name: p.Name, kind: kindOf(p), baseURL: p.BaseURL, headers: headers, transport: t})
}

// kindOf is a provider's kind; left out, its name says it.
func kindOf(p *config.Provider) string {
	if p.Kind == "" {
		return p.Name
	}
	return p.Kind
}

// owned are the globs of bare model names that mean a provider: as configured, else as its vendor has them.
func owned(p *config.Provider) []string {
	if p.Models != nil {
		return p.Models
	}
	switch kind := kindOf(p); kind {
	case "anthropic":
		return []string{"claude-*"}
	case "gemini":
		return []string{"gemini-*", "gemma-*"}
	default:
		return openaiapi.Owned(kind)
	}
}
