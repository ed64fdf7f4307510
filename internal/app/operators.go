package app

import (
	"net/http"

	"sluice/internal/admin"
)

// operators makes the handler of the operators' listener at an address.
func (a *App) operators(listen string) (http.Handler, error) {
	secret, err := a.people.hasher.Derive("admin")
	if err != nil {
		return nil, err
	}
	c := &a.cfg.Admin
	o := admin.Options{
		Control: a.people.control, Books: a.money.db.Ledger(), Recount: a.money.recounter().recount, Gateway: running{a}, Twins: a.db.Twins(),
		Door: a.people.door, Owned: a.people.control.Accounts().Owned, Listen: listen, Hosts: c.Hosts, Proxies: c.TrustedProxies,
		Token: c.Token, Loopback: admin.Loopback(c.Loopback), Secret: secret, Metrics: a.metrics.Handler(), OpenMetrics: c.OpenMetrics, Pprof: c.Pprof, Log: a.log,
	}
	if a.cfg.SignIn.OIDC.Issuer != "" {
		if o.Identities, err = a.people.identities(&a.cfg.SignIn.OIDC); err != nil {
			return nil, err
		}
	}
	return admin.New(o)
}
