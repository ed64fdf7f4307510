package config

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"sluice/internal/llm"
)

// SignIn is how people sign in to manage the gateway.
type SignIn struct {
	// A session that nobody used for so long has ended.
	Idle time.Duration `yaml:"idle" example:"15m"`
	// A session ends after so long, however much it is used.
	Absolute time.Duration `yaml:"absolute" example:"8h"`
	// Roles that must have one-time codes (TOTP). Whoever has none yet can only enrol. Not asked of those who sign in by OpenID Connect: their provider asks.
	RequireTOTP []string `yaml:"require_totp" enum:"owner,admin,operator,auditor,member" example:"owner"`
	// A provider of identities that people may sign in at, beside passwords.
	OIDC OIDC `yaml:"oidc" restart:"true"`
}

// OIDC is a provider of identities, by OpenID Connect.
type OIDC struct {
	// Its address, exactly as its tokens say (iss).
	Issuer string `yaml:"issuer" example:"https://id.example.com/realms/staff"`
	// The name that Sluice has there.
	ClientID string `yaml:"client_id" example:"sluice"`
	// What goes with the name. Left out: Sluice is a public client there.
	ClientSecret llm.Secret `yaml:"client_secret" example:"${OIDC_CLIENT_SECRET}"`
	// Where the provider sends browsers back to, exactly as it is registered there: the admin listener's address as browsers see it, with the path /admin/session/oidc/return.
	RedirectURL string `yaml:"redirect_url" example:"https://sluice-admin.example.com/admin/session/oidc/return"`
	// What to ask for beside openid, profile and email.
	Scopes []string `yaml:"scopes" example:"groups"`
	// The claim that lists a person's groups; groups when left out.
	GroupsClaim string `yaml:"groups_claim" example:"roles"`
	// What the groups give, in order: the first that fits counts. Whoever is in none of them is refused.
	Roles []OIDCRole `yaml:"roles"`
	// Private, loopback or otherwise special address ranges the provider may be in. All others of that sort are refused when dialled.
	AllowPrivate []netip.Prefix `yaml:"allow_private" example:"10.20.0.0/16"`
}

// OIDCRole is what being in a group gives.
type OIDCRole struct {
	// The group, exactly as the claim has it; * is everybody.
	Group string `yaml:"group" required:"true" example:"platform-team"`
	// The role.
	Role string `yaml:"role" required:"true" enum:"owner,admin,operator,auditor,member" example:"operator"`
	// The organisation, by name or id, that bounds the role. A member is a user of it: the one whose name is their e-mail address, made at the first sign-in; default when left out.
	Organisation string `yaml:"organisation" example:"research"`
	// The team, by name or id, that bounds the role.
	Team string `yaml:"team" example:"search"`
}

func (d *decoder) signIn(s *SignIn) {
	if s.Idle < 2*time.Minute {
		d.fail("sign_in.idle", "must be 2m or more: uses are noted once a minute")
	}
	if s.Absolute < s.Idle {
		d.fail("sign_in.absolute", "is shorter than sign_in.idle")
	}
	o, path := &s.OIDC, "sign_in.oidc"
	if o.Issuer == "" && o.ClientID == "" && o.ClientSecret == "" && o.RedirectURL == "" && len(o.Roles) == 0 {
		return
	}
	d.secureURL(path+".issuer", o.Issuer, "https://id.example.com")
	d.secureURL(path+".redirect_url", o.RedirectURL, "https://sluice-admin.example.com/admin/session/oidc/return")
	if o.ClientID == "" {
		d.fail(path+".client_id", "is missing: it is the name that Sluice has at the provider")
	}
	if len(o.Roles) == 0 {
		d.fail(path+".roles", "is missing: without it nobody who signs in there has a role")
	}
	for i := range o.Roles {
		r, at := &o.Roles[i], index(path+".roles", i)
		if r.Group == "*" && (r.Role == "owner" || r.Role == "admin") {
			d.fail(at, "gives everybody at the provider the role %s: name a group", r.Role)
		}
		if r.Role == "member" && r.Team != "" {
			d.fail(at+".team", "bounds no member, who is a user of an organisation: leave it out")
		}
		if r.Group == "*" && i < len(o.Roles)-1 {
			d.fail(at, "is everybody, so nothing after it counts: put it last")
		}
	}
}

// secureURL checks an address that is https, or http on this very machine.
func (d *decoder) secureURL(path, s, example string) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		d.fail(path, "is missing: give one, for example %q", example)
	case err != nil || u.Hostname() == "" || !validPort(u) || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(s, "#"):
		d.fail(path, "must be an address such as %s, without user, query or fragment", example)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLocal(u.Hostname())):
		d.fail(path, "must begin with https://: over anything else whoever listens can sign in as somebody else (http:// is taken for localhost only)")
	}
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
