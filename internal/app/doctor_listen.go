package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"sluice/internal/telemetry"
)

// lookListeners tells whether the addresses are free, or held by a gateway of ours, and how that one is.
func lookListeners(ctx context.Context, p *patient) []Finding {
	data := p.held(ctx, "listen", p.cfg.Listen, p.cfg.TLS.Cert != "")
	out, running := []Finding{data.Finding}, data.ours
	var admin holding
	if addr := p.cfg.Admin.Listen; addr != "off" {
		admin = p.held(ctx, "admin.listen", addr, false)
		out, running = append(out, admin.Finding), running || admin.ours
	}
	if !running {
		return append(out, skip("none runs at these addresses").of("running gateway"))
	}
	if data.ours {
		out = append(out, p.ready(ctx).of("running gateway"))
	}
	if admin.ours {
		out = append(out, p.version(ctx).of("running gateway"))
	}
	return out
}

// ready tells whether a gateway of ours takes calls.
func (p *patient) ready(ctx context.Context) Finding {
	switch status, _, err := ask(ctx, p.cfg.Listen, p.cfg.TLS.Cert != "", "/ready"); {
	case err != nil:
		return problem("see its log", "it does not answer /ready: %s", err)
	case status != http.StatusOK:
		return problem("see its log: it starts, stops, or has no configuration", "it is not ready for calls: /ready answers %d", status)
	}
	return fine("it is ready for calls")
}

// version tells whether a gateway of ours is what the one who asks is. It says so to whoever shows who they are, and that the doctor
// does only by being on this machine: a token is not sent to whatever listens there.
func (p *patient) version(ctx context.Context) Finding {
	var build telemetry.BuildInfo
	status, answer, err := ask(ctx, p.cfg.Admin.Listen, false, "/build")
	own := Build()
	switch {
	case err == nil && status == http.StatusUnauthorized:
		return skip("its version is told to who signs in: GET /build")
	case err != nil || json.Unmarshal(answer, &build) != nil || build.Go == "":
		return problem("see its log", "it does not say what it is: /build answers %d", status)
	case build.Version != own.Version || build.Commit != own.Commit:
		return warn("restart it after an update, or call the sluice that runs", "it is %s, this program %s", versionOf(&build), versionOf(&own))
	}
	return fine("it is this version, %s", versionOf(&own))
}

func versionOf(b *telemetry.BuildInfo) string {
	if b.Commit == "" {
		return b.Version
	}
	return b.Version + " (" + b.Commit + ")"
}

// A holding is what is known of an address.
type holding struct {
	Finding
	ours bool // a gateway listens there
}

// held tries to listen at an address for a moment; where somebody else does, a gateway is known by what it says of its health.
func (p *patient) held(ctx context.Context, name, addr string, secure bool) holding {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		_ = l.Close()
		return holding{Finding: fine("%s is free", addr).of(name)}
	case errors.Is(err, syscall.EADDRINUSE):
		var health struct{ Status string }
		if _, answer, err := ask(ctx, addr, secure, "/health"); err == nil && json.Unmarshal(answer, &health) == nil && health.Status == "healthy" {
			return holding{fine("%s is held by a gateway that runs", addr).of(name), true}
		}
		return holding{Finding: problem("stop the other program, or set another address ("+name+")", "%s is held by another program", addr).of(name)}
	case errors.Is(err, fs.ErrPermission):
		return holding{Finding: problem("set a port from 1024 on, or give the program the right (CAP_NET_BIND_SERVICE)", "%s may not be listened on: %s", addr, err).of(name)}
	}
	return holding{Finding: problem("set an address of this machine ("+name+")", "%s cannot be listened on: %s", addr, err).of(name)}
}

// ask asks a listener of this machine. Its certificate is not looked at: it is for another name.
func ask(ctx context.Context, addr string, secure bool, path string) (status int, answer []byte, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, nil, err
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	ctx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+net.JoinHostPort(host, port)+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}} //nolint:gosec // only asked whether it is there
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, answer, err
}

// exposed tells whether an address can be reached from other machines.
func exposed(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return !here(cmp.Or(host, addr)) || err == nil && host == ""
}

// here tells whether a host is this machine, by its name or address.
func here(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
