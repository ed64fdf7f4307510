// Package config turns sluice.yaml into one validated, immutable value. It knows what the document may
// say and what a field left out means; it starts nothing, opens no socket and keeps no state.
//
// The comments of the fields below are the reference: config.schema.json and docs/configuration.md are
// made from them (go test ./internal/config -update).
package config

import (
	"net/netip"
	"time"

	"sluice/internal/llm"
)

// Config is a whole configuration with every default filled in. It is shared by all calls: nobody
// changes it once it was loaded.
type Config struct {
	// Address of the API, host:port. An empty host means all interfaces.
	Listen string `yaml:"listen" example:"127.0.0.1:3001" restart:"true"`
	// The listener for operators.
	Admin Admin `yaml:"admin"`
	// How people sign in to manage the gateway.
	SignIn SignIn `yaml:"sign_in"`
	// Certificate of the API listener. Without it the listener speaks plain HTTP/1.1 (and h2c, if asked). A renewed certificate is taken up by itself; turning TLS on or off needs a restart.
	TLS TLS `yaml:"tls"`
	// Accept HTTP/2 by prior knowledge on a listener without TLS.
	H2C bool `yaml:"h2c" restart:"true"`
	// Directory for what Sluice itself must remember: the pepper and, where store.url is left out, the store of keys and accounts. Made with mode 0700.
	Data string `yaml:"data" example:"/var/lib/sluice"`
	// What one request, answer or connection may take.
	Limits Limits `yaml:"limits"`
	// How long an upstream may take. Providers and models may say otherwise.
	Timeouts Timeouts `yaml:"timeouts"`
	// Who may call. With none, a first key is made at the first start and shown once.
	Keys []Key `yaml:"keys"`
	// What is mixed into the hash of every key, at least 32 characters. Replicas that share a store must have the same. Left out: the file pepper in the data directory.
	Pepper llm.Secret `yaml:"pepper" example:"${SLUICE_PEPPER}" restart:"true"`
	// What keys, teams, users, projects and models may consume, in money, tokens, requests and calls at a time.
	Rules []SharedRule `yaml:"rules"`
	// Where keys, their owners and the ledger are kept.
	Store Store `yaml:"store"`
	// How secrets are kept that are set by the admin API (docs/settings.md).
	Secrets Secrets `yaml:"secrets"`
	// How calls are accounted for.
	Ledger Ledger `yaml:"ledger"`
	// How the log of what people do to the gateway is signed, and where else its checkpoints go.
	Audit Audit `yaml:"audit"`
	// What models cost, beside the prices in the program and those of sluice prices update.
	Prices Prices `yaml:"prices"`
	// What single providers charge for models. It wins over price files; a deployment's own price wins over it.
	ModelPrices []ModelPrice `yaml:"model_prices"`
	// What becomes of a call whose client leaves.
	Disconnect Disconnect `yaml:"disconnect"`
	// Who is told that a budget runs out.
	Alerts Alerts `yaml:"alerts"`
	// How long a call is remembered that its client gave an Idempotency-Key.
	Idempotency Idempotency `yaml:"idempotency"`
	// Which answers are kept and given again (docs/cache.md).
	Cache Cache `yaml:"cache"`
	// Where calls can go.
	Providers []Provider `yaml:"providers"`
	// Names that clients may use beside the providers' own.
	Models []Model `yaml:"models"`
	// What is looked for in calls before an upstream gets them, and in answers.
	Guards []Guard `yaml:"guards"`
	// What happens after an upstream failed.
	Retries Retries `yaml:"retries"`
	// When a deployment or a credential that fails is left alone, and for how long.
	Breaker Breaker `yaml:"breaker"`
	// Where calls wait when every deployment of their model has as many as it may (max_in_flight).
	Queue Queue `yaml:"queue"`
	// What replicas share. Without it each replica knows what it has seen itself.
	Redis Redis `yaml:"redis"`
	// Where log lines go.
	Log Log `yaml:"log"`
	// The built-in upstream that needs no network and no account.
	Mock Mock `yaml:"mock"`

	// Limit are Rules, as package quota counts them: one for each, in their order.
	Limit []llm.Rule `yaml:"-"`
}

// Admin is the listener for operators: metrics, build information and profiles.
type Admin struct {
	// Address of the operators' listener, host:port, or "off".
	Listen string `yaml:"listen" example:"0.0.0.0:3002" restart:"true"`
	// Names, beside localhost and the address itself, that a request's Host header may carry. All others are refused, so that a web page cannot reach the listener through a name of its own (DNS rebinding).
	Hosts []string `yaml:"hosts" example:"sluice-admin.internal" restart:"true"`
	// Whoever sends it as Authorization: Bearer TOKEN is an owner; at least 32 characters. Accounts and their tokens can do without.
	Token llm.Secret `yaml:"token" example:"${SLUICE_ADMIN_TOKEN}" restart:"true"`
	// When a request from this machine itself, which shows nothing, is an owner's: operator, always; never; left out, as long as there is no owner's account. Where token is set, never.
	Loopback string `yaml:"loopback" enum:",operator,never" example:"never" restart:"true"`
	// Address ranges of the proxies in front of the admin listener, whose X-Forwarded-For is believed. The client is then the nearest hop that is none of them; it is what the audit log has, and what too many failed sign-ins lock out. Left out: the peer is the client, whatever a header says.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies" example:"10.20.0.5/32" restart:"true"`
	// Let whoever reaches the listener read /metrics without showing who they are: for scrapers of a trusted network that can send no token. Left out, they need one whose scopes have metrics.read (docs/operations.md).
	OpenMetrics bool `yaml:"open_metrics" restart:"true"`
	// Serve /debug/pprof.
	Pprof bool `yaml:"pprof" restart:"true"`
}

// Secrets says how the secrets are kept that are set by the admin API, and to which ones elsewhere that may refer.
type Secrets struct {
	// What the key-encryption key is made of, at least 32 characters. Replicas that share a store must have the same. Left out: the file secrets.key in the data directory.
	Key llm.Secret `yaml:"key" example:"${SLUICE_SECRETS_KEY}" restart:"true"`
	// Instead of key: a program that wraps and unwraps the keyset, with its arguments. It is run without a shell and with one more argument, wrap or unwrap; it reads the one form on its standard input and writes the other on its standard output.
	Command []string `yaml:"command" example:"/usr/local/bin/sluice-kms" restart:"true"`
	// What secrets that are set by the admin API may refer to instead of being kept in the store: names of environment variables, file:PATH and vault:MOUNT/PATH#FIELD; * stands for anything. Left out: nothing, since whoever may set a provider could have any secret of this machine sent to it.
	References []string `yaml:"references" example:"OPENAI_API_KEY"`
}

// TLS is a certificate and its key.
type TLS struct {
	// PEM file with the certificate chain, the leaf first.
	Cert string `yaml:"cert" example:"/etc/sluice/tls.crt"`
	// PEM file with the private key.
	Key string `yaml:"key" example:"/etc/sluice/tls.key"`
}

// Limits bound what requests, answers and connections may take.
type Limits struct {
	// Memory that all calls under way may take: each is reckoned as 64 KiB and twice the buffer of its body. What does not fit is refused with a 503 and Retry-After: bodies of 32 KiB and more when three quarters are taken, so that short calls still pass, others when all is. A call that is alone always fits. Left out: half of what the process may use (the least of GOMEMLIMIT, the control group's limit and the machine's memory).
	Memory Size `yaml:"memory" off:"true" example:"1GiB"`
	// Largest request body, after decompression.
	Body Size `yaml:"body" example:"64MiB"`
	// Largest upstream answer that comes whole; a larger one is a 502. It is held in memory, for a moment twice, so this bounds what one call may cost. It does not bound a stream, which is passed on as it comes: of that only one frame is held at a time, of at most 16 MiB. Texts of refusals are read up to 64 KiB whatever this says.
	Answer Size `yaml:"answer" example:"64MiB"`
	// Largest request line and headers together.
	Header Size `yaml:"header" example:"128KiB" restart:"true"`
	// Longest time from a connection's or request's first byte to the end of its headers.
	HeaderTimeout time.Duration `yaml:"header_timeout" example:"5s" restart:"true"`
	// Slowest pace at which a body may arrive, in bytes a second, measured after a few seconds' grace.
	BodyMinRate Size `yaml:"body_min_rate" off:"true" example:"16KiB"`
	// Longest time a body may take to arrive in all.
	BodyTimeout time.Duration `yaml:"body_timeout" example:"30m"`
	// Longest time a kept-alive connection may be without a request.
	IdleTimeout time.Duration `yaml:"idle_timeout" example:"5m" restart:"true"`
	// Longest time a client may leave bytes of its answer unread before it is cut off.
	WriteStall time.Duration `yaml:"write_stall" example:"30s"`
	// Most requests at a time on one HTTP/2 connection.
	MaxStreams int `yaml:"max_streams" min:"1" max:"10000" example:"100" restart:"true"`
	// Longest time that running calls get to finish after SIGTERM.
	Drain time.Duration `yaml:"drain" example:"30s"`
}

// Wait bounds one call to an upstream.
type Wait struct {
	// Longest wait for the first real output.
	FirstToken time.Duration `yaml:"first_token" example:"20s"`
	// Longest silence between two frames of a stream.
	Idle time.Duration `yaml:"idle" example:"90s"`
	// Longest time from a call's start to its end.
	Total time.Duration `yaml:"total" example:"30m"`
}

// ProviderTimeouts are the waits that a provider may set.
type ProviderTimeouts struct {
	// Longest wait for a TCP connection.
	Connect time.Duration `yaml:"connect" example:"1s"`
	// Longest wait for a TLS handshake.
	TLS time.Duration `yaml:"tls" example:"3s"`
	// The first_token of models that think before they answer (models[].reasoning).
	FirstTokenReasoning time.Duration `yaml:"first_token_reasoning" example:"180s"`
	Wait                `yaml:",inline"`
}

// Timeouts are the waits that hold where nothing nearer says otherwise.
type Timeouts struct {
	ProviderTimeouts `yaml:",inline"`
	// Silence after which a streaming client is sent a comment, so that nothing between takes the connection for dead.
	KeepAliveComment time.Duration `yaml:"keep_alive_comment" off:"true" example:"10s"`
}

// Key is one client's permission to call.
type Key struct {
	// What the key is called in logs and errors. Unique.
	Name string `yaml:"name" required:"true" example:"ci"`
	// The whole key, at least 32 characters, made by Sluice or by another gateway. Only its hash is kept after loading.
	Key llm.Secret `yaml:"key" example:"${CI_KEY}"`
	// Instead of key: sha256: and the key's SHA-256 in hex.
	Hash string `yaml:"hash" example:"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	// The models it may use, by the name a client says; * stands for anything.
	Models []string `yaml:"models" example:"gpt-4o*"`
	// The kinds of call it may make (chat, count_tokens, embeddings). None listed means all.
	Endpoints []string `yaml:"endpoints" enum:"chat,count_tokens,embeddings" example:"chat"`
	// Refuse it.
	Disabled bool `yaml:"disabled"`
	// When it ends: a date (its first moment, UTC) or an RFC 3339 time.
	Expires time.Time `yaml:"expires" example:"2030-01-01"`
	// The organisation that its calls are accounted to. Left out: default.
	Organisation string `yaml:"organisation" example:"default"`
	// Its team.
	Team string `yaml:"team" example:"search"`
	// Its user. Left out: it is a service's.
	User string `yaml:"user" example:"ann"`
	// The project that it serves.
	Project string `yaml:"project" example:"chatbot"`
	// What it may consume.
	Rules []Rule `yaml:"rules"`
	// Addresses that may use it, the client's own. Left out: all.
	AllowFrom []netip.Prefix `yaml:"allow_from" example:"10.0.0.0/8"`
	// Tags that a deployment must have, all of them, to serve this key's calls.
	Tags []string `yaml:"tags" example:"eu"`
	// Guards that its calls must pass, beside those of their model.
	Guards []string `yaml:"guards" example:"personal-data"`
	// What its calls may ask for by header: strategy (X-Sluice-Strategy), fallback (X-Sluice-Fallback: off), deadline (X-Request-Timeout-Ms), tags (X-Sluice-Tags). Left out: all; [] means none.
	Overrides []string `yaml:"overrides" enum:"strategy,fallback,deadline,tags" example:"deadline"`
	// How far answers are kept for it: off, exact or semantic. It lessens what its model says; where the model says nothing, it holds instead of cache.mode.
	Cache string `yaml:"cache" enum:",off,exact,semantic" example:"off"`

	// Sum is the SHA-256 of the whole key, whichever way it was given.
	Sum [32]byte `yaml:"-"`
	// Public is the part of a key of our own form that may be logged; "" when only the hash is known.
	Public string `yaml:"-"`
	// Limit are Rules, as package quota counts them.
	Limit []llm.Rule `yaml:"-"`
}

// Provider is one upstream.
type Provider struct {
	// What it is called: "name/model" reaches any of its models. Lower case letters, digits, - and _. Unique.
	Name string `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9_-]*$" example:"openai"`
	// What it speaks: openai, anthropic, gemini or a vendor that is compatible with one of them. Left out, the name says it.
	Kind string `yaml:"kind" example:"openrouter"`
	// Where it is, when not at the vendor's own address.
	BaseURL string `yaml:"base_url" example:"https://eu.api.openai.com/v1"`
	// The credential. It goes to this provider's own host and nowhere else.
	APIKey llm.Secret `yaml:"api_key" example:"${OPENAI_API_KEY}"`
	// Instead of api_key: several credentials, each with its own health. A call that one of them is refused goes on with the next.
	Credentials []Credential `yaml:"credentials"`
	// Proxy on the way to it: http, https or socks5. The environment's proxy settings are not read.
	Proxy llm.Secret `yaml:"proxy" example:"http://proxy.internal:8080"`
	// Private, loopback or otherwise special address ranges it may be in. All others of that sort are refused when dialled.
	AllowPrivate []netip.Prefix `yaml:"allow_private" example:"10.20.0.0/16"`
	// Headers added to every request to it.
	Headers map[string]llm.Secret `yaml:"headers" example:"OpenAI-Organization: org-example"`
	// Names of models that go to it when no entry of models has the name; * stands for anything. The first provider that fits is taken. Left out, the names that its vendor is known for; [] means none.
	Models []string `yaml:"models" example:"gpt-*"`
	// Waits that differ from the general ones.
	Timeouts ProviderTimeouts `yaml:"timeouts"`
	// PEM file with the certificate authorities to trust instead of the system's.
	CA string `yaml:"ca" example:"/etc/sluice/upstream-ca.pem"`
	// How often to ask it whether it is alive, by its list of models, which costs nothing. Left out: never; calls themselves tell.
	HealthCheck time.Duration `yaml:"health_check" example:"30s"`

	// Stored tells that it is one of the store's.
	Stored bool `yaml:"-"`
}

// Credential is one of several that a provider may be called with.
type Credential struct {
	// What it is called in logs and in models[].deployments[].credential. Unique within the provider.
	Name string `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9_-]*$" example:"team-a"`
	// The credential. It goes to this provider's own host and nowhere else.
	APIKey llm.Secret `yaml:"api_key" example:"${OPENAI_API_KEY_A}"`
}

// Log says where log lines go and how many may wait.
type Log struct {
	// The least level that is written: debug, info, warn or error. The line of a call is info, of a failed one warn.
	Level string `yaml:"level" enum:"debug,info,warn,error" example:"warn"`
	// json or text.
	Format string `yaml:"format" enum:"json,text" example:"text" restart:"true"`
	// File to append to instead of standard error.
	File string `yaml:"file" example:"/var/log/sluice.log" restart:"true"`
	// Most bytes of lines that wait to be written. What does not fit is dropped and counted.
	Buffer Size `yaml:"buffer" example:"16MiB" restart:"true"`
}

// Mock is the built-in upstream: models mock/echo, mock/story, mock/tools and mock/reason.
type Mock struct {
	// Offer it as the providers mock, mock-anthropic and mock-gemini, one for each API it speaks. On only in the configuration that serves without a file.
	Enabled bool `yaml:"enabled" restart:"true"`
}

// Mocks are the names of the providers that Mock.Enabled adds.
func Mocks() []string { return []string{"mock", "mock-anthropic", "mock-gemini"} }

// Wait gives the waits of a call of m at p: the model's own, then the provider's, then the general ones.
// Either may be nil.
func (c *Config) Wait(p *Provider, m *Model) llm.Timeouts {
	var own Wait
	reasoning := false
	if m != nil {
		own, reasoning = m.Timeouts, m.Reasoning
	}
	t := c.Dial(p)
	if reasoning {
		t.FirstToken = t.FirstTokenReasoning
	}
	own = own.or(t.Wait)
	return llm.Timeouts{FirstToken: own.FirstToken, Idle: own.Idle, Total: own.Total}
}

// Dial gives all the waits of p, the general ones where p says nothing.
func (c *Config) Dial(p *Provider) ProviderTimeouts {
	if p == nil {
		return c.Timeouts.ProviderTimeouts
	}
	t, all := p.Timeouts, c.Timeouts.ProviderTimeouts
	return ProviderTimeouts{
		Connect:             orElse(t.Connect, all.Connect),
		TLS:                 orElse(t.TLS, all.TLS),
		FirstTokenReasoning: orElse(t.FirstTokenReasoning, all.FirstTokenReasoning),
		Wait:                t.or(all.Wait),
	}
}

func (w Wait) or(v Wait) Wait {
	return Wait{orElse(w.FirstToken, v.FirstToken), orElse(w.Idle, v.Idle), orElse(w.Total, v.Total)}
}

func orElse(d, other time.Duration) time.Duration {
	if d != 0 {
		return d
	}
	return other
}
