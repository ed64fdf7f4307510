package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"sluice/internal/account"
	"sluice/internal/account/oidc"
	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/upstream"
)

// openDoor opens where people sign in. signIn is what the configuration in force says of that; nil: nothing.
func openDoor(db *sql.DB, hasher *auth.Hasher, recorder audit.Recorder, signIn func() *config.SignIn, log *slog.Logger) (*account.Door, error) {
	o := account.Options{Store: db.Accounts(), Audit: recorder, Together: db.Together, Hasher: hasher, Random: rand.Reader, Log: log}
	if signIn != nil {
		o.Settings = func() account.Settings {
			s := signIn()
			set := account.Settings{Idle: s.Idle, Absolute: s.Absolute}
			for _, r := range s.RequireTOTP {
				set.RequireTOTP = append(set.RequireTOTP, account.Role(r))
			}
			return set
		}
	}
	return account.New(o)
}

// identities is the provider of identities that a configuration names.
func (p *people) identities(c *config.OIDC) (*oidc.Provider, error) {
	dialer := &net.Dialer{Timeout: 3 * time.Second, Control: upstream.Guard(c.AllowPrivate)}
	o := oidc.Options{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, RedirectURL: c.RedirectURL, Scopes: c.Scopes, GroupsClaim: c.GroupsClaim,
		Realm: func(ctx context.Context, role account.Role, home oidc.Home, email, _ string) (account.Realm, error) {
			return p.control.Accounts().ForeignRealm(ctx, role, home.Organisation, home.Team, email)
		},
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true, // sign-ins are rare
		},
		Hasher: p.hasher, Random: rand.Reader,
	}
	for _, r := range c.Roles {
		o.Grants = append(o.Grants, oidc.Grant{Group: r.Group, Role: account.Role(r.Role), Home: oidc.Home{Organisation: r.Organisation, Team: r.Team}})
	}
	return oidc.New(o)
}

// inviteOwner tells whoever reads the start how the gateway gets its first owner, where nobody can sign in yet who may do everything; "" where
// somebody can. The link is drawn once for a store, and not where the configuration has another way in (admin.token, a group whose role
// is owner): what is not needed must not lie about in the output of a container.
func (a *App) inviteOwner(ctx context.Context) string {
	cfg, accounts := a.effective(), a.people.control.Accounts()
	if cfg.Admin.Listen == "off" {
		return ""
	}
	owned, err := accounts.Owned(ctx)
	if owned {
		return ""
	}
	var in *control.Invited
	byGroup := slices.ContainsFunc(cfg.SignIn.OIDC.Roles, func(r config.OIDCRole) bool { return r.Role == string(account.RoleOwner) })
	if err == nil && cfg.Admin.Token == "" && !byGroup {
		in, err = accounts.FirstOwner(ctx)
	}
	if err != nil { // calls are served all the same
		a.log.Error("the first owner was not invited; sluice admin create-owner ADDRESS does it", "event", "no_owner", "error", err.Error())
		return ""
	}
	a.log.Info("no owner can sign in yet; sluice admin create-owner ADDRESS invites one", "event", "no_owner")
	if in == nil {
		return "\nNo owner can sign in yet. To become one: sluice admin create-owner you@example.org\n"
	}
	return fmt.Sprintf("\nNo owner can sign in yet. To become the first, before %s, use this link, which works once and is shown this once:\n\n    %s\n\n"+
		"sluice accounts redeem asks for it, for your e-mail address and for a password.\n", in.Expires.Format("2006-01-02 15:04 MST"), in.Token)
}

// CreateOwner makes an owner in the store that a configuration names, or lets one set another password, and says where the store is.
// It is for whoever has the store, and so needs no gateway and no other proof. A store that is not there is made only if create says so.
func CreateOwner(ctx context.Context, o Options, address string, create bool) (in *control.Invited, at string, err error) {
	src, cfg, db, err := openLocal(ctx, o, create)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := localPeople(ctx, src, cfg, db)
	if err != nil {
		return nil, "", err
	}
	in, err = p.control.Accounts().CreateOwner(ctx, control.Owner("operator"), address)
	return in, placeOf(cfg), errors.Join(err, p.closeLocal(context.WithoutCancel(ctx)))
}
