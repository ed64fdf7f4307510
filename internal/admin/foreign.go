package admin

import (
	"cmp"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sluice/internal/llm"
)

// Where people are sent to a provider of identities, and where it sends them back to (sign_in.oidc.redirect_url).
const (
	departPath = "/admin/session/oidc"
	returnPath = "/admin/session/oidc/return"
)

// Names of the cookie of a sign-in that is under way at a provider, as those of sessions. It holds what the provider's client sealed and,
// after a dot, where the browser goes in the end.
const (
	awayName  = "__Host-sluice-oidc"
	awayPlain = "sluice-oidc"
	awayTime  = 10 * time.Minute // package oidc takes none that is older
)

// isReturn tells of what other sites must make: a provider sends browsers back, and the page of somebody's applications sends
// them here to sign in. Both are links that are followed, which do nothing but by the cookie of this browser's own sign-in.
func isReturn(r *http.Request) bool {
	followed := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return followed && (r.URL.Path == returnPath || r.URL.Path == departPath && r.URL.RawQuery == "")
}

var errNoIdentities = &llm.Error{Kind: llm.KindNotFound, Msg: "people sign in with passwords here: no provider of identities is configured (sign_in.oidc)"}

// depart sends a browser to the provider.
func (h *Handler) depart() Route {
	query := []Param{
		{Name: "next", Doc: "Where the browser goes in the end: a path of this listener; /admin/session when left out."},
		{Name: "prove", Doc: "true: whoever is signed in shows anew that it is them."},
	}
	return Route{Method: http.MethodGet, Path: departPath, For: ForAnybody, Summary: "Send the browser to the provider of identities, to sign in there.", Query: query, Media: "text/html", Status: http.StatusSeeOther, write: func(q *request) error {
		p := params{values: q.URL.Query()}
		next, prove := p.text("next"), p.text("prove")
		switch {
		case next != "" && !isLocal(next):
			return llm.Errorf(llm.KindInvalid, "next: must be a path of this listener, such as /admin/session")
		case prove != "" && prove != "true":
			return llm.Errorf(llm.KindInvalid, "prove: must be true, or left out")
		case h.o.Identities == nil || h.o.Door == nil:
			return errNoIdentities
		}
		s, err := h.o.Identities.Start(q.Context(), prove == "true")
		if err != nil {
			return err
		}
		giveCookie(q, awayName, awayPlain, string(s.Cookie)+"."+base64.RawURLEncoding.EncodeToString([]byte(next)), awayTime)
		q.w.Header().Set("Location", s.URL)
		q.w.WriteHeader(http.StatusSeeOther)
		return nil
	}}
}

// isLocal tells whether an address that came from elsewhere stays here: a path, and nothing that a browser might take for a host.
func isLocal(next string) bool {
	u, err := url.Parse(next)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && strings.HasPrefix(next, "/") &&
		!strings.HasPrefix(next, "//") && !strings.ContainsAny(next, "\\\t\r\n") && len(next) <= 1024
}

// onward is the page that takes a browser on. A redirect would not do: it would count as made by the provider's site, to whose requests this
// listener gives nothing. The path is one that isLocal let pass. Package html/template would make the binary a third larger
// (docs/dependencies.md, Size).
func onward(path string) string {
	return strings.ReplaceAll(`<!DOCTYPE html>
<meta charset="utf-8"><meta http-equiv="refresh" content="0; url={path}"><title>Signed in</title>
<p>Signed in. <a href="{path}">Go on</a></p>
`, "{path}", html.EscapeString(path))
}

// comeBack takes browsers that the provider sends back.
func (h *Handler) comeBack() Route {
	return Route{Method: http.MethodGet, Path: returnPath, For: ForAnybody, Summary: "Take a browser back from the provider of identities, and begin its session.", Media: "text/html; charset=utf-8", Status: http.StatusOK, Foreign: true, write: func(q *request) error {
		if h.o.Identities == nil || h.o.Door == nil {
			return errNoIdentities
		}
		cookie := cookieOf(q.Request, awayName, awayPlain)
		giveCookie(q, awayName, awayPlain, "", 0)
		sealed, where, _ := strings.Cut(cookie, ".")
		e, err := h.o.Door.Return(q.Context(), h.o.Identities, q.URL.Query(), sealed, sessionCookie(q.Request), h.client(q))
		if err != nil {
			return err
		}
		setCookie(q, e.Cookie)
		next, err := base64.RawURLEncoding.DecodeString(where)
		if err != nil || !isLocal(string(next)) {
			next = nil
		}
		_, err = io.WriteString(q.w, onward(cmp.Or(string(next), "/admin/session")))
		return err
	}}
}
