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
	"sync"
	"sync/atomic"

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
	headers   http.Header
	transport llm.Transport

	chat        wire.Upstream
	completions wire.Upstream
	urls        map[llm.Format]*url.URL
	models      *url.URL
	tokens      *counter

	heads atomic.Pointer[map[llm.Secret]head] // replaced by a larger one under mu
	mu    sync.Mutex
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
		vendor: v, headers: o.Headers.Clone(), transport: o.Transport,
		chat: wireopenai.ChatIn(v.dialect), completions: wireopenai.CompletionsIn(v.dialect),
		urls: make(map[llm.Format]*url.URL, len(paths)), models: base.JoinPath("models"),
		tokens: newCounter(),
	}
	p.heads.Store(&map[llm.Secret]head{})
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
	h, err := p.head(a)
	if err != nil {
		return nil, err
	}
	sent.req = llm.Request{Method: http.MethodPost, URL: p.urls[u.Format()], Header: h, Body: body}
	return provider.Exchange(ctx, p.transport, a, u, &sent.req, enc)
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

// A head is what a request with one credential carries when the client adds nothing: for a whole answer, and for a stream.
type head [2]http.Header

// head is what an attempt carries. Nobody changes it: nearly all attempts with a credential share it.
func (p *Provider) head(a *llm.Attempt) (http.Header, error) {
	stream := 0
	if a.Stream {
		stream = 1
	}
	if len(a.Header) > 0 {
		h, err := p.newHead(a.Secret, a.Header)
		return h[stream], err
	}
	if h, ok := (*p.heads.Load())[a.Secret]; ok {
		return h[stream], nil
	}
	h, err := p.newHead(a.Secret, nil)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	heads := maps.Clone(*p.heads.Load()) // as many as there are credentials
	heads[a.Secret] = h
	p.heads.Store(&heads)
	return h[stream], nil
}

func (p *Provider) newHead(secret llm.Secret, client http.Header) (head, error) {
	whole, err := p.header(secret, client)
	if err != nil {
		return head{}, err
	}
	whole["Content-Type"], whole["Accept"] = provider.JSON, provider.JSON
	stream := maps.Clone(whole)
	stream["Accept"] = provider.EventStream
	return head{whole, stream}, nil
}

// header is what every request carries. The credential comes last and stands in one header only, so that
// nothing a client or a configuration says can replace or repeat it.
func (p *Provider) header(secret llm.Secret, client http.Header) (http.Header, error) {
	h := make(http.Header, len(client)+len(p.headers)+3)
	for _, from := range [...]http.Header{client, p.headers} {
		for name, values := range from {
			if !provider.IsCredential(name) {
				h[http.CanonicalHeaderKey(name)] = slices.Clone(values)
			}
		}
	}
	switch {
	case secret == "" && p.vendor.noKey:
	case secret == "":
		return nil, &llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the gateway has no credential for the model's upstream"}
	case p.vendor.auth == keyHeader:
		h["Api-Key"] = []string{string(secret)}
	default:
		h["Authorization"] = []string{"Bearer " + string(secret)}
	}
	return h, nil
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
	h, err := p.header(secret, nil)
	if err != nil {
		return nil, err
	}
	h["Accept"] = provider.JSON
	return provider.Get(ctx, p.transport, p.chat, p.models, h)
}
