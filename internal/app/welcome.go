package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"sluice/internal/auth"
	"sluice/internal/config"
	"sluice/internal/llm"
)

// keys gathers who may call: the configured keys and the stored ones. Where nobody could call, a first key is made;
// it is shown once and kept as a hash.
func (a *App) keys(cfg *config.Config) (*auth.Authenticator, []*auth.Who, error) {
	if len(cfg.Keys) == 0 {
		key, err := a.people.control.First(context.Background())
		if err != nil {
			return nil, nil, err
		}
		a.firstKey = cmp.Or(key, a.firstKey)
	}
	configured := auth.Memory{}
	for i := range cfg.Keys {
		who := caller(&cfg.Keys[i])
		bind(cfg, who)
		configured[a.people.hasher.Sum(cfg.Keys[i].Sum)] = who
	}
	chain := auth.Chain{configured, a.people.cache}
	return auth.New(a.people.hasher, chain, a.revoked, nil), slices.Collect(maps.Values(configured)), nil
}

// caller is a configured key as the gateway knows it.
func caller(k *config.Key) *auth.Who {
	var ops []llm.Op // nil, all, where none is listed
	for _, e := range k.Endpoints {
		ops = append(ops, llm.Op(e))
	}
	who := &auth.Who{
		Name: k.Name, ID: k.Public, Org: k.Organisation, Team: k.Team, User: k.User, Project: k.Project,
		Models: k.Models, Endpoints: ops, Disabled: k.Disabled, Expires: k.Expires, Tags: k.Tags, Guards: k.Guards, Asks: k.Overrides, Cache: k.Cache,
	}
	for i := range k.Limit {
		who.Rules = append(who.Rules, llm.Bound{Subject: "key:" + who.Public(), Rule: &k.Limit[i]})
	}
	return who
}

// welcome tells a person at a terminal what to do next. It is short where a configuration says that they know.
func (a *App) welcome(ctx context.Context, data, admin string) {
	base := a.baseURL(data)
	out := &strings.Builder{}
	fmt.Fprintf(out, "\nSluice is ready: API on %s, metrics on http://%s/metrics\n", base, admin)
	key := "$SLUICE_API_KEY"
	switch {
	case a.firstKey != "":
		key = a.firstKey
		fmt.Fprintf(out, "\nYour API key, shown this once (only its hash is kept in %s):\n\n    %s\n", a.cfg.Data, key)
	case len(a.cfg.Keys) == 0:
		fmt.Fprintf(out, "\nThe key was shown at the first start: export SLUICE_API_KEY=sk-slc-... to use the lines below.\n"+
			"Lost it? sluice keys rotate first --grace 0 gives a new one.\n")
	}
	a.firstKey = ""
	out.WriteString(a.inviteOwner(ctx))
	if a.mock != nil {
		fmt.Fprint(out, strings.NewReplacer("{base}", base, "{key}", key).Replace(examples))
	}
	fmt.Fprintln(out)
	_, _ = a.opts.Stdout.Write([]byte(out.String()))
}

const examples = `
Try it (the built-in upstream answers: no account, no network):

  curl {base}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
    -d '{"model":"mock/echo","messages":[{"role":"user","content":"Hello, Sluice"}]}'

  curl -N {base}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
    -d '{"model":"mock/story","stream":true,"messages":[{"role":"user","content":"Tell me a story"}]}'

  curl {base}/v1/messages -H "x-api-key: {key}" -H "anthropic-version: 2023-06-01" -H "Content-Type: application/json" \
    -d '{"model":"mock/reason","max_tokens":500,"messages":[{"role":"user","content":"Why is the sky blue?"}]}'

  curl "{base}/v1beta/models/mock/echo:generateContent" -H "x-goog-api-key: {key}" -H "Content-Type: application/json" \
    -d '{"contents":[{"role":"user","parts":[{"text":"Hello, Sluice"}]}]}'

Point the SDKs at it:

  export OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY={key}
  export ANTHROPIC_BASE_URL={base} ANTHROPIC_API_KEY={key}
`

// baseURL is the address of the API as a person on this machine would write it.
func (a *App) baseURL(addr string) string {
	scheme := "http://"
	if a.cfg.TLS.Cert != "" {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return scheme + addr
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + net.JoinHostPort(host, port)
}
