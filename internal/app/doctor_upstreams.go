package app

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"sluice/internal/catalog"
	"sluice/internal/config"
	"sluice/internal/llm"
)

// lookProviders asks each provider, with each of its credentials, for its models: that costs nothing.
func lookProviders(ctx context.Context, p *patient) []Finding {
	if len(p.cfg.Providers) == 0 {
		return []Finding{skip("there is none")}
	}
	type question struct {
		provider *config.Provider
		with     config.Credential
	}
	var questions []question
	for i := range p.cfg.Providers {
		for _, cred := range p.cfg.Providers[i].Secrets() {
			questions = append(questions, question{&p.cfg.Providers[i], cred})
		}
	}
	answers := make([][]Finding, len(questions))
	var all sync.WaitGroup
	for i, q := range questions {
		all.Go(func() { answers[i] = lookProvider(ctx, p, q.provider, q.with) })
	}
	all.Wait()
	return slices.Concat(answers...)
}

func lookProvider(ctx context.Context, p *patient, pr *config.Provider, cred config.Credential) []Finding {
	name := "provider " + pr.Name
	if cred.Name != "" {
		name += "#" + cred.Name
	}
	t, err := transport(p.cfg, pr)
	if err != nil {
		return []Finding{problem("correct it", "%s", err).of(name)}
	}
	defer t.CloseIdle()
	w := &watched{next: t}
	made, err := newProvider(pr, w)
	if err != nil {
		return []Finding{problem("correct it", "%s", err).of(name)}
	}
	checker, ok := made.(llm.Checker)
	if !ok {
		return []Finding{skip("it cannot be asked without a call that costs").of(name)}
	}
	f := answerFinding(checker.Check(ctx, cred.APIKey), cred.APIKey != "", w)
	if pr.Proxy != "" && f.State != Fine {
		f.Seen += " (by way of its proxy)"
	}
	out := []Finding{f.of(name)}
	if c := clock("provider "+pr.Name, w.ahead, w.unsure); !w.date.IsZero() && c.State != Fine {
		out = append(out, c)
	}
	return out
}

// watched keeps what an answer shows beside its body.
type watched struct {
	next   llm.Transport
	host   string
	took   time.Duration
	date   time.Time
	ahead  time.Duration // that the upstream's clock is
	unsure time.Duration
}

// Send implements llm.Transport.
func (w *watched) Send(ctx context.Context, r *llm.Request) (*llm.Response, error) {
	w.host = r.URL.Host
	sent := time.Now()
	resp, err := w.next.Send(ctx, r)
	w.took = time.Since(sent)
	if err != nil {
		return nil, err
	}
	if w.date, err = http.ParseTime(resp.Header.Get("Date")); err == nil {
		// Its seconds are cut off: it was up to one later. When it was written, between sent and now, is not known.
		w.ahead = w.date.Add(time.Second / 2).Sub(sent.Add(w.took / 2))
		w.unsure = (time.Second + w.took) / 2
	}
	return resp, nil
}

// answerFinding tells what came of asking a provider.
func answerFinding(err error, credential bool, w *watched) Finding {
	if err == nil {
		took := w.took.Round(time.Millisecond)
		if credential {
			return fine("%s answers and takes the credential, in %s", w.host, took)
		}
		return fine("%s answers, in %s", w.host, took)
	}
	e := llm.AsError(err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	_, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	_, isNoTLS := errors.AsType[tls.RecordHeaderError](err)
	_, isDial := errors.AsType[*net.OpError](err)
	switch {
	case isDNS:
		return problem("correct base_url, or this machine's resolver (/etc/resolv.conf)", "the name %s cannot be resolved: %s", dns.Name, dns.Err)
	case isCert:
		return problem("name its authority in ca of the provider, or have its certificate renewed", "the certificate of %s is not trusted: %s", w.host, err)
	case isNoTLS:
		return problem("correct base_url: http:// or another port", "%s does not speak TLS", w.host)
	case e.Kind == llm.KindUpstreamCreds:
		return problem("set another credential (api_key or credentials of the provider)", "%s refuses the credential", w.host)
	case e.Kind == llm.KindRateLimited:
		return warn("wait, or ask the provider for more", "%s answers, but limits this credential now", w.host)
	case e.Kind == llm.KindUpstreamTimeout, errors.Is(err, context.DeadlineExceeded):
		return problem("let this machine reach it: firewall, proxy of the provider; timeouts.connect", "%s does not answer in time", w.host)
	case e.Msg == "the upstream's address is not allowed":
		return problem("add its range to allow_private of the provider, if that is meant", "%s: %s", w.host, e.Err)
	case isDial, errors.Is(err, llm.ErrNotSent):
		return problem("start it, correct base_url, or let this machine reach it", "%s cannot be reached: %s", w.host, err)
	}
	return warn("see what the provider says of its state", "%s answers with an error: %s", w.host, err)
}

// lookCertificate tells how long the certificate of the API's listener holds. That it fits its key the configuration tells.
func lookCertificate(_ context.Context, p *patient) []Finding {
	if p.cfg.TLS.Cert == "" {
		return []Finding{skip("there is none: the listener speaks plain HTTP")}
	}
	pair, err := tls.LoadX509KeyPair(p.cfg.TLS.Cert, p.cfg.TLS.Key)
	if err != nil {
		return []Finding{problem("correct tls.cert and tls.key", "%s", err)}
	}
	const soon, cure = 14 * 24 * time.Hour, "renew it; a gateway that runs takes up the new file by itself"
	now, until := p.o.now(), pair.Leaf.NotAfter
	switch {
	case now.Before(pair.Leaf.NotBefore):
		return []Finding{problem("wait, or set this machine's clock", "%s holds only from %s on", p.cfg.TLS.Cert, pair.Leaf.NotBefore.Format(time.RFC3339))}
	case now.After(until):
		return []Finding{problem(cure, "%s has ended on %s", p.cfg.TLS.Cert, until.Format(time.RFC3339))}
	case now.Add(soon).After(until):
		return []Finding{warn(cure, "%s ends on %s", p.cfg.TLS.Cert, until.Format(time.RFC3339))}
	}
	return []Finding{fine("it holds until %s, for %v", until.Format(time.DateOnly), pair.Leaf.DNSNames)}
}

// pricesAge is how old prices may be.
const pricesAge = 120 * 24 * time.Hour

// lookPrices tells whether somebody has looked at the prices of late.
func lookPrices(_ context.Context, p *patient) []Finding {
	list := catalog.Embedded()
	kept, err := KeptPrices(p.cfg)
	if err == nil && p.cfg.Prices.File != "" {
		var own []catalog.Price
		own, _, err = ReadPrices(p.cfg.Prices.File)
		kept = append(kept, own...)
	}
	if err != nil {
		return []Finding{problem("correct the price file, or remove it", "%s", err)}
	}
	var latest time.Time
	for i := range list {
		latest = later(latest, list[i].Checked)
	}
	for i := range kept {
		latest = later(latest, kept[i].Checked)
	}
	if p.o.now().Sub(latest) > pricesAge {
		return []Finding{warn("compare them with the providers' pages, and take up changes: sluice prices update FILE", "the latest were checked on %s", latest.Format(time.DateOnly))}
	}
	return []Finding{fine("the latest were checked on %s", latest.Format(time.DateOnly))}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// hostOf is the host of an address that a configuration names, "" if there is none.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
