// Package vault reads secrets from HashiCorp Vault or OpenBao: entries of the KV engine, version 2, by one HTTP call each. It writes
// nothing, and renews no token.
package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	patience = 5 * time.Second // for one call
	mostText = 1 << 20         // bytes of an answer
)

// A Client reads entries and remembers them. Where Vault is, and the token for it, are read from the environment that Vault's own
// tools read: VAULT_ADDR, VAULT_TOKEN or VAULT_TOKEN_FILE, VAULT_NAMESPACE, VAULT_CACERT.
type Client struct {
	getenv   func(string) string
	readFile func(string) ([]byte, error)

	mu      sync.Mutex // guards the rest, and makes one call at a time
	entries map[string]map[string]jsontext.Value
}

// New makes a client. Nil functions are those of the process.
func New(getenv func(string) string, readFile func(string) ([]byte, error)) *Client {
	if getenv == nil {
		getenv = os.Getenv
	}
	if readFile == nil {
		readFile = os.ReadFile
	}
	return &Client{getenv: getenv, readFile: readFile, entries: make(map[string]map[string]jsontext.Value)}
}

// Refresh makes the client ask anew for what it remembers.
func (c *Client) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
}

// refForm is MOUNT/PATH#FIELD. A mount is one word: whatever follows it is the path.
var refForm = regexp.MustCompile(`^([A-Za-z0-9_-]+)/([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)#([A-Za-z0-9_.-]+)$`)

// Read gives a field of an entry; ref is MOUNT/PATH#FIELD. An error never holds a secret.
func (c *Client) Read(ctx context.Context, ref string) (string, error) {
	mount, path, field, err := parseRef(ref)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := mount + "/data/" + path
	fields, known := c.entries[at]
	if !known {
		if fields, err = c.fetch(ctx, at); err != nil {
			return "", fmt.Errorf("%s/%s: %w", mount, path, err)
		}
		c.entries[at] = fields
	}
	raw, ok := fields[field]
	if !ok {
		return "", fmt.Errorf("%s/%s has no field %s", mount, path, field)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil || text == "" {
		return "", fmt.Errorf("the field %s of %s/%s is no text, or empty", field, mount, path)
	}
	return text, nil
}

// parseRef reads MOUNT/PATH#FIELD. What it gives stands in the path of a URL as it is, and leads nowhere else.
func parseRef(ref string) (mount, path, field string, err error) {
	m := refForm.FindStringSubmatch(ref)
	if m == nil || strings.Contains("/"+m[2]+"/", "/../") || strings.Contains("/"+m[2]+"/", "/./") {
		return "", "", "", errors.New("must be MOUNT/PATH#FIELD, such as secret/sluice/openai#api_key")
	}
	return m[1], m[2], m[3], nil
}

// fetch asks Vault for an entry.
func (c *Client) fetch(ctx context.Context, at string) (map[string]jsontext.Value, error) {
	base, err := url.Parse(c.getenv("VAULT_ADDR"))
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" {
		return nil, errors.New("VAULT_ADDR must be set, such as https://vault.internal:8200")
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("v1", at).String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Vault-Token", token)
	r.Header.Set("X-Vault-Request", "true")
	if ns := c.getenv("VAULT_NAMESPACE"); ns != "" {
		r.Header.Set("X-Vault-Namespace", ns)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask Vault: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("Vault answered %d: %s", answer.StatusCode, meaning(answer.StatusCode)) //nolint:staticcheck // a name
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, mostText+1))
	if err != nil {
		return nil, fmt.Errorf("read Vault's answer: %w", err)
	}
	if len(text) > mostText {
		return nil, fmt.Errorf("Vault's answer has more than %d bytes", mostText) //nolint:staticcheck // a name
	}
	return parse(text)
}

func meaning(status int) string {
	switch status {
	case http.StatusForbidden:
		return "the token may not read this entry, or has expired"
	case http.StatusNotFound:
		return "there is no such entry, or the mount is not a KV engine of version 2"
	}
	return "see its log"
}

// parse reads an answer of the KV engine, version 2. What the answer holds is not repeated by an error.
func parse(text []byte) (map[string]jsontext.Value, error) {
	var a struct {
		Data struct {
			Data map[string]jsontext.Value `json:"data"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &a); err != nil || a.Data.Data == nil {
		return nil, errors.New("Vault's answer is not one of the KV engine, version 2") //nolint:staticcheck // a name
	}
	return a.Data.Data, nil
}

func (c *Client) token() (string, error) {
	token := c.getenv("VAULT_TOKEN")
	if path := c.getenv("VAULT_TOKEN_FILE"); token == "" && path != "" {
		text, err := c.readFile(path)
		if err != nil {
			return "", fmt.Errorf("VAULT_TOKEN_FILE: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", errors.New("VAULT_TOKEN or VAULT_TOKEN_FILE must give a token")
	}
	return token, nil
}

// client is one for a single call. It follows no redirect, which could carry the token elsewhere, and takes no proxy of the environment.
func (c *Client) client() (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := c.getenv("VAULT_CACERT"); path != "" {
		pem, err := c.readFile(path)
		if err != nil {
			return nil, fmt.Errorf("VAULT_CACERT: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("VAULT_CACERT holds no certificate")
		}
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: conf, TLSHandshakeTimeout: patience, MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
