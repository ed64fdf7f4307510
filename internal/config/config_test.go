package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
)

// values are compared as such.
var values = []cmp.Option{
	cmpopts.EquateComparable(netip.Prefix{}), cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
}

const goodKey = "k9Qz3vXw7LmT2pRb8NcY5hJd1FsG4aZx"

var kinds = []string{"openai", "anthropic", "gemini", "openrouter", "ollama"}

// valid documents, each taken by Parse and by the schema.
var valid = map[string]string{
	"mock": "mock: {enabled: true}\n",
	"full": `
listen: 0.0.0.0:8443
admin: {listen: "off", hosts: [sluice-admin.internal], trusted_proxies: [10.20.0.0/24], token: "${CI_KEY}", pprof: "${PPROF:-true}"}
h2c: true
data: /var/lib/sluice
limits:
  memory: 512MiB
  body: 64MiB
  answer: 1048576
  header: 128KiB
  header_timeout: 5s
  body_min_rate: "off"
  body_timeout: 10m
  idle_timeout: 90s
  write_stall: 30s
  max_streams: 100
  drain: 1m30s
timeouts: {connect: 1s, tls: 2s, first_token: 20s, first_token_reasoning: 3m, idle: 30s, total: 5m, keep_alive_comment: 10s}
keys:
  - name: ci
    key: "${CI_KEY}"
    models: [gpt-4o*]
    endpoints: [chat]
    expires: 2030-01-31
    tags: [eu]
    overrides: [deadline, tags]
    organisation: acme
    team: search
    user: ann
    project: chatbot
    allow_from: [10.0.0.0/8]
    rules: [{name: pace, requests: [5/second, 100/hour], tokens: [1000/minute], parallel: 3}]
  - {name: old, hash: "sha256:` + strings.Repeat("ab", 32) + `", disabled: true}
providers:
  - name: openai
    api_key: ${OPENAI_API_KEY}
    models: ["gpt-*"]
    headers: {OpenAI-Organization: org-example, X-Literal: "a$${b}"}
    timeouts: {first_token: 10s}
  - {name: local, kind: ollama, base_url: "http://127.0.0.1:11434/v1", allow_private: [127.0.0.0/8], proxy: "socks5://u:p@proxy:1080"}
  - {name: pool, kind: openai, health_check: 30s, credentials: [{name: a, api_key: k-a}, {name: b, api_key: "${OPENAI_API_KEY}"}]}
models:
  - {name: fast, provider: openai, model: gpt-4o-mini, lenient: true}
  - {name: think, provider: openai, model: o3, reasoning: true, timeouts: {idle: 90s}}
  - {name: default, model: fast, timeouts: {total: 60s}}
  - name: eu/*
    strategy: least-busy
    context_window: 128000
    hedge: true
    fallback: [fast, openai/gpt-4o]
    fallback_context: [think]
    fallback_content: [fast]
    deployments:
      - {provider: pool, model: "*", credential: a, weight: 3, tier: 1, max_in_flight: 50, tags: [eu, cheap], price: {input: 0.15, output: "0.6"}}
      - {name: rest, provider: pool, model: gpt-oss}
retries: {attempts: 2, within: 10s, budget_percent: 10, budget_floor: 5}
breaker: {failures_percent: 30, requests: 20, window: 15s, connect_errors: 3, open: 1s, open_max: 1m, probe: 2s, successes: 1}
queue: {length: 7, wait: 1s}
pepper: ${CI_KEY}
rules:
  - name: month
    keys: ["ci-*"]
    teams: [search]
    users: [ann]
    projects: [chatbot]
    organisations: [acme]
    models: ["gpt-*"]
    per: [team, model]
    budgets:
      - dollars: 500
        every: month
        zone: Europe/Berlin
        mode: hard_after_grace
        grace: 24h
        alerts: [50, 80]
        overrides: [{from: 2026-12-01, until: 2027-01-01, dollars: 900.5}]
      - {tokens: 5000000000, every: rolling-day}
store: {url: "postgres://u:${CI_KEY}@db/sluice", connections: 20}
sign_in:
  idle: 10m
  absolute: 1h
  require_totp: [owner, admin]
  oidc:
    issuer: https://id.example.com/realms/staff
    client_id: sluice
    client_secret: not for anybody
    redirect_url: https://admin.example.com/admin/session/oidc/return
    scopes: [groups]
    groups_claim: roles
    allow_private: [10.0.0.0/8]
    roles:
      - {group: gateway, role: owner}
      - {group: leads, role: admin, organisation: acme, team: search}
      - {group: "*", role: member}
ledger: {sync: 1ms, spool: 4GiB, when_full: go_on, keep: "off"}
audit: {key: "${CI_KEY}", anchor: /var/log/anchor}
disconnect: {policy: drain, drain: 1m}
prices: {file: /etc/sluice/prices.yaml, unknown: {input: 10, output: 50}}
model_prices:
  - {name: contract, provider: local, models: ["gpt-*"], from: 2026-12-01, input: 1, cache_read: 2, cache_write: 3, cache_write_1h: 4, output: 5, reasoning: 6}
alerts: {webhooks: [{url: "https://hooks.example.com/x?y=z", secret: "${CI_KEY}", allow_private: [10.0.0.0/8]}]}
idempotency: {keep: 1h, answer: 256KiB, memory: 1MiB}
cache: {mode: exact, scope: team, store: memory, memory: 8MiB, ttl: 1h, semantic_ttl: 6h, max_answer: 64KiB, max_temperature: 0.7, require_temperature: true, tool_calls: true, wait: 3s, semantic: {
  embedder: api, dir: /models, url: "http://127.0.0.1:8080/v1", model: small, dimensions: 512, api_key: "${CI_KEY}", allow_private: ["127.0.0.0/8"], threshold: 0.8, margin: 0.05,
  guard: balanced, deadline: 50ms, parallel: 8, turns: true, check: 0.5, vectors: 500}}
redis: {url: "rediss://u:${CI_KEY}@redis:6379/0", addresses: ["redis-2:6379"], sentinel: mymaster, prefix: staging}
log: {level: warn, format: text, file: /tmp/x.log, buffer: 1MiB}
`,
}

func env(pairs ...string) func(string) string {
	m := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func options() Options {
	return Options{
		Getenv:   env("CI_KEY", goodKey, "OPENAI_API_KEY", "sk-upstream", "PORT", "9000", "N", "7", "EVIL", "x\nmock: {enabled: true}"),
		ReadFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
		Kinds:    kinds,
	}
}

func TestParseFull(t *testing.T) {
	got, err := Parse("sluice.yaml", []byte(valid["full"]), options())
	if err != nil {
		t.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	december, january := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	want := &Config{
		Listen: "0.0.0.0:8443",
		Admin:  Admin{Listen: "off", Hosts: []string{"sluice-admin.internal"}, Token: goodKey, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}, Pprof: true},
		SignIn: SignIn{
			Idle: 10 * time.Minute, Absolute: time.Hour, RequireTOTP: []string{"owner", "admin"},
			OIDC: OIDC{
				Issuer: "https://id.example.com/realms/staff", ClientID: "sluice", ClientSecret: "not for anybody", RedirectURL: "https://admin.example.com/admin/session/oidc/return",
				Scopes: []string{"groups"}, GroupsClaim: "roles", AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				Roles: []OIDCRole{{Group: "gateway", Role: "owner"}, {Group: "leads", Role: "admin", Organisation: "acme", Team: "search"}, {Group: "*", Role: "member"}},
			},
		},
		H2C:  true,
		Data: "/var/lib/sluice",
		Limits: Limits{
			Memory: 512 << 20, Body: 64 << 20, Answer: 1 << 20, Header: 128 << 10, HeaderTimeout: 5 * time.Second, BodyMinRate: Off,
			BodyTimeout: 10 * time.Minute, IdleTimeout: 90 * time.Second, WriteStall: 30 * time.Second, MaxStreams: 100, Drain: 90 * time.Second,
		},
		Timeouts: Timeouts{
			ProviderTimeouts: ProviderTimeouts{
				Connect: time.Second, TLS: 2 * time.Second, FirstTokenReasoning: 3 * time.Minute,
				Wait: Wait{FirstToken: 20 * time.Second, Idle: 30 * time.Second, Total: 5 * time.Minute},
			},
			KeepAliveComment: 10 * time.Second,
		},
		Keys: []Key{
			{
				Name: "ci", Key: masked, Sum: sha256.Sum256([]byte(goodKey)), Models: []string{"gpt-4o*"}, Endpoints: []string{"chat"},
				Expires: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC), Tags: []string{"eu"}, Overrides: []string{"deadline", "tags"},
				Organisation: "acme", Team: "search", User: "ann", Project: "chatbot", AllowFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				Rules: []Rule{{Name: "pace", Requests: []string{"5/second", "100/hour"}, Tokens: []string{"1000/minute"}, Parallel: 3}},
				Limit: []llm.Rule{{
					Name: "pace", Requests: []llm.Pace{{N: 5, Per: time.Second}, {N: 100, Per: time.Hour}},
					Tokens: []llm.Pace{{N: 1000, Per: time.Minute}}, Parallel: 3,
				}},
			},
			{Organisation: "default", Name: "old", Hash: "sha256:" + strings.Repeat("ab", 32), Sum: [32]byte([]byte(strings.Repeat("\xab", 32))), Models: []string{"*"}, Disabled: true},
		},
		Providers: []Provider{
			{
				Name: "openai", Kind: "openai", APIKey: "sk-upstream", Models: []string{"gpt-*"},
				Headers:  map[string]llm.Secret{"OpenAI-Organization": "org-example", "X-Literal": "a${b}"},
				Timeouts: ProviderTimeouts{Wait: Wait{FirstToken: 10 * time.Second}},
			},
			{
				Name: "local", Kind: "ollama", BaseURL: "http://127.0.0.1:11434/v1", Proxy: "socks5://u:p@proxy:1080",
				AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			},
			{Name: "pool", Kind: "openai", HealthCheck: 30 * time.Second, Credentials: []Credential{{Name: "a", APIKey: "k-a"}, {Name: "b", APIKey: "sk-upstream"}}},
		},
		Models: []Model{
			{Name: "fast", Provider: "openai", Model: "gpt-4o-mini", Lenient: true},
			{Name: "think", Provider: "openai", Model: "o3", Reasoning: true, Timeouts: Wait{Idle: 90 * time.Second}},
			{Name: "default", Model: "fast", Timeouts: Wait{Total: time.Minute}},
			{
				Name: "eu/*", Strategy: "least-busy", ContextWindow: 128000, Hedge: true,
				Fallback: []string{"fast", "openai/gpt-4o"}, FallbackContext: []string{"think"}, FallbackContent: []string{"fast"},
				Deployments: []Deployment{
					{
						Name: "pool/*#a", Provider: "pool", Model: "*", Credential: "a", Weight: 3, Tier: 1, MaxInFlight: 50,
						Tags: []string{"eu", "cheap"}, Price: Price{Input: 150_000_000, Output: 600_000_000},
					},
					{Name: "rest", Provider: "pool", Model: "gpt-oss"},
				},
			},
		},
		Retries: Retries{Attempts: 2, Within: 10 * time.Second, BudgetPercent: 10, BudgetFloor: 5},
		Breaker: Breaker{
			FailuresPercent: 30, Requests: 20, Window: 15 * time.Second, ConnectErrors: 3, Open: time.Second, OpenMax: time.Minute,
			Probe: 2 * time.Second, Successes: 1,
		},
		Queue:  Queue{Length: 7, Wait: time.Second},
		Pepper: goodKey,
		Rules: []SharedRule{{
			Keys: []string{"ci-*"}, Teams: []string{"search"}, Users: []string{"ann"}, Projects: []string{"chatbot"}, Organisations: []string{"acme"},
			Rule: Rule{Name: "month", Models: []string{"gpt-*"}, Per: []string{"team", "model"}, Budgets: []Budget{
				{
					Dollars: 500 * llm.Dollar, Every: "month", Zone: "Europe/Berlin", Mode: "hard_after_grace", Grace: 24 * time.Hour, Alerts: []int{50, 80},
					Overrides: []Override{{From: december, Until: january, Dollars: 900*llm.Dollar + llm.Dollar/2}},
				},
				{Tokens: 5e9, Every: "rolling-day"},
			}},
		}},
		Limit: []llm.Rule{{
			Name: "month", Models: []string{"gpt-*"}, Per: []llm.Dim{llm.DimTeam, llm.DimModel}, Budgets: []llm.Budget{
				{
					Money: 500 * llm.Dollar, Every: llm.Monthly, Zone: berlin, Mode: llm.HardAfterGrace, Grace: 24 * time.Hour, Alerts: []int{50, 80},
					Overrides: []llm.Override{{From: december, Until: january, Money: 900*llm.Dollar + llm.Dollar/2}},
				},
				{Tokens: 5e9, Every: llm.RollDay, Mode: llm.Hard},
			},
		}},
		Store:      Store{URL: "postgres://u:" + goodKey + "@db/sluice", Connections: 20},
		Ledger:     Ledger{Sync: time.Millisecond, Spool: 4 << 30, WhenFull: "go_on", Keep: Off},
		Audit:      Audit{Key: goodKey, Anchor: "/var/log/anchor"},
		Disconnect: Disconnect{Policy: "drain", Drain: time.Minute},
		Prices:     Prices{File: "/etc/sluice/prices.yaml", Unknown: Price{Input: 10 * llm.Rate(llm.Dollar), Output: 50 * llm.Rate(llm.Dollar)}},
		ModelPrices: []ModelPrice{{
			Name: "contract", Provider: "local", Models: []string{"gpt-*"}, From: december, Input: llm.Rate(llm.Dollar), CacheRead: 2 * llm.Rate(llm.Dollar), CacheWrite: 3 * llm.Rate(llm.Dollar),
			CacheWrite1h: 4 * llm.Rate(llm.Dollar), Output: 5 * llm.Rate(llm.Dollar), Reasoning: 6 * llm.Rate(llm.Dollar),
		}},
		Alerts: Alerts{Webhooks: []Webhook{{
			URL: "https://hooks.example.com/x?y=z", Secret: goodKey, AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		}}},
		Idempotency: Idempotency{Keep: time.Hour, Answer: 256 << 10, Memory: 1 << 20},
		Cache: Cache{
			Mode: "exact", Scope: "team", Store: "memory", Memory: 8 << 20, TTL: time.Hour, SemanticTTL: 6 * time.Hour, MaxAnswer: 64 << 10, MaxTemperature: 700,
			RequireTemperature: true, ToolCalls: true, Wait: 3 * time.Second,
			Semantic: Semantic{
				Embedder: "api", Dir: "/models", URL: "http://127.0.0.1:8080/v1", Model: "small", Dimensions: 512, APIKey: goodKey,
				AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Threshold: 800, Margin: 50, Guard: "balanced", Deadline: 50 * time.Millisecond,
				Parallel: 8, Turns: true, Check: 500, Vectors: 500,
			},
		},
		Redis: Redis{URL: "rediss://u:" + goodKey + "@redis:6379/0", Addresses: []string{"redis-2:6379"}, Sentinel: "mymaster", Prefix: "staging"},
		Log:   Log{Level: "warn", Format: "text", File: "/tmp/x.log", Buffer: 1 << 20},
	}
	if diff := cmp.Diff(want, got, values...); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A field that is left out, null or zero means the documented default.
func TestZeroMeansDefault(t *testing.T) {
	want := defaults()
	want.Mock.Enabled = true
	for name, doc := range map[string]string{
		"left out": "",
		"null":     "listen:\nlimits: ~\ntimeouts: {idle: null}\nkeys: null\nlog:\n",
		"zero":     "limits: {body: 0, drain: 0s, max_streams: 0, write_stall: 0}\ntimeouts: {total: 0s}\nlisten: ''\nh2c: false\nlog: {level: '', buffer: 0B}\n",
	} {
		got, err := Parse("x", []byte(doc+valid["mock"]), Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	// And a default is never something that its own field would refuse.
	c := defaults()
	d := &decoder{bad: map[string]bool{}}
	c.Mock.Enabled = true
	if check(d, c); len(d.problems) > 0 {
		t.Errorf("the defaults are refused: %v", d.problems)
	}
	for f, v := range fields(reflect.ValueOf(defaults()).Elem().FieldByName("Limits")) {
		if v.IsZero() && f.name != "memory" { // its default depends on the machine
			t.Errorf("limits.%s has no default", f.name)
		}
	}
}

func TestProblems(t *testing.T) {
	hash := "sha256:" + hex.EncodeToString(make([]byte, 32))
	for _, tt := range []struct {
		name, doc string
		want      []string // each problem, in order: "line:col path: part of the message"
	}{
		{"unknown field", "lisen: ':1'\n", []string{`1:1 lisen: did you mean "listen"?`}},
		{"unknown nested", "limits:\n  boddy: 1MiB\n", []string{`2:3 limits.boddy: did you mean "body"?`}},
		{"other case and dash", "limits: {Max-Streams: 3}\n", []string{`1:10 limits.Max-Streams: did you mean "max_streams"?`}},
		{"nothing near", "zzzzzzzzzzzz: 1\n", []string{"1:1 zzzzzzzzzzzz: here may stand admin, alerts, audit, breaker, cache"}},
		{"in a list", "keys:\n  - name: a\n    hash: " + hash + "\n    modells: [a]\n", []string{`4:5 keys[0].modells: did you mean "models"?`}},
		{"duplicate", "h2c: true\ndata: x\nh2c: false\n", []string{"3:1 h2c: said twice, first on line 1"}},
		{"merge", "a: &a {x: 1}\nlimits: {<<: *a}\n", []string{"1:1 a: unknown field", "2:10 limits: merge keys"}},
		{"types", "h2c: yes please\nlisten: 3001\nlimits: {max_streams: many, body: [1], drain: 30}\nkeys: none\nadmin: 7\n", []string{
			"1:6 h2c: is text, must be true or false", `2:9 listen: is a number, must be text: write "3001", in quotes`,
			"3:23 limits.max_streams: is text, must be a whole number", "3:35 limits.body: is a list, must be a size",
			"3:47 limits.drain: a duration needs a unit", "4:7 keys: is text, must be a list", "5:8 admin: is a number, must be a mapping",
		}},
		{"quoted bool", "h2c: \"true\"\n", []string{"1:6 h2c: is text, must be true or false"}},
		{"sizes", "limits: {body: 1.3B, answer: -4, header: 1e6}\n", []string{"1:16 limits.body: whole bytes", "1:30 limits.answer: whole bytes", "1:42 limits.header: whole bytes"}},
		{"too little memory", "limits: {memory: 1MiB}\n", []string{"1:18 limits.memory: at least 16MiB, or off"}},
		{"out of range", "limits: {body: 2GiB, max_streams: 20000, header: 1KiB, drain: 'off'}\n", []string{
			"1:16 limits.body: at most 1GiB", "1:35 limits.max_streams: from 1 to 10000", "1:50 limits.header: from 4KiB", "1:63 limits.drain: cannot be off",
		}},
		{"unset", "listen: ${NOPE}\n", []string{"1:9 listen: the environment variable NOPE is not set: set it, or write ${NOPE:-default}"}},
		{"not a reference", "listen: ${a b}\ndata: ${x\n", []string{"1:9 listen: is no reference", "2:7 data: without its }"}},
		{"file", "data: ${file:/none}\n", []string{"1:7 data: file does not exist"}},
		{"no injection", "data: ${EVIL}\n", []string{"1:7 data: holds a control character"}},
		{"syntax", "a: [\n", []string{"not YAML"}},
		{"two documents", "h2c: true\n---\nh2c: false\n", []string{"a second document"}},
		{"not a mapping", "- a\n", []string{"1:1 : is a list, must be a mapping"}},
		{"keys", "keys:\n" +
			"  - {name: a, key: changeme}\n" +
			"  - {name: a, key: sk-1234}\n" +
			"  - {key: " + goodKey + "}\n" +
			"  - {name: d, hash: abc}\n" +
			"  - {name: e}\n" +
			"  - {name: f, key: " + goodKey + ", hash: '" + hash + "'}\n" +
			"  - {name: g, key: " + goodKey + "}\n" +
			"  - {name: h, hash: '" + hash + "', endpoints: [chatt], models: ['']}\n" +
			"  - {name: i, hash: 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}\n", []string{
			"2:20 keys[0].key: well-known default", "3:12 keys[1].name: already the name of keys[0]", "3:20 keys[1].key: well-known default",
			"4:5 keys[2].name: is missing", "5:21 keys[3].hash: must be sha256:", "6:5 keys[4]: has no key", "7:5 keys[5]: both key and hash",
			"8:5 keys[6]: the same key as keys[2]", `9:108 keys[7].endpoints[0]: did you mean "chat"?`, "9:125 keys[7].models[0]: is empty",
			"10:21 keys[8].hash: the hash of nothing",
		}},
		{"rules", "rules:\n" +
			"  - {name: a, per: [kee], keys: ['']}\n" +
			"  - {name: b, requests: [5/fortnight], budgets: [{dollars: 0, every: month}, {every: day}, {dollars: 1, tokens: 2, every: yearly}]}\n" +
			"  - {name: b, tokens: [1/day, 2/day], budgets: [{dollars: 1.5, every: day, zone: Mars, mode: hard_after_grace, alerts: [80, 50]}]}\n", []string{
			"2:5 rules[0]: limits nothing", `2:21 rules[0].per[0]: did you mean "key"?`, "2:34 rules[0].keys[0]: is empty",
			"3:26 rules[1].requests[0]: is no pace", "3:60 rules[1].budgets[0].dollars: above 0",
			"3:78 rules[1].budgets[1].tokens: give tokens", "3:113 rules[1].budgets[2].tokens: in dollars or in tokens",
			"3:123 rules[1].budgets[2].every: must be one of",
			"4:12 rules[2].name: already the name", "4:31 rules[2].tokens[1]: the second limit", "4:49 rules[2].budgets[0].grace: goes with mode",
			"4:82 rules[2].budgets[0].zone: Mars", "4:125 rules[2].budgets[0].alerts[1]: the lowest first",
		}},
		{"no ledger", "mock: {enabled: true}\nledger: {off: true}\nrules:\n  - {name: a, requests: [1/day]}\n  - {name: b, budgets: [{tokens: 1, every: day}]}\n", []string{
			"5:24 rules[1].budgets: needs the ledger",
		}},
		{"money", "pepper: abc\nstore: {url: 'mysql://x'}\nalerts: {webhooks: [{url: 'ftp://x', secret: short}]}\nledger: {when_full: panic, spool: 'off'}\n", []string{
			"1:9 pepper: fewer than 32", "2:14 store.url: postgres://", "3:27 alerts.webhooks[0].url: https://hooks", "3:46 alerts.webhooks[0].secret: fewer than 32",
			"4:21 ledger.when_full: refuse, go_on", "4:35 ledger.spool: cannot be off",
		}},
		{"providers", "providers:\n" +
			"  - {name: Open AI}\n" +
			"  - {name: a, kind: opnai}\n" +
			"  - {name: opnai}\n" +
			"  - {name: b, kind: openai, base_url: 'ftp://x', proxy: 'ldap://y'}\n" +
			"  - {name: c, kind: openai, base_url: 'https://user:hunter2hunter2@x/v1'}\n" +
			"  - {name: d, kind: openai, base_url: 'https://x/v1?key=hunter2', allow_private: [10.0.0.1/8, x]}\n" +
			"  - {name: e, kind: openai, headers: {'a b': c, Host: d, X-A: e, x-a: f}, ca: /none}\n" +
			"  - {name: b, kind: gemini, timeouts: {first_token: 30s, total: 5s}}\n", []string{
			"2:12 providers[0].name: only lower case", `3:21 providers[1].kind: did you mean "openai"?`,
			`4:5 providers[2].kind: is missing, and the name is none of openai, anthropic, gemini, openrouter, ollama: did you mean "openai"?`, "5:39 providers[3].base_url: https://api.example.com/v1", "5:57 providers[3].proxy: socks5://",
			"6:39 providers[4].base_url: belongs in api_key", "7:39 providers[5].base_url: must not have a query",
			"7:83 providers[5].allow_private[0]: no bits set after", "7:95 providers[5].allow_private[1]: an address range",
			"8:46 providers[6].headers.a b: no header name", "8:55 providers[6].headers.Host: set by Sluice", "8:71 providers[6].headers.x-a: said twice",
			"8:79 providers[6].ca: not exist", "9:12 providers[7].name: already the name of providers[3]", "9:53 providers[7].timeouts.first_token: is 30s, longer than the 5s",
		}},
		{"models", "mock: {enabled: true}\nmodels:\n" +
			"  - {name: a, provider: mok, model: x}\n" +
			"  - {name: b, model: c}\n" +
			"  - {name: c, model: d}\n" +
			"  - {name: d, model: b}\n" +
			"  - {name: e, model: bb}\n" +
			"  - {name: e, provider: mock, model: x}\n" +
			"  - {name: 'g * *', provider: mock}\n" +
			"  - {name: h, provider: mock, model: x, timeouts: {first_token: 1h}}\n", []string{
			`3:25 models[0].provider: did you mean "mock"?`, "4:22 models[1].model: b -> c -> d -> b", "5:22 models[2].model: leads back", "6:22 models[3].model: leads back",
			`7:5 models[4].provider: is missing`, "8:12 models[5].name: already the name of models[4]", "9:12 models[6].name: no spaces and at most one *",
			"9:5 models[6].model: is missing", "10:65 models[7].timeouts.first_token: is 1h, longer than the 10m",
		}},
		{"groups", "providers:\n" +
			"  - {name: openai, credentials: [{name: a, api_key: x}, {name: a, api_key: y}, {name: c}]}\n" +
			"  - {name: gemini, api_key: x, credentials: []}\n" +
			"models:\n" +
			"  - {name: a, deployments: []}\n" +
			"  - {name: b, provider: openai, deployments: [{provider: opnai, model: x}]}\n" +
			"  - {name: c, strategy: fastest, deployments: [{provider: openai, model: 'x*', credential: z, price: {input: 1.5}, tags: ['a,b']}, {name: 'openai/x*#z', provider: openai, model: x}]}\n" +
			"  - {name: d, provider: gemini, model: x, fallback: [d, nobody, openai/any]}\n" +
			"  - {name: e, deployments: [{provider: openai, model: x, weight: -1, price: {input: 1.0000000001, output: -2}}]}\n", []string{
			`2:64 providers[0].credentials[1].name: "a" is already the name of credentials[0]`, "2:80 providers[0].credentials[2].api_key: is missing",
			"3:45 providers[1].credentials: is empty", "5:28 models[0].deployments: is empty",
			"6:46 models[1].deployments: stands beside provider or model", `6:58 models[1].deployments[0].provider: did you mean "openai"?`,
			`7:25 models[2].strategy: must be one of weighted`, "7:74 models[2].deployments[0].model: no * in the name",
			`7:92 models[2].deployments[0].credential: credentials do not have`, "7:102 models[2].deployments[0].price: needs both input and output",
			`7:123 models[2].deployments[0].tags[0]: one word without commas`, `7:139 models[2].deployments[1].name: already the name of deployments[0]`,
			"8:54 models[3].fallback[0]: is the model itself", `8:57 models[3].fallback[1]: is "nobody"`,
			"9:66 models[4].deployments[0].weight: must be from 0", "9:85 models[4].deployments[0].price.input: US dollars", "9:107 models[4].deployments[0].price.output: US dollars",
		}},
		{"sign in", "mock: {enabled: true}\nsign_in: {idle: 1m, absolute: 30s, require_totp: [boss], oidc: {issuer: http://id.example.com, redirect_url: 'https://u@x/', roles: [{group: '*', role: owner}, {group: g, role: member, team: t}]}}\n", []string{
			"2:17 sign_in.idle: 2m or more", "2:31 sign_in.absolute: shorter", "2:51 sign_in.require_totp[0]: must be one of", "2:64 sign_in.oidc.client_id: is missing",
			"2:73 sign_in.oidc.issuer: https://", "2:110 sign_in.oidc.redirect_url: must be an address", "2:134 sign_in.oidc.roles[0]: gives everybody",
			"2:192 sign_in.oidc.roles[1].team: bounds no member",
		}},
		{"sign in nowhere", "mock: {enabled: true}\nsign_in: {oidc: {client_id: x}}\n", []string{
			"2:17 sign_in.oidc.issuer: is missing", "2:17 sign_in.oidc.redirect_url: is missing", "2:17 sign_in.oidc.roles: is missing",
		}},
		{"everybody comes last", "mock: {enabled: true}\nsign_in: {oidc: {issuer: 'http://127.0.0.1:9', client_id: x, redirect_url: 'https://x/r', roles: [{group: '*', role: member}, {group: g, role: owner}]}}\n", []string{"2:99 sign_in.oidc.roles[0]: put it last"}},
		{"admin token", "mock: {enabled: true}\nadmin: {token: changeme}\n", []string{"2:16 admin.token: 256 random bits"}},
		{"redis", "mock: {enabled: true}\nredis: {url: 'http://pw@h:1', cluster: true}\n", []string{"2:14 redis.url: must be an address such as redis://"}},
		{"redis without an address", "mock: {enabled: true}\nredis: {sentinel: m, addresses: [a]}\n", []string{"2:8 redis.url: is missing", "2:34 redis.addresses[0]: must be host:port"}},
		{"redis cluster", "mock: {enabled: true}\nredis: {url: 'redis://h/1', cluster: true, ca: /none}\n", []string{"2:14 redis.url: only database 0", "2:48 redis.ca: not exist"}},
		{"listeners", "listen: localhost\nadmin: {listen: ':99999', hosts: ['a:1'], trusted_proxies: [0.0.0.0/0]}\n", []string{
			"1:9 listen: must be host:port", "2:17 admin.listen: 0 to 65535", "2:35 admin.hosts[0]: without scheme", "2:61 admin.trusted_proxies[0]: is everybody",
		}},
		{"same address", "listen: ':1'\nadmin: {listen: ':1'}\n", []string{"2:17 admin.listen: another port"}},
		{"half of TLS", "tls: {cert: a}\nh2c: true\n", []string{"1:6 tls.key: needs its key"}},
		{"TLS", "tls: {cert: /none, key: /none}\nh2c: true\n", []string{"1:13 tls.cert: not exist", "1:25 tls.key: not exist", "2:6 h2c: without TLS"}},
		{"nothing to call", "", []string{"providers: name at least one"}},
		{"mock twice", "mock: {enabled: true}\nproviders: [{name: mock, kind: openai}]\n", []string{"2:20 providers[0].name: a name of the built-in upstream"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("sluice.yaml", []byte(tt.doc), options())
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			var got []string
			for _, p := range e.Problems {
				got = append(got, fmt.Sprintf("%d:%d %s: %s", p.Line, p.Col, p.Path, p.Msg))
			}
			if len(got) != len(tt.want) {
				t.Fatalf("%d problems, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
			}
			used := make([]bool, len(got))
		next:
			for _, w := range tt.want {
				where, what, found := strings.Cut(w, ": ")
				if !found {
					where, what = "", w
				}
				for i, g := range got {
					if !used[i] && strings.Contains(g, where) && strings.Contains(g, what) {
						used[i] = true
						continue next
					}
				}
				t.Errorf("no problem is %q in:\n%s", w, strings.Join(got, "\n"))
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), goodKey) {
				t.Errorf("a secret is in the error: %s", err)
			}
		})
	}
}

// What a reference gives is text: it cannot become a field, and it is not looked at again.
func TestExpand(t *testing.T) {
	opts := Options{
		Getenv: env("A", "one", "LOOP", "${A}", "INJECT", "x}, keys: [{name: evil}"),
		ReadFile: func(p string) ([]byte, error) {
			switch p {
			case "/secret":
				return []byte("from ${A} file\r\n\n"), nil
			case "/empty":
				return []byte("\n"), nil
			}
			return nil, fs.ErrNotExist
		},
		Vault: func(string) (string, error) { return "", nil },
	}
	for _, in := range []string{"${file:/empty}", "${vault:secret/x#y}", "${B}"} { // what is asked for and empty is not left out
		if _, err := Parse("x", []byte("mock: {enabled: true}\nadmin: {token: '"+in+"'}\n"), opts); err == nil {
			t.Errorf("%s: what is empty is taken", in)
		}
	}
	for in, want := range map[string]string{
		"plain":                  "plain",
		"${A}":                   "one",
		"<${A}-${B:-two}-${A}>":  "<one-two-one>",
		"${B:-}":                 "",
		"${B:-a:-b}":             "a:-b",
		"$${A}":                  "${A}",
		"a$${A}${A}":             "a${A}one",
		"$A and $ and $$":        "$A and $ and $$",
		"${LOOP}":                "${A}",
		"${INJECT}":              "x}, keys: [{name: evil}",
		"${file:/secret}":        "from ${A} file",
		"${file:/secret}/${A}$$": "from ${A} file/one$$",
	} {
		doc := fmt.Sprintf("mock: {enabled: true}\ndata: '%s'\n", in)
		c, err := Parse("x", []byte(doc), opts)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if want == "" {
			want = defaults().Data
		}
		if c.Data != want {
			t.Errorf("%s: got %q, want %q", in, c.Data, want)
		}
	}
	for in, want := range map[string]any{"limits: {max_streams: '${N}'}": 7, "listen: ':${PORT}'": ":9000", "limits: {body: '${N}MiB'}": Size(7 << 20)} {
		c, err := Parse("x", []byte(in+"\nmock: {enabled: true}"), options())
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := []any{c.Limits.MaxStreams, c.Listen, c.Limits.Body}; !strings.Contains(fmt.Sprint(got), fmt.Sprint(want)) {
			t.Errorf("%s: %v is not in %v", in, want, got)
		}
	}
}

func TestAliases(t *testing.T) {
	doc := "providers:\n  - {name: openai, timeouts: &slow {idle: 2m}}\n  - {name: gemini, timeouts: *slow}\n"
	c, err := Parse("x", []byte(doc), options())
	if err != nil || c.Providers[1].Timeouts.Idle != 2*time.Minute {
		t.Errorf("got %+v, %v", c, err)
	}
	for name, doc := range map[string]string{
		"own self": "keys: &a\n  - *a\n",
		"laughs": "a: &a [x,x,x,x,x,x,x,x,x,x]\nkeys:\n - &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n - &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			" - &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n - &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n - [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
	} {
		if _, err := Parse("x", []byte(doc), Options{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestModel(t *testing.T) {
	c, err := Parse("x", []byte(valid["full"]), options())
	if err != nil {
		t.Fatal(err)
	}
	got, ok := c.Model("default")
	want := Model{Name: "default", Provider: "openai", Model: "gpt-4o-mini", Lenient: true, Timeouts: Wait{Total: time.Minute}}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("ok %v, -want +got:\n%s", ok, diff)
	}
	if _, ok := c.Model("gpt-4o"); ok {
		t.Error("a name that is not in models was found")
	}
	openai := &c.Providers[0]
	think, _ := c.Model("think")
	for _, tt := range []struct {
		name string
		p    *Provider
		m    *Model
		want llm.Timeouts
	}{
		{"general", nil, nil, llm.Timeouts{FirstToken: 20 * time.Second, Idle: 30 * time.Second, Total: 5 * time.Minute}},
		{"provider's first", openai, nil, llm.Timeouts{FirstToken: 10 * time.Second, Idle: 30 * time.Second, Total: 5 * time.Minute}},
		{"model's first", openai, &got, llm.Timeouts{FirstToken: 10 * time.Second, Idle: 30 * time.Second, Total: time.Minute}},
		{"reasoning", openai, &think, llm.Timeouts{FirstToken: 3 * time.Minute, Idle: 90 * time.Second, Total: 5 * time.Minute}},
	} {
		if diff := cmp.Diff(tt.want, c.Wait(tt.p, tt.m)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}

func TestDefault(t *testing.T) {
	c, err := Default(Options{Getenv: env("OPENAI_API_KEY", "sk-one", "GEMINI_API_KEY", "AIza-two")})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Mock.Enabled || len(c.Providers) != 2 || c.Providers[0].Name != "openai" || c.Providers[1].Kind != "gemini" || c.Providers[1].APIKey != "AIza-two" {
		t.Errorf("got %+v", c)
	}
	if c, err := Default(Options{Getenv: env()}); err != nil || len(c.Providers) != 0 || c.Listen != ":3001" {
		t.Errorf("with nothing set: %+v, %v", c, err)
	}
}

func TestWeak(t *testing.T) {
	for _, key := range []string{
		"sk-1234", "", "changeme", strings.Repeat("ab", 20), strings.Repeat("a", 64), "sk-" + strings.Repeat("1234567890abcdef", 2),
		"abcdefghijklmnopqrstuvwxyz0123456789", "your-api-key-goes-right-here-please", "CHANGEME-" + goodKey, goodKey + " " + goodKey, goodKey + "ä",
		strings.Repeat(goodKey, 2), strings.Repeat(goodKey, 17)[1:],
	} {
		if Weak(key) == "" {
			t.Errorf("%q is taken", key)
		}
	}
	for _, key := range []string{goodKey, "3f786850e387550fdab836ed7e6dc881de23001b", "550e8400-e29b-41d4-a716-446655440000", "sk-proj-Zk29vLqPwT3mX8yRbN5cJdH1fGsA4eU7iO6p"} {
		if why := Weak(key); why != "" {
			t.Errorf("%q: %s", key, why)
		}
	}
	if got := publicPart("sk-slc-AbCdEf123456-" + goodKey); got != "AbCdEf123456" {
		t.Errorf("public part %q", got)
	}
	if got := publicPart(goodKey); got != "" {
		t.Errorf("public part of a foreign key: %q", got)
	}
}

// No way of printing a configuration shows a secret, and the masked document says what the value says.
func TestMasked(t *testing.T) {
	opts := options()
	c, err := Parse("x", []byte(valid["full"]), opts)
	if err != nil {
		t.Fatal(err)
	}
	out := string(c.Masked())
	for _, form := range []string{out, fmt.Sprintf("%v %+v %#v", c, *c, *c), strings.Join(Diff(c, defaults()), "\n"), strings.Join(Diff(defaults(), c), "\n")} {
		for _, secret := range []string{goodKey, "sk-upstream", "u:p@", "org-example", "not for anybody"} {
			if strings.Contains(form, secret) {
				t.Errorf("%q is in:\n%s", secret, form)
			}
		}
	}
	for _, want := range []string{"api_key: '***'", "body: 64MiB", "drain: 1m30s", "body_min_rate: off", "pprof: true", "- 127.0.0.0/8", "max_streams: 100", "expires: \"2030-01-31T00:00:00Z\""} {
		if !strings.Contains(strings.ReplaceAll(out, `"***"`, "'***'"), want) && !strings.Contains(strings.NewReplacer(`"`, "", `'`, "").Replace(out), strings.NewReplacer(`"`, "", `'`, "").Replace(want)) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	// Without secrets it can be read again and means the same.
	c.Keys, c.Providers[0].APIKey, c.Providers[0].Headers, c.Providers[1].Proxy, c.Redis, c.Admin.Token = nil, "", nil, "", Redis{Prefix: "sluice"}, ""
	c.Pepper, c.Store, c.Alerts, c.Audit.Key, c.SignIn.OIDC.ClientSecret, c.Cache.Semantic.APIKey = "", defaults().Store, Alerts{}, "", "***", "***"
	c.Providers[2].Credentials[0].APIKey, c.Providers[2].Credentials[1].APIKey = "***", "***" // a secret is kept as its mask
	again, err := Parse("masked", c.Masked(), opts)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Masked())
	}
	if diff := cmp.Diff(c, again, values...); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

func TestDiff(t *testing.T) {
	parse := func(doc string) *Config {
		t.Helper()
		c, err := Parse("x", []byte(doc), options())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a := parse("listen: ':1'\nkeys: [{name: a, key: " + goodKey + "}, {name: b, hash: 'sha256:" + strings.Repeat("ab", 32) + "'}]\n" +
		"providers: [{name: openai, api_key: one, models: [a]}, {name: gemini, headers: {X: one, Y: two}}]\n")
	b := parse("listen: ':2'\nlimits: {body: 1MiB}\nkeys: [{name: b, hash: 'sha256:" + strings.Repeat("ab", 32) + "', disabled: true}, {name: a, key: x" + goodKey + "}, {name: c, hash: 'sha256:" + strings.Repeat("cd", 32) + "'}]\n" +
		"providers: [{name: openai, api_key: two, models: [a, b]}, {name: anthropic, kind: anthropic}, {name: gemini, headers: {X: three, Z: two}}]\n")
	want := []string{
		`listen: ":1" -> ":2" (needs a restart)`,
		"limits.body: 32MiB -> 1MiB",
		"keys.a: another key",
		"keys.b.disabled: false -> true",
		"keys.c: added",
		"providers.anthropic: added",
		"providers.gemini.headers.X: changed",
		"providers.gemini.headers.Y: removed",
		"providers.gemini.headers.Z: added",
		"providers.openai.api_key: changed",
		"providers.openai.models: [a] -> [a, b]",
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	none, own := parse("providers: [{name: openai, models: []}]"), parse("providers: [{name: openai}]")
	if diff := cmp.Diff([]string{"providers.openai.models: [] -> the default"}, Diff(none, own)); diff != "" {
		t.Errorf("no models and the vendor's (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(none.Masked()), "models: []") {
		t.Errorf("no models and the vendor's look alike:\n%s", none.Masked())
	}
	if lines := Diff(a, a); len(lines) != 0 {
		t.Errorf("no change gives %q", lines)
	}
	c := parse("providers: [{name: openai}, {name: gemini}]")
	d := parse("providers: [{name: gemini}, {name: openai}]")
	if diff := cmp.Diff([]string{"providers: in another order: [openai, gemini] -> [gemini, openai]"}, Diff(c, d)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoad(t *testing.T) {
	path := t.TempDir() + "/sluice.yaml"
	if _, err := Load(path, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("h2c: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, Options{})
	if err == nil || !strings.HasPrefix(err.Error(), path+":1:6: h2c: is a number") {
		t.Errorf("got %v", err)
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]Size{"0": 0, "7": 7, "32MiB": 32 << 20, "1.5GiB": 3 << 29, "64 KiB": 64 << 10, "2kB": 2000, "9223372036854775807": 1<<63 - 1, "off": Off} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "+1", "1e3", "0x1p4", "9223372036854775808", "9007199254740993GiB", "inf", "nan", "1.0001KiB", "1,5MiB", "1 TB", " 1", "0x1.8p4"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q is taken for %d", in, got)
		}
	}
	for s, want := range map[Size]string{0: "0B", 1: "1B", 1536: "1536B", 64 << 10: "64KiB", 3 << 30: "3GiB", Off: "off"} {
		if got := s.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(s), got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, doc := range valid {
		f.Add([]byte(doc))
	}
	f.Add([]byte("keys: &a\n  - *a\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Add([]byte("a: !!binary x\nlisten: !foo x\n"))
	f.Add([]byte("limits: {body: 1.5GiB, drain: 1h}\n"))
	opts := options()
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := Parse("f", doc, opts)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || len(e.Problems) == 0 {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		out := c.Masked()
		if strings.Contains(string(out), goodKey) {
			t.Fatalf("a secret is in %s", out)
		}
		if lines := Diff(c, c); len(lines) > 0 {
			t.Fatalf("differs from itself: %q", lines)
		}
		// A masked document without secrets is a document again.
		for i := range c.Providers {
			c.Providers[i].Proxy = ""
		}
		c.Keys, c.Redis, c.Admin.Token, c.Pepper, c.Store, c.Alerts, c.Audit.Key = nil, Redis{}, "", "", Store{}, Alerts{}, ""
		if _, err := Parse("again", c.Masked(), opts); err != nil {
			t.Fatalf("%v\n%s", err, c.Masked())
		}
	})
}

func TestDefaultRefusesBrokenKeys(t *testing.T) {
	if _, err := Default(Options{Getenv: env("GEMINI_API_KEY", "AIza\nX-Evil: 1")}); err == nil || strings.Contains(err.Error(), "AIza") {
		t.Errorf("got %v, want a refusal without the key", err)
	}
}

// pair writes a certificate and its key and gives their paths.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = dir+"/tls.crt", dir+"/tls.key"
	put(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	put(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return cert, key
}

func TestCertificates(t *testing.T) {
	cert, key := pair(t)
	_, otherKey := pair(t)
	for _, tt := range []struct{ name, doc, want string }{
		{"good", fmt.Sprintf("tls: {cert: %s, key: %s}", cert, key), ""},
		{"of another pair", fmt.Sprintf("tls: {cert: %s, key: %s}", cert, otherKey), "do not work together"},
		{"swapped", fmt.Sprintf("tls: {cert: %s, key: %s}", key, cert), "do not work together"},
		{"good ca", fmt.Sprintf("providers: [{name: openai, ca: %s}]", cert), ""},
		{"no ca", fmt.Sprintf("providers: [{name: openai, ca: %s}]", key), "holds no PEM certificate"},
	} {
		_, err := Parse("x", []byte("mock: {enabled: true}\n"+tt.doc), Options{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: the key is in the error: %v", tt.name, err)
		}
	}
}
