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
	return admin.New(admin.Options{
		Control: a.people.control, Books: a.money.db.Ledger(), Recount: a.money.recounter().recount, Gateway: running{a}, Twins: a.db.Twins(),
		Listen: listen, Hosts: c.Hosts, Token: c.Token, Loopback: admin.Loopback(c.Loopback), Secret: secret,
		Metrics: a.metrics.Handler(), Pprof: c.Pprof, Log: a.log,
	})
}
