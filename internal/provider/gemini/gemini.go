// Package gemini reaches Google's Gemini API and those that speak it: addresses, the credential's header,
// which of the formats carries a call, and the list of models.
package gemini

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/llm"
	"sluice/internal/provider"
	"sluice/internal/wire"
	wiregemini "sluice/internal/wire/gemini"
)

// DefaultBaseURL is Google's own address.
const DefaultBaseURL = "https://generativelanguage.googleapis.com"

// credentialHeader carries the key. The API takes ?key= as well, which would put it into every log.
const credentialHeader = "X-Goog-Api-Key" //nolint:gosec // the name of a header

// Options make a provider. Only Transport is needed.
type Options struct {
	Name      string      // as configured, for errors at start
	BaseURL   string      // "" is DefaultBaseURL; a path that ends in a version (/v1beta) is taken as it is
	Headers   http.Header // sent with every request
	Transport llm.Transport
}

// A Provider speaks to one upstream. It is safe for concurrent use.
type Provider struct {
	headers   http.Header
	transport llm.Transport
	models    *url.URL // of the list, and with a model and an action of everything else
}

var (
	_ llm.Provider = (*Provider)(nil)
	_ llm.Checker  = (*Provider)(nil)
	_ llm.Lister   = (*Provider)(nil)
)

// New makes a provider.
func New(o Options) (*Provider, error) {
	if o.Transport == nil {
		return nil, fmt.Errorf("provider %s: no transport", o.Name)
	}
	base, err := baseURL(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", o.Name, err)
	}
	headers := make(http.Header, len(o.Headers))
	for name, values := range o.Headers {
		if provider.IsCredential(name) {
			return nil, fmt.Errorf("provider %s: header %s carries credentials; configure the key instead", o.Name, name)
		}
		headers[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return &Provider{headers: headers, transport: o.Transport, models: base.JoinPath("models")}, nil
}

var version = regexp.MustCompile(`^v\d+(alpha|beta)?\d*$`)

// baseURL is the configured address with the API's version at its end.
func baseURL(configured string) (*url.URL, error) {
	if configured == "" {
		configured = DefaultBaseURL
	}
	u, err := provider.BaseURL(configured)
	if err != nil {
		return nil, err
	}
	if version.MatchString(path.Base(u.Path)) {
		return u, nil
	}
	return u.JoinPath("v1beta"), nil
}

// Do sends one attempt.
func (p *Provider) Do(ctx context.Context, a *llm.Attempt) (*llm.Reply, error) {
	codec, action, err := endpoint(a)
	if err != nil {
		return nil, err
	}
	if err := provider.Stateless(a); err != nil {
		return nil, err
	}
	enc := &llm.Encoding{Model: a.Target.Model, Stream: a.Stream && a.Op == llm.OpChat, Lenient: a.Target.Lenient}
	to, err := p.address(a.Target.Model, action)
	if err != nil {
		return nil, err
	}
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
		to.RawQuery = "alt=sse"
		h["Accept"] = provider.EventStream
	}
	req := &llm.Request{Method: http.MethodPost, URL: to, Header: h, Auth: auth(a.Secret), Body: body}
	return provider.Exchange(ctx, p.transport, a, codec, req, enc)
}

// endpoint chooses what carries a call. Embeddings of other formats go as a batch, which takes any number.
func endpoint(a *llm.Attempt) (codec wire.Upstream, action string, err error) {
	switch a.Op {
	case llm.OpChat:
		if a.Stream {
			return wiregemini.Generate, "streamGenerateContent", nil
		}
		return wiregemini.Generate, "generateContent", nil
	case llm.OpCount:
		return wiregemini.CountTokens, "countTokens", nil
	case llm.OpEmbed:
		if a.Format == llm.GeminiEmbed {
			return wiregemini.EmbedContent, "embedContent", nil
		}
		return wiregemini.BatchEmbed, "batchEmbedContents", nil
	}
	return nil, "", llm.Errorf(llm.KindUnsupported, "Gemini's API cannot do %q", a.Op)
}

// address is where an action of a model is. The model is one segment of the path, whatever it holds.
func (p *Provider) address(model, action string) (*url.URL, error) {
	model = strings.TrimPrefix(model, "models/")
	if model == "" || model == "." || model == ".." {
		return nil, llm.Errorf(llm.KindModelNotFound, "the target names no model")
	}
	u := *p.models
	prefix := u.EscapedPath() + "/"
	u.Path = u.Path + "/" + model + ":" + action
	u.RawPath = prefix + url.PathEscape(model) + ":" + action
	return &u, nil
}

// header is what a request carries beside its credential, which nothing in it can set: the configured headers, and those of
// the client that may travel.
func (p *Provider) header(client http.Header) http.Header {
	h := make(http.Header, len(p.headers)+len(client)+2)
	for name, values := range client {
		if !provider.IsCredential(name) {
			h[name] = values
		}
	}
	for name, values := range p.headers {
		h[name] = values
	}
	h["Accept"] = provider.JSON
	return h
}

func auth(secret llm.Secret) llm.Auth {
	if secret == "" {
		return llm.Auth{}
	}
	return llm.Auth{Name: credentialHeader, Secret: secret}
}

const maxPages = 20 // of a thousand models each

// A page is one page of the list of models.
type page struct {
	Models []struct {
		Name string `json:"name"`
	} `json:"models"`
	Next string `json:"nextPageToken"`
}

// Models names the models that the upstream offers, without the "models/" before each.
func (p *Provider) Models(ctx context.Context, secret llm.Secret) ([]string, error) {
	var names []string
	query := url.Values{"pageSize": {"1000"}}
	for range maxPages {
		got, err := p.list(ctx, secret, query)
		if err != nil {
			return nil, err
		}
		for _, m := range got.Models {
			if name := strings.TrimPrefix(m.Name, "models/"); name != "" {
				names = append(names, name)
			}
		}
		if got.Next == "" || got.Next == query.Get("pageToken") {
			break
		}
		query.Set("pageToken", got.Next)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Check tells whether the upstream answers and takes the credential.
func (p *Provider) Check(ctx context.Context, secret llm.Secret) error {
	_, err := p.list(ctx, secret, url.Values{"pageSize": {"1"}})
	return err
}

func (p *Provider) list(ctx context.Context, secret llm.Secret, query url.Values) (*page, error) {
	return provider.Page[page](ctx, p.transport, wiregemini.Generate, p.models, query, p.header(nil), auth(secret))
}
