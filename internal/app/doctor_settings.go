package app

import (
	"context"
	"net/netip"
	"strings"

	"sluice/internal/config"
)

// lookSettings tells what is meant to be so now and then, but is not safe or costs something.
func lookSettings(_ context.Context, p *patient) (out []Finding) {
	for _, look := range []func(*config.Config) []Finding{adminSettings, listenSettings, sharedSettings, providerSettings, accountSettings} {
		out = append(out, look(p.cfg)...)
	}
	if len(out) == 0 {
		out = append(out, fine("nothing to say"))
	}
	return out
}

func adminSettings(c *config.Config) (out []Finding) {
	a := &c.Admin
	if a.Listen == "off" {
		return nil
	}
	far := exposed(a.Listen)
	if far {
		out = append(out, warn("set admin.listen to 127.0.0.1:3002 and reach it through ssh -L or a proxy with TLS", "admin.listen %s: passwords, sessions and tokens cross the network in clear, for the listener has no TLS", a.Listen))
	}
	if far && a.OpenMetrics {
		out = append(out, warn("set admin.open_metrics to false and give the scraper a token with the scope metrics.read", "admin.open_metrics: whoever reaches %s reads which providers and models there are, how they fare and what they cost", a.Listen))
	}
	switch {
	case far && a.Pprof:
		out = append(out, problem("set admin.pprof to false, or admin.listen to 127.0.0.1:3002", "admin.pprof: whoever reaches %s can read memory, keys and content in it", a.Listen))
	case a.Pprof:
		out = append(out, warn("set admin.pprof to false when nobody profiles", "admin.pprof: every user of this machine can read the gateway's memory"))
	}
	return out
}

func listenSettings(c *config.Config) (out []Finding) {
	if far := exposed(c.Listen); far && c.TLS.Cert == "" {
		out = append(out, warn("set tls, or put something that ends TLS before it and listen on 127.0.0.1", "listen %s: keys and content cross the network in clear", c.Listen))
		if c.H2C {
			out = append(out, warn("leave h2c to listeners that only a proxy reaches", "h2c is on at %s", c.Listen))
		}
	}
	if c.Mock.Enabled && len(c.Providers) > 0 {
		out = append(out, warn("set mock.enabled to false", "mock.enabled: beside real providers, keys that may use any model get invented answers from mock/..."))
	}
	return out
}

// sharedSettings are what replicas must have in common.
func sharedSettings(c *config.Config) (out []Finding) {
	several := c.Redis.URL != "" || usesPostgres(c)
	if several && c.Pepper == "" {
		out = append(out, warn("set pepper, from the environment, to what the file pepper of the data directory holds", "pepper is a file of this replica: another one with its own takes none of the stored keys"))
	}
	if c.Redis.URL != "" && !usesPostgres(c) {
		out = append(out, warn("set store.url to a PostgreSQL that all replicas use", "redis.url is set and the store is SQLite: each replica has keys and books of its own"))
	}
	return out
}

func providerSettings(c *config.Config) (out []Finding) {
	metadata := netip.MustParseAddr("169.254.169.254") // where clouds give credentials to whoever asks
	for i := range c.Providers {
		pr := &c.Providers[i]
		for _, r := range pr.AllowPrivate {
			switch {
			case r.Bits() == 0:
				out = append(out, problem("name the ranges that the provider is in", "providers[%d].allow_private %s takes every address, those of this machine and of cloud metadata too", i, r))
			case r.Contains(metadata):
				out = append(out, problem("name smaller ranges", "providers[%d].allow_private %s has the address of cloud metadata in it", i, r))
			case r.Addr().Is4() && r.Bits() < 8, r.Addr().Is6() && r.Bits() < 16:
				out = append(out, warn("name smaller ranges", "providers[%d].allow_private %s is very wide", i, r))
			}
		}
		if host := hostOf(pr.BaseURL); strings.HasPrefix(pr.BaseURL, "http://") && !here(host) {
			out = append(out, warn("use https://", "providers[%d].base_url: the credential crosses the network to %s in clear", i, host))
		}
	}
	return out
}

// accountSettings are what may cost money, or the knowledge of it.
func accountSettings(c *config.Config) (out []Finding) {
	if c.Ledger.Off {
		out = append(out, warn("set ledger.off to false", "ledger.off: calls are not accounted for, so there are no reports and no budgets"))
	}
	if c.Ledger.WhenFull == "go_on" {
		out = append(out, warn("set ledger.when_full to refuse", "ledger.when_full go_on: calls may go unaccounted for, past every budget, when the disk is full"))
	}
	if c.Disconnect.Policy == "drain" {
		out = append(out, warn("leave disconnect.policy at cancel, unless exact bills are worth it", "disconnect.policy drain: providers go on writing for up to %s, and bill for it, when nobody reads any more", c.Disconnect.Drain))
	}
	return out
}
