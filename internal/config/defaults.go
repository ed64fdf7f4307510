package config

import (
	_ "embed" // default.yaml
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// defaults is what an empty document means. A zero field of a loaded document is filled from here.
func defaults() *Config {
	return &Config{
		Listen: ":3001",
		Admin:  Admin{Listen: "127.0.0.1:3002"},
		SignIn: SignIn{Idle: 30 * time.Minute, Absolute: 12 * time.Hour},
		Data:   "./sluice-data",
		Limits: Limits{
			Body:          32 << 20,
			Answer:        32 << 20,
			Header:        64 << 10,
			HeaderTimeout: 10 * time.Second,
			BodyMinRate:   1 << 10,
			BodyTimeout:   5 * time.Minute,
			IdleTimeout:   2 * time.Minute,
			WriteStall:    time.Minute,
			MaxStreams:    250,
			Drain:         10 * time.Minute,
		},
		Timeouts: Timeouts{
			ProviderTimeouts: ProviderTimeouts{
				Connect:             3 * time.Second,
				TLS:                 5 * time.Second,
				FirstTokenReasoning: 2 * time.Minute,
				Wait: Wait{
					FirstToken: 30 * time.Second,
					Idle:       time.Minute,
					Total:      10 * time.Minute,
				},
			},
			KeepAliveComment: 15 * time.Second,
		},
		Retries: Retries{Attempts: 4, Within: 30 * time.Second, BudgetPercent: 20, BudgetFloor: 10},
		Breaker: Breaker{
			FailuresPercent: 50, Requests: 10, Window: 10 * time.Second, ConnectErrors: 5,
			Open: 5 * time.Second, OpenMax: 2 * time.Minute, Probe: 5 * time.Second, Successes: 2,
		},
		Queue:       Queue{Length: 100, Wait: 5 * time.Second},
		Redis:       Redis{Prefix: "sluice"},
		Store:       Store{Connections: 10},
		Ledger:      Ledger{Sync: 5 * time.Millisecond, Spool: 1 << 30, WhenFull: "refuse", Keep: 90 * 24 * time.Hour},
		Disconnect:  Disconnect{Policy: "cancel", Drain: 30 * time.Second},
		Idempotency: Idempotency{Keep: 24 * time.Hour, Answer: 1 << 20, Memory: 64 << 20},
		Cache: Cache{
			Mode: "off", Scope: "key", Memory: 64 << 20, TTL: 5 * time.Minute, SemanticTTL: time.Hour, MaxAnswer: 1 << 20, MaxTemperature: 300, Wait: 30 * time.Second,
			Semantic: Semantic{Threshold: 900, Margin: 20, Guard: "strict", Deadline: 25 * time.Millisecond, Parallel: 4, Check: 10, Vectors: 100_000},
		},
		Log: Log{Level: "info", Format: "json", Buffer: 4 << 20},
	}
}

// fill gives c's zero fields the values of def.
func fill(c, def *Config) {
	fillZero(reflect.ValueOf(c).Elem(), reflect.ValueOf(def).Elem())
	for i := range c.Keys {
		if len(c.Keys[i].Models) == 0 {
			c.Keys[i].Models = []string{"*"}
		}
		if c.Keys[i].Organisation == "" {
			c.Keys[i].Organisation = "default"
		}
	}
	for i := range c.Providers {
		if c.Providers[i].Kind == "" {
			c.Providers[i].Kind = c.Providers[i].Name
		}
	}
}

func fillZero(v, def reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Kind() == reflect.Struct:
			fillZero(f, def.Field(i))
		case f.IsZero():
			f.Set(def.Field(i))
		}
	}
}

//go:embed default.yaml
var defaultDocument []byte

// wellKnown are the providers that need nothing but a credential.
var wellKnown = []struct{ name, env string }{
	{"openai", "OPENAI_API_KEY"},
	{"anthropic", "ANTHROPIC_API_KEY"},
	{"gemini", "GEMINI_API_KEY"},
}

// Default is the configuration that serves without a file: the mock, and each of OpenAI, Anthropic and
// Gemini whose API key the environment gives.
func Default(opts Options) (*Config, error) {
	d := newDecoder("default.yaml", opts)
	root := d.read(defaultDocument)
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, w := range wellKnown {
		key := d.opts.Getenv(w.env)
		if key == "" {
			continue
		}
		if strings.ContainsFunc(key, unicode.IsControl) {
			return nil, fmt.Errorf("the environment variable %s holds a control character or line break", w.env)
		}
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
			textNode("name"), textNode(w.name), textNode("api_key"), textNode("${" + w.env + "}"),
		}})
	}
	if root != nil && len(list.Content) > 0 {
		root.Content = append(root.Content, textNode("providers"), list)
	}
	return d.parse(root)
}
