package app

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"

	"sluice/internal/catalog"
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
	transports []*upstream.Transport
}

func (b *built) close() {
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
	var serving []catalog.Provider
	for _, p := range a.providers(cfg) {
		t, err := transport(cfg, &p)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		b.transports = append(b.transports, t)
		provider, err := newProvider(&p, t)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		ups[p.Name] = upstream.Upstream{Provider: provider, Secret: p.APIKey, List: !slices.Contains(mocks, p.Name)}
		serving = append(serving, catalog.Provider{Name: p.Name, Owns: owned(&p), Target: llm.Target{Timeouts: cfg.Wait(&p, nil)}})
	}
	keys, err := a.keys(cfg)
	if err != nil {
		return nil, err
	}
	b.state = &gateway.State{
		Auth:   keys,
		Router: route.New(catalog.New(models(cfg), serving)),
		Pool:   upstream.NewPool(ups, cfg.Wait(nil, nil), int64(cfg.Limits.Answer)),
		Ledger: usage.New(a.recorder(ups)),
		Limits: gateway.Limits{
			Body: int64(cfg.Limits.Body), BodyTimeout: cfg.Limits.BodyTimeout, BodyMinRate: int64(cfg.Limits.BodyMinRate),
			Write: wire.WriteLimits{KeepAlive: cfg.Timeouts.KeepAliveComment, Stall: cfg.Limits.WriteStall},
		},
	}
	return b, nil
}

// providers are the configured ones and, when it is on, the built-in fake upstream in its three dialects.
func (a *App) providers(cfg *config.Config) []config.Provider {
	if a.mock == nil {
		return cfg.Providers
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	return append(slices.Clone(cfg.Providers),
		config.Provider{Name: "mock", Kind: "openai", BaseURL: a.mock.url + "/v1", APIKey: "mock", AllowPrivate: loopback},
		config.Provider{Name: "mock-anthropic", Kind: "anthropic", BaseURL: a.mock.url, APIKey: "mock", AllowPrivate: loopback},
		config.Provider{Name: "mock-gemini", Kind: "gemini", BaseURL: a.mock.url, APIKey: "mock", AllowPrivate: loopback},
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

func models(cfg *config.Config) []catalog.Model {
	var out []catalog.Model
	for _, entry := range cfg.Models {
		m, ok := cfg.Model(entry.Name)
		if !ok {
			continue // config has refused it
		}
		var p *config.Provider
		if i := slices.IndexFunc(cfg.Providers, func(p config.Provider) bool { return p.Name == m.Provider }); i >= 0 {
			p = &cfg.Providers[i]
		}
		out = append(out, catalog.Model{Name: entry.Name, Target: llm.Target{
			Provider: m.Provider, Model: m.Model, Lenient: m.Lenient, Timeouts: cfg.Wait(p, &m),
		}})
	}
	if cfg.Mock.Enabled {
		for _, provider := range mocks {
			for _, name := range mockModels {
				out = append(out, catalog.Model{Name: provider + "/" + name, Target: llm.Target{Provider: provider, Model: name}})
			}
		}
	}
	return out
}
