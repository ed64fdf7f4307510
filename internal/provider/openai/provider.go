// Package openai reaches OpenAI and the vendors that speak its formats: which address, which credential
// header, which formats, which dialect. A vendor is a row of vendors.go and nothing else.
package openai

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
	"sluice/internal/provider"
	"sluice/internal/wire"
	wireopenai "sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
)

// Options make a provider. Only Transport is needed: the zero rest is OpenAI itself.
type Options struct {
	Name      string      // as configured, for errors at start
	Vendor    string      // a row of Vendors; "" is openai
	BaseURL   string      // "" is the vendor's own, if it has one
	Headers   http.Header // sent with every request
	Transport llm.Transport
}

// A Provider speaks to one upstream of one vendor. It is safe for concurrent use.
type Provider struct {
	vendor    *vendor
	transport llm.Transport

	chat        wire.Upstream
	completions wire.Upstream
	urls        map[llm.Format]*url.URL
	models      *url.URL
	tokens      *counter

	bare, whole, stream http.Header // what requests without a body carry, those for an answer in one piece, those for a stream
}

// The paths of the endpoints under the base URL.
var paths = map[llm.Format]string{
	llm.OpenAIChat:        "chat/completions",
	llm.OpenAICompletions: "completions",
	llm.OpenAIResponses:   "responses",
	llm.OpenAIEmbeddings:  "embeddings",
}

// New makes a provider for one vendor.
func New(o Options) (*Provider, error) {
	if o.Vendor == "" {
		o.Vendor = "openai"
	}
	v := vendorOf(o.Vendor)
	if v == nil {
		return nil, fmt.Errorf("provider %s: there is no vendor %q; known are %s", o.Name, o.Vendor, strings.Join(Vendors(), ", "))
	}
	if o.Transport == nil {
		return nil, fmt.Errorf("provider %s: no transport", o.Name)
	}
	base, err := baseURL(o.BaseURL, v)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", o.Name, err)
	}
	for name := range o.Headers {
		if provider.IsCredential(name) {
			return nil, fmt.Errorf("provider %s: header %s carries credentials; configure the key instead", o.Name, name)
		}
	}
	p := &Provider{
		vendor: v, transport: o.Transport,
		chat: wireopenai.ChatIn(v.dialect), completions: wireopenai.CompletionsIn(v.dialect),
		urls: make(map[llm.Format]*url.URL, len(paths)), models: base.JoinPath("models"),
		tokens: newCounter(),
	}
	p.bare = make(http.Header, len(o.Headers)+1)
	for name, values := range o.Headers {
		p.bare[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	p.bare["Accept"] = provider.JSON
	p.whole = maps.Clone(p.bare)
	p.whole["Content-Type"] = provider.JSON
	p.stream = maps.Clone(p.whole)
	p.stream["Accept"] = provider.EventStream
	for format, path := range paths {
		p.urls[format] = base.JoinPath(path)
	}
	return p, nil
}

func baseURL(configured string, v *vendor) (*url.URL, error) {
	if configured == "" {
		configured = v.base
	}
	if configured == "" {
		return nil, fmt.Errorf("base_url is required for vendor %s: %s", v.name, v.baseHint)
	}
	return provider.BaseURL(configured)
}

// Do sends one attempt.
func (p *Provider) Do(ctx context.Context, a *llm.Attempt) (*llm.Reply, error) {
	if a.Op == llm.OpCount {
		return p.count(ctx, a)
	}
	u, err := p.codec(a)
	if err != nil {
		return nil, err
	}
	sent := &struct { // one allocation
		enc llm.Encoding
		req llm.Request
	}{enc: llm.Encoding{Model: a.Target.Model, Stream: a.Stream, Lenient: a.Target.Lenient}}
	enc := &sent.enc
	body, err := a.Body.Bytes(u, enc)
	if err != nil {
		return nil, err
	}
	auth, err := p.auth(a.Secret)
	if err != nil {
		return nil, err
	}
	sent.req = llm.Request{Method: http.MethodPost, URL: p.urls[u.Format()], Header: p.header(a), Auth: auth, Body: body}
	return provider.Exchange(ctx, p.transport, a, u, &sent.req, enc)
}

// Reader reads what a vendor answers in a format, as a Provider for it does. Nil: there is none.
func Reader(vendor string, f llm.Format) wire.Upstream {
	v := vendorOf(vendor)
	switch {
	case v == nil:
		return nil
	case f == llm.OpenAIChat:
		return wireopenai.ChatIn(v.dialect)
	case f == llm.OpenAICompletions:
		return wireopenai.CompletionsIn(v.dialect)
	case f == llm.OpenAIResponses:
		return responses.Responses
	case f == llm.OpenAIEmbeddings:
		return wireopenai.Embeddings
	}
	return nil
}

// codec is the format in which the vendor gets a call: the client's own where the vendor speaks it, else
// the vendor's first.
func (p *Provider) codec(a *llm.Attempt) (wire.Upstream, error) {
	v := p.vendor
	if a.Op == llm.OpEmbed {
		if !v.speaks(llm.OpenAIEmbeddings) {
			return nil, llm.Errorf(llm.KindUnsupported, "the model's upstream makes no embeddings")
		}
		return wireopenai.Embeddings, nil
	}
	switch f := a.Format; {
	case f == llm.OpenAICompletions && v.speaks(f):
		return p.completions, nil
	case f == llm.OpenAIResponses && v.speaks(f):
		return responses.Responses, nil
	case f == llm.OpenAIResponses:
		if err := provider.Stateless(a); err != nil {
			return nil, err
		}
	case f == llm.OpenAIChat && v.speaks(f):
		return p.chat, nil
	}
	if !v.speaks(llm.OpenAIChat) {
		return responses.Responses, nil
	}
	return p.chat, nil
}

// header is what an attempt carries beside its credential. Nobody changes it: nearly all attempts share one of two.
func (p *Provider) header(a *llm.Attempt) http.Header {
	h := p.whole
	if a.Stream {
		h = p.stream
	}
	if len(a.Header) == 0 {
		return h
	}
	own := make(http.Header, len(a.Header)+len(h))
	for name, values := range a.Header {
		if !provider.IsCredential(name) {
			own[http.CanonicalHeaderKey(name)] = slices.Clone(values)
		}
	}
	maps.Copy(own, h)
	return own
}

// auth is the field of the credential. It stands in that one field, and nothing that a client or a configuration says can
// replace or repeat it.
func (p *Provider) auth(secret llm.Secret) (llm.Auth, error) {
	switch {
	case secret == "" && p.vendor.noKey:
		return llm.Auth{}, nil
	case secret == "":
		return llm.Auth{}, &llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the gateway has no credential for the model's upstream"}
	case p.vendor.auth == keyHeader:
		return llm.Auth{Name: "Api-Key", Secret: secret}, nil
	}
	return llm.Auth{Name: "Authorization", Scheme: "Bearer ", Secret: secret}, nil
}

// Models names the models that the upstream offers.
func (p *Provider) Models(ctx context.Context, secret llm.Secret) ([]string, error) {
	body, err := p.list(ctx, secret)
	if err != nil {
		return nil, err
	}
	type model struct {
		ID string `json:"id"`
	}
	var wrapped struct {
		Data []model `json:"data"`
	}
	list := &wrapped.Data
	if body = []byte(strings.TrimSpace(string(body))); len(body) > 0 && body[0] == '[' { // Together
		err = json.Unmarshal(body, list)
	} else {
		err = json.Unmarshal(body, &wrapped)
	}
	if err != nil {
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's list of models is not readable", Err: err}
	}
	names := make([]string, 0, len(*list))
	for _, m := range *list {
		if id := strings.TrimPrefix(m.ID, "models/"); id != "" { // Google's endpoint has the prefix
			names = append(names, id)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Check tells whether the upstream answers and takes the credential. Vendors without a list of models
// refuse the path, which is an answer, too.
func (p *Provider) Check(ctx context.Context, secret llm.Secret) error {
	_, err := p.list(ctx, secret)
	var e *llm.Error
	if errors.As(err, &e) && (e.Kind == llm.KindInvalid || e.Kind == llm.KindModelNotFound) {
		return nil
	}
	return err
}

func (p *Provider) list(ctx context.Context, secret llm.Secret) ([]byte, error) {
	auth, err := p.auth(secret)
	if err != nil {
		return nil, err
	}
	return provider.Get(ctx, p.transport, p.chat, p.models, p.bare, auth)
}
