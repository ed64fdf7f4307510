// Package anthropic reaches Anthropic's API and those that speak it: addresses, credential and version
// headers, which of the two formats carries a call, and the list of models.
package anthropic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sluice/internal/llm"
	"sluice/internal/provider"
	"sluice/internal/wire"
	wireanthropic "sluice/internal/wire/anthropic"
)

const (
	// DefaultBaseURL is Anthropic's own address.
	DefaultBaseURL = "https://api.anthropic.com"
	// DefaultVersion is the anthropic-version that this build speaks.
	DefaultVersion = "2023-06-01"
)

// Options make a provider. Only Transport is needed.
type Options struct {
	Name      string      // as configured, for errors at start
	BaseURL   string      // "" is DefaultBaseURL; a path that ends in /v1 is taken as it is
	Headers   http.Header // sent with every request; their betas are added to the client's
	Transport llm.Transport
}

// A Provider speaks to one upstream. It is safe for concurrent use.
type Provider struct {
	headers   http.Header
	transport llm.Transport
	messages  *url.URL
	count     *url.URL
	models    *url.URL
}

// New makes a provider.
func New(o Options) (*Provider, error) {
	if o.Transport == nil {
		return nil, fmt.Errorf("provider %s: no transport", o.Name)
	}
	base, err := baseURL(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", o.Name, err)
	}
	headers := make(http.Header, len(o.Headers)+1)
	headers.Set("Anthropic-Version", DefaultVersion)
	for name, values := range o.Headers {
		if provider.IsCredential(name) {
			return nil, fmt.Errorf("provider %s: header %s carries credentials; configure the key instead", o.Name, name)
		}
		headers[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return &Provider{
		headers: headers, transport: o.Transport,
		messages: base.JoinPath("messages"), count: base.JoinPath("messages", "count_tokens"), models: base.JoinPath("models"),
	}, nil
}

// baseURL is the configured address with the API's version at its end.
func baseURL(configured string) (*url.URL, error) {
	if configured == "" {
		configured = DefaultBaseURL
	}
	u, err := provider.BaseURL(configured)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(u.Path, "/v1") {
		return u, nil
	}
	return u.JoinPath("v1"), nil
}

// Do sends one attempt.
func (p *Provider) Do(ctx context.Context, a *llm.Attempt) (*llm.Reply, error) {
	var codec wire.Upstream = wireanthropic.Messages
	to := p.messages
	switch a.Op {
	case llm.OpChat:
	case llm.OpCount:
		codec, to = wireanthropic.CountTokens, p.count
	default:
		return nil, llm.Errorf(llm.KindUnsupported, "Anthropic's API has no embeddings")
	}
	if err := provider.Stateless(a); err != nil {
		return nil, err
	}
	enc := &llm.Encoding{Model: a.Target.Model, Stream: a.Stream && a.Op == llm.OpChat, Lenient: a.Target.Lenient}
	body, err := a.Body.Bytes(codec, enc)
	if err != nil {
		return nil, err
	}
	var client http.Header
	if a.Format == codec.Format() {
		client = a.Header
	}
	h := p.header(client)
	h["Content-Type"] = provider.JSON
	if enc.Stream {
		h["Accept"] = provider.EventStream
	}
	req := &llm.Request{Method: http.MethodPost, URL: to, Header: h, Auth: auth(a.Secret), Body: body}
	return provider.Exchange(ctx, p.transport, a, codec, req, enc)
}

// header is what a request carries beside its credential, which nothing in it can set: the configured headers, the client's
// version in their place, and the betas of both.
func (p *Provider) header(client http.Header) http.Header {
	h := make(http.Header, len(p.headers)+3)
	for name, values := range p.headers {
		h[name] = values
	}
	h["Accept"] = provider.JSON
	if v := client["Anthropic-Version"]; len(v) > 0 && v[0] != "" {
		h["Anthropic-Version"] = v[:1]
	}
	if v := client["Anthropic-Beta"]; len(v) > 0 {
		h["Anthropic-Beta"] = slices.Concat(p.headers["Anthropic-Beta"], v)
	}
	return h
}

func auth(secret llm.Secret) llm.Auth {
	if secret == "" {
		return llm.Auth{}
	}
	return llm.Auth{Name: "X-Api-Key", Secret: secret}
}

const maxPages = 20 // of a thousand models each

// A page is one page of the list of models.
type page struct {
	Data []struct {
		ID string `json:"id"`
	} `json:"data"`
	HasMore bool   `json:"has_more"`
	LastID  string `json:"last_id"`
}

// Models names the models that the upstream offers.
func (p *Provider) Models(ctx context.Context, secret llm.Secret) ([]string, error) {
	var names []string
	query := url.Values{"limit": {"1000"}}
	for range maxPages {
		got, err := p.list(ctx, secret, query)
		if err != nil {
			return nil, err
		}
		for _, m := range got.Data {
			if m.ID != "" {
				names = append(names, m.ID)
			}
		}
		if !got.HasMore || got.LastID == "" || got.LastID == query.Get("after_id") {
			break
		}
		query.Set("after_id", got.LastID)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Check tells whether the upstream answers and takes the credential. An upstream that speaks Messages but
// has no list of models refuses the path, which is an answer, too.
func (p *Provider) Check(ctx context.Context, secret llm.Secret) error {
	_, err := p.list(ctx, secret, url.Values{"limit": {"1"}})
	if e, ok := errors.AsType[*llm.Error](err); ok && (e.Kind == llm.KindInvalid || e.Kind == llm.KindModelNotFound) {
		return nil
	}
	return err
}

func (p *Provider) list(ctx context.Context, secret llm.Secret, query url.Values) (*page, error) {
	return provider.Page[page](ctx, p.transport, wireanthropic.Messages, p.models, query, p.header(nil), auth(secret))
}
