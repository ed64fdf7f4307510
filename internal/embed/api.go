package embed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

const (
	maxAPIText = 32 << 10
	// maxNumber is how many bytes of JSON a number of a vector may take; the rest of an answer is maxRest at most.
	maxNumber = 32
	maxRest   = 64 << 10
)

var goodModel = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,128}$`)

// api asks an OpenAI-style /embeddings. It never tries twice: who asks has a deadline, and a cache a breaker.
type api struct {
	id     string
	url    string
	model  string
	dim    int
	key    llm.Secret
	client *http.Client
}

func newAPI(o Options) (*api, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL must be http:// or https://, a host and a path, and nothing else") // not told: it may hold a password
	case !goodModel.MatchString(o.Model):
		return nil, fmt.Errorf("the model's name must match %s", goodModel)
	case o.Dim < 1 || o.Dim > maxDim:
		return nil, fmt.Errorf("the number of dimensions must be from 1 to %d", maxDim)
	case o.Client == nil:
		return nil, errors.New("no HTTP client")
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	where := sha256.Sum256([]byte(strings.TrimRight(o.URL, "/")))
	return &api{
		id:  fmt.Sprintf("api/%s/%s/%d", hex.EncodeToString(where[:6]), o.Model, o.Dim),
		url: strings.TrimRight(o.URL, "/") + "/embeddings", model: o.Model, dim: o.Dim, key: o.Key, client: &client,
	}, nil
}

// ID implements cache.Embedder. A model that changes behind its name must be given another name.
func (a *api) ID() string { return a.id }

// Dim implements cache.Embedder.
func (a *api) Dim() int { return a.dim }

// Embed implements cache.Embedder. Its errors have the kinds of upstreams' errors.
func (a *api) Embed(ctx context.Context, text string) ([]float32, error) {
	if text == "" || len(text) > maxAPIText {
		return nil, llm.Errorf(llm.KindInvalid, "a text of %d bytes is not embedded", len(text))
	}
	body, err := json.Marshal(map[string]string{"model": a.model, "input": text, "encoding_format": "float"})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+string(a.key))
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, a.broken(ctx, err)
	}
	defer resp.Body.Close()
	limit := int64(maxNumber*a.dim + maxRest)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, a.broken(ctx, err)
	case int64(len(answer)) > limit:
		return nil, llm.Errorf(llm.KindUpstream, "the answer of the embedder has more than %d bytes", limit)
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(resp)
	}
	return readVector(answer, a.dim)
}

// broken gives the meaning of a connection that failed.
func (a *api) broken(ctx context.Context, err error) error {
	kind := llm.KindUpstream
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = llm.KindUpstreamTimeout
	}
	return &llm.Error{Kind: kind, Msg: "the embedder cannot be reached", Err: err}
}

// refusal gives the meaning of a status. The body is not told: it may repeat the text.
func refusal(resp *http.Response) error {
	kind := llm.KindUpstream
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		kind = llm.KindInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		kind = llm.KindUpstreamCreds
	case http.StatusTooManyRequests:
		kind = llm.KindRateLimited
	}
	e := llm.Errorf(kind, "the embedder answered with status %d", resp.StatusCode)
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(min(s, 3600)) * time.Second
	}
	return e
}

// readVector reads the only vector of an answer.
func readVector(answer []byte, dim int) ([]float32, error) {
	var a struct {
		Data []struct {
			Vector []float32 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the answer of the embedder is no list of vectors"}
	}
	if len(a.Data) != 1 || len(a.Data[0].Vector) != dim {
		n := 0
		if len(a.Data) > 0 {
			n = len(a.Data[0].Vector)
		}
		return nil, llm.Errorf(llm.KindUpstream, "the embedder gave %d vectors, the first of %d numbers; one of %d was expected", len(a.Data), n, dim)
	}
	v := a.Data[0].Vector
	if !unit(v) {
		return nil, llm.Errorf(llm.KindUpstream, "the embedder gave a vector that has no direction")
	}
	return v, nil
}
