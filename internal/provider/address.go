package provider

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// BaseURL reads the configured address of an upstream. Paths are joined to it, and nothing of a request
// ever changes its host.
func BaseURL(configured string) (*url.URL, error) {
	u, err := url.Parse(configured)
	switch {
	case err != nil:
		return nil, errors.New("base_url is not an address") // err holds it, and with it a password
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("base_url %q is no http or https address", u.Redacted())
	case u.User != nil || u.Fragment != "" || u.RawQuery != "":
		return nil, fmt.Errorf("base_url %q has a user, a query or a fragment", u.Redacted())
	}
	u.Path = "/" + strings.Trim(u.Path, "/") // JoinPath on an empty path would give a relative one
	return u, nil
}

// IsCredential names the headers in which some vendor takes its key. No configured header may have one of
// these names: the key goes in one place.
func IsCredential(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Proxy-Authorization", "Api-Key", "X-Api-Key", "X-Goog-Api-Key", "Cookie":
		return true
	}
	return false
}
