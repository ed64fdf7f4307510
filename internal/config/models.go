package config

import (
	"time"

	"sluice/internal/llm"
)

// Model is a name that clients may use, and what it stands for: one upstream, a group of deployments, or
// another entry.
type Model struct {
	// The name. Unique. One * in it stands for anything, and for the same in the deployments' model.
	Name string `yaml:"name" required:"true" example:"fast"`
	// The provider it goes to, with each of the provider's credentials. Left out, and without deployments, model is another entry's name.
	Provider string `yaml:"provider" example:"openai"`
	// The upstream's name for it.
	Model string `yaml:"model" example:"gpt-4o-mini"`
	// Instead of provider: the places that can serve it.
	Deployments []Deployment `yaml:"deployments"`
	// How one of several deployments is chosen; docs/routing.md has the formulas. Left out: weighted.
	Strategy string `yaml:"strategy" enum:"weighted,round-robin,least-busy,latency,cost,priority,p2c,sticky" example:"latency"`
	// Models that are tried, in order, when no deployment of this one could answer.
	Fallback []string `yaml:"fallback" example:"smart"`
	// Models that are tried instead when the request is longer than this one's context.
	FallbackContext []string `yaml:"fallback_context" example:"long"`
	// Models that are tried instead when the provider's content filter refused the request.
	FallbackContent []string `yaml:"fallback_content" example:"other-vendor"`
	// Tokens that fit into its context. A request that is certainly longer goes to fallback_context at once.
	ContextWindow int `yaml:"context_window" min:"0" max:"100000000" example:"128000"`
	// Send a second request to another deployment when the first takes unusually long to begin; the first to begin wins. Costs up to 5 % more calls.
	Hedge bool `yaml:"hedge"`
	// Leave out what the upstream cannot carry, and list it in a header, instead of refusing the call.
	Lenient bool `yaml:"lenient"`
	// How far its answers are kept and given again: off, exact or semantic. Left out: as the key says, else cache.mode.
	Cache string `yaml:"cache" enum:",off,exact,semantic" example:"exact"`
	// It thinks before it answers: first_token_reasoning holds instead of first_token.
	Reasoning bool `yaml:"reasoning"`
	// Waits that differ from the provider's.
	Timeouts Wait `yaml:"timeouts"`
	// Guards that its calls must pass, also where it is what another model falls back to or stands for.
	Guards []string `yaml:"guards" example:"personal-data"`

	// Stored tells that it is one of the store's.
	Stored bool `yaml:"-"`
}

// Deployment is one place that can serve a model.
type Deployment struct {
	// What it is called in logs and in /admin/upstreams. Left out: provider/model.
	Name string `yaml:"name" example:"azure-eu"`
	// The provider.
	Provider string `yaml:"provider" required:"true" example:"openai"`
	// The provider's name for the model. A * is what the * in the entry's name stood for.
	Model string `yaml:"model" required:"true" example:"gpt-4o-mini"`
	// One of the provider's credentials. Left out: each of them, as a deployment of its own.
	Credential string `yaml:"credential" example:"team-a"`
	// Its share of the calls, beside the others' weights.
	Weight int `yaml:"weight" min:"0" max:"1000000" example:"3"`
	// Deployments of a lower tier are tried before those of a higher one.
	Tier int `yaml:"tier" min:"0" max:"100" example:"1"`
	// Most calls under way to it at a time; more wait (queue). Left out: no limit.
	MaxInFlight int `yaml:"max_in_flight" min:"0" max:"1000000" example:"50"`
	// Words by which keys and requests choose among deployments (keys[].tags, X-Sluice-Tags).
	Tags []string `yaml:"tags" example:"eu"`
	// What it costs, for the strategy cost.
	Price Price `yaml:"price"`
}

// Price is what tokens cost.
type Price struct {
	// US dollars for a million input tokens.
	Input llm.Rate `yaml:"input" example:"0.15"`
	// US dollars for a million output tokens.
	Output llm.Rate `yaml:"output" example:"0.60"`
}

// Retries bound what a failed call may cost its upstreams.
type Retries struct {
	// Most upstream calls for one request, over all retries and fallbacks.
	Attempts int `yaml:"attempts" min:"1" max:"20" example:"2"`
	// Time after a call's start from which on no further try begins.
	Within time.Duration `yaml:"within" example:"10s"`
	// Second tries at one provider, in percent of the calls it got, over the last ten seconds.
	BudgetPercent int `yaml:"budget_percent" min:"1" max:"100" example:"10"`
	// Second tries a second that a provider always gets, however few calls there are.
	BudgetFloor int `yaml:"budget_floor" min:"1" max:"10000" example:"5"`
}

// Breaker says when a deployment that fails is left alone.
type Breaker struct {
	// It opens when this share of the calls in the window failed, in percent.
	FailuresPercent int `yaml:"failures_percent" min:"1" max:"100" example:"30"`
	// The least number of calls in the window that says anything.
	Requests int `yaml:"requests" min:"1" max:"10000" example:"20"`
	// The window, in whole seconds, at most 15.
	Window time.Duration `yaml:"window" example:"15s"`
	// It opens after so many failures to connect in a row.
	ConnectErrors int `yaml:"connect_errors" min:"1" max:"1000" example:"3"`
	// How long it stays open at first; each time in a row that it opens doubles this.
	Open time.Duration `yaml:"open" example:"10s"`
	// The longest it stays open, also when an upstream's Retry-After says more.
	OpenMax time.Duration `yaml:"open_max" example:"5m"`
	// Half-open, it lets one call through in this time, over all replicas.
	Probe time.Duration `yaml:"probe" example:"10s"`
	// Calls that must succeed for it to close.
	Successes int `yaml:"successes" min:"1" max:"100" example:"3"`
}

// Queue is the waiting line before deployments that are full.
type Queue struct {
	// Most calls that wait for one deployment. The keys take turns.
	Length int `yaml:"length" min:"1" max:"100000" example:"500"`
	// Longest wait.
	Wait time.Duration `yaml:"wait" example:"10s"`
}

// Model resolves a name of models[] through other names to where it is served. Of the entries on the way,
// the first that says something wins.
func (c *Config) Model(name string) (Model, bool) {
	m, ok := c.entry(name)
	for ok && m.alias() {
		var next Model
		if next, ok = c.entry(m.Model); ok {
			m.Provider, m.Model, m.Deployments = next.Provider, next.Model, next.Deployments
			m.Lenient = m.Lenient || next.Lenient
			m.Reasoning = m.Reasoning || next.Reasoning
			m.Hedge = m.Hedge || next.Hedge
			m.Timeouts = m.Timeouts.or(next.Timeouts)
			if m.Strategy == "" {
				m.Strategy = next.Strategy
			}
			if m.Cache == "" {
				m.Cache = next.Cache
			}
			if m.ContextWindow == 0 {
				m.ContextWindow = next.ContextWindow
			}
			m.Fallback = orList(m.Fallback, next.Fallback)
			m.FallbackContext = orList(m.FallbackContext, next.FallbackContext)
			m.FallbackContent = orList(m.FallbackContent, next.FallbackContent)
		}
	}
	return m, ok
}

// alias tells whether the entry stands for another one.
func (m *Model) alias() bool { return m.Provider == "" && m.Deployments == nil }

// Places are the deployments of a resolved model: those listed, else the one that provider and model name.
func (m *Model) Places() []Deployment {
	if m.Deployments != nil {
		return m.Deployments
	}
	return []Deployment{{Name: m.Provider + "/" + m.Model, Provider: m.Provider, Model: m.Model}}
}

// orList is a, or b where a was not said. An empty list was.
func orList(a, b []string) []string {
	if a != nil {
		return a
	}
	return b
}

func (c *Config) entry(name string) (Model, bool) {
	for _, m := range c.Models {
		if m.Name == name {
			return m, true
		}
	}
	return Model{}, false
}

// Secrets are a provider's credentials: those listed, else the one of api_key, which has no name.
func (p *Provider) Secrets() []Credential {
	if p.Credentials != nil {
		return p.Credentials
	}
	return []Credential{{APIKey: p.APIKey}}
}

// nameDeployments gives every deployment that has no name the one that says where it is.
func (m *Model) nameDeployments() {
	for i := range m.Deployments {
		if d := &m.Deployments[i]; d.Name == "" {
			d.Name = d.Provider + "/" + d.Model
			if d.Credential != "" {
				d.Name += "#" + d.Credential
			}
		}
	}
}

// Redis says where the replicas' common memory is.
type Redis struct {
	// redis://[user:password@]host:port[/database], or rediss:// for TLS. Sentinel and Cluster: any of the servers.
	URL llm.Secret `yaml:"url" restart:"true" example:"rediss://sluice:${REDIS_PASSWORD}@redis.internal:6379/0"`
	// More servers, host:port, of a cluster or of the sentinels.
	Addresses []string `yaml:"addresses" restart:"true" example:"redis-2.internal:6379"`
	// The name of the master that sentinels watch. With it, url and addresses are the sentinels'.
	Sentinel string `yaml:"sentinel" restart:"true" example:"mymaster"`
	// The sentinels' own user, where they want one.
	SentinelUser string `yaml:"sentinel_user" restart:"true" example:"sluice"`
	// The sentinels' own password, where they want one; that of url is the servers'.
	SentinelPassword llm.Secret `yaml:"sentinel_password" restart:"true" example:"${SENTINEL_PASSWORD}"`
	// The servers are a cluster.
	Cluster bool `yaml:"cluster" restart:"true"`
	// What keys and channels begin with; gateways that share a server and must not share state need different ones.
	Prefix string `yaml:"prefix" restart:"true" pattern:"^[a-z0-9][a-z0-9_-]*$" example:"sluice-staging"`
	// PEM file with the certificate authorities to trust instead of the system's.
	CA string `yaml:"ca" restart:"true" example:"/etc/sluice/redis-ca.pem"`
}
