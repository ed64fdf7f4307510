package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/control"
	"sluice/internal/llm"
)

// A Door is where people and tools show who they are; account.Door is one.
type Door interface {
	SignIn(ctx context.Context, c account.Credentials, from account.Client) (*account.Entered, error)
	Session(ctx context.Context, cookie string, from account.Client) (*account.Signed, error)
	Token(ctx context.Context, token string, from account.Client) (*account.Signed, error)
	CSRF(cookie string) string
	CheckCSRF(cookie, token string) bool
	SignOut(ctx context.Context, cookie string, from account.Client) error
	Prove(ctx context.Context, cookie string, p account.Proof, from account.Client) (*account.Entered, error)
	ReadLink(ctx context.Context, token string) (email string, reset bool, err error)
	Redeem(ctx context.Context, r account.Redemption, from account.Client) error
	ChangePassword(ctx context.Context, cookie, was, is string, from account.Client) (*account.Entered, error)
	Enrol(ctx context.Context, cookie string) (*account.Enrolment, error)
	Confirm(ctx context.Context, cookie, ticket, code string, from account.Client) (*account.Entered, []string, error)
	NewCodes(ctx context.Context, cookie string, from account.Client) ([]string, error)
	DropTOTP(ctx context.Context, cookie string, from account.Client) error
	Return(ctx context.Context, p account.Identities, query url.Values, cookie, current string, from account.Client) (*account.Entered, error)
}

// An identity is who makes a request.
type identity struct {
	actor  control.Actor
	cookie string          // of the session; "": it is no browser
	signed *account.Signed // nil: admin.token, or the operator of this machine
}

// errUnknown is the one answer to whoever does not show who they are, whatever was wrong with it.
var errUnknown = &llm.Error{Kind: llm.KindInvalidKey, Code: "unauthorized", Msg: "sign in, or send a token as Authorization: Bearer TOKEN (docs/admin-api.md)"}

// admit finds out who makes a request, and whether they may do what the route does.
func (h *Handler) admit(q *request) error {
	if q.route.changes() && !h.o.Local {
		if err := h.origin.Check(q.Request); err != nil {
			return &llm.Error{Kind: llm.KindForbidden, Code: "cross_site", Msg: "This listener takes no requests that another site's page makes."}
		}
	}
	if q.route.Act == "" && q.route.For == ForAnybody {
		return nil
	}
	var err error
	if q.who, err = h.identify(q); err != nil {
		return err
	}
	if q.who.cookie != "" && q.route.changes() && !h.o.Door.CheckCSRF(q.who.cookie, q.Header.Get(csrfHeader)) {
		return &llm.Error{Kind: llm.KindForbidden, Code: "csrf", Msg: "send what GET /admin/session calls csrf as " + csrfHeader}
	}
	q.actor = q.who.actor
	if q.actor.Why, err = why(q.Request); err != nil {
		return err
	}
	if q.route.Act == "" {
		return nil
	}
	if err := q.actor.May(q.route.Act); err != nil {
		return h.refusal(q.Context(), q.actor, q.route.Act, err)
	}
	return nil
}

// csrfHeader carries what binds an unsafe request to its session: a page of another site cannot know it.
const csrfHeader = "X-Sluice-CSRF"

// identify finds out who makes a request: by its cookie, by its token, or by where it comes from. What is sent decides, also when
// it is worth nothing.
func (h *Handler) identify(q *request) (who identity, err error) {
	r, from := q.Request, h.client(q)
	if h.o.Local {
		return identity{actor: owner("operator", from)}, nil
	}
	if cookie := sessionCookie(r); cookie != "" {
		if h.o.Door == nil {
			return who, errUnknown
		}
		s, err := h.o.Door.Session(r.Context(), cookie, from)
		if err != nil {
			return who, unknown(err)
		}
		return identity{control.ActorOf(s, h.o.Now(), from, ""), cookie, s}, nil
	}
	if header := r.Header.Values("Authorization"); len(header) > 0 {
		scheme, token, _ := strings.Cut(header[0], " ")
		if len(header) > 1 || !strings.EqualFold(scheme, "bearer") {
			return who, errUnknown
		}
		return h.bearer(r.Context(), token, from)
	}
	if ok, err := h.trusts(r); err != nil || !ok {
		return who, cmpErr(err, errUnknown)
	}
	return identity{actor: owner("operator", from)}, nil
}

func (h *Handler) bearer(ctx context.Context, token string, from account.Client) (who identity, err error) {
	if h.o.Token != "" {
		got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(h.o.Token))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			return identity{actor: owner("admin.token", from)}, nil
		}
	}
	if h.o.Door == nil {
		return who, errUnknown
	}
	s, err := h.o.Door.Token(ctx, token, from)
	if err != nil {
		return who, unknown(err)
	}
	return identity{actor: control.ActorOf(s, h.o.Now(), from, ""), signed: s}, nil
}

// unknown makes the one answer of all reasons for which a cookie or token is worth nothing. A store that fails is no reason.
func unknown(err error) error {
	if llm.AsError(err).Kind == llm.KindInvalidKey {
		return errUnknown
	}
	return err
}

// owner is whoever runs the gateway.
func owner(name string, from account.Client) control.Actor {
	a := control.Owner(name)
	a.Audit = audit.Actor{Name: name, Kind: account.Operator, From: from.Address, Request: from.Request}
	return a
}

// forwarded are headers by which a proxy says that a request is not its own. They are believed in that alone.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

func proxied(r *http.Request) bool {
	return slices.ContainsFunc(forwarded, func(name string) bool { return r.Header.Get(name) != "" })
}

// trusts tells whether a request that shows nothing is the operator's, as it comes from this machine.
func (h *Handler) trusts(r *http.Request) (bool, error) {
	if h.o.Token != "" || h.o.Loopback == LoopbackNever || !peer(r).IsLoopback() {
		return false, nil
	}
	if proxied(r) {
		return false, nil
	}
	if h.o.Loopback == LoopbackOperator || h.o.Owned == nil {
		return true, nil
	}
	if h.owned.Load() {
		return false, nil
	}
	owned, err := h.o.Owned(r.Context())
	if owned {
		h.owned.Store(true)
	}
	return !owned && err == nil, err
}

// client is where a request comes from.
func (h *Handler) client(q *request) account.Client {
	agent := q.UserAgent()
	return account.Client{Address: h.address(q.Request), Agent: agent[:min(len(agent), 200)], Request: q.w.Header().Get("X-Request-Id")}
}

// address is a request's client: its peer or, where that is a trusted proxy, the nearest hop of X-Forwarded-For that is none. What
// stands farther from us anybody can have written.
func (h *Handler) address(r *http.Request) netip.Addr {
	at := peer(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !slices.ContainsFunc(h.o.Proxies, func(p netip.Prefix) bool { return p.Contains(at) }) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		at = next.Unmap().WithZone("")
	}
	return at
}

func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(host)
	return a.Unmap()
}

// Names of the session's cookie. The first is taken by browsers over TLS only, for this host only; the second is for a browser on
// this machine.
const (
	cookieName  = "__Host-sluice"
	cookiePlain = "sluice"
)

// plain tells whether a request comes from a browser on this machine, over no proxy, for which a cookie needs no TLS.
func plain(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return r.TLS == nil && !proxied(r) && peer(r).IsLoopback() && (strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback())
}

func sessionCookie(r *http.Request) string { return cookieOf(r, cookieName, cookiePlain) }

// cookieOf is the value of the cookie of a name; other is its name where it needs no TLS.
func cookieOf(r *http.Request, name, other string) string {
	names := []string{name}
	if plain(r) {
		names = append(names, other)
	}
	for _, name := range names {
		if list := r.CookiesNamed(name); len(list) == 1 {
			return list[0].Value
		} else if len(list) > 1 {
			return "ambiguous"
		}
	}
	return ""
}

// setCookie gives a browser a session; "" takes it away.
func setCookie(q *request, value llm.Secret) {
	giveCookie(q, cookieName, cookiePlain, string(value), 0)
}

// giveCookie gives a browser a cookie for as long as it says, 0 until it is closed; "" takes it away.
func giveCookie(q *request, name, other, value string, lives time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(lives.Seconds())} //nolint:gosec // G124: all three are set
	if plain(q.Request) {
		c.Name, c.Secure = other, false
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(q.w, c)
}
