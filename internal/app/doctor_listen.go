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
	data := p.held(ctx, "listen", p.cfg.Listen, p.cfg.TLS.Cert != "", "/health", func(answer []byte) bool {
		var health struct{ Status string }
		return json.Unmarshal(answer, &health) == nil && health.Status == "healthy"
	})
	out, running := []Finding{data.Finding}, data.ours
	var build telemetry.BuildInfo
	if addr := p.cfg.Admin.Listen; addr != "off" {
		admin := p.held(ctx, "admin.listen", addr, false, "/build", func(answer []byte) bool {
			return json.Unmarshal(answer, &build) == nil && build.Go != ""
		})
		out, running = append(out, admin.Finding), running || admin.ours
	}
	if !running {
		return append(out, skip("none runs at these addresses").of("running gateway"))
	}
	return append(out, p.running(ctx, &build, data.ours)...)
}

// running looks at a gateway of ours that holds the addresses.
func (p *patient) running(ctx context.Context, build *telemetry.BuildInfo, data bool) (out []Finding) {
	const name = "running gateway"
	if data {
		switch status, _, err := ask(ctx, p.cfg.Listen, p.cfg.TLS.Cert != "", "/ready"); {
		case err != nil:
			out = append(out, problem("see its log", "it does not answer /ready: %s", err).of(name))
		case status != http.StatusOK:
			out = append(out, problem("see its log: it starts, stops, or has no configuration", "it is not ready for calls: /ready answers %d", status).of(name))
		default:
			out = append(out, fine("it is ready for calls").of(name))
		}
	}
	switch own := Build(); {
	case build.Go == "":
	case build.Version != own.Version || build.Commit != own.Commit:
		out = append(out, warn("restart it after an update, or call the sluice that runs", "it is %s, this program %s", versionOf(build), versionOf(&own)).of(name))
	default:
		out = append(out, fine("it is this version, %s", versionOf(&own)).of(name))
	}
	return out
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

// held tries to listen at an address for a moment; where somebody else does, ours knows a gateway by its answer to a path.
func (p *patient) held(ctx context.Context, name, addr string, secure bool, path string, ours func([]byte) bool) holding {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		_ = l.Close()
		return holding{Finding: fine("%s is free", addr).of(name)}
	case errors.Is(err, syscall.EADDRINUSE):
		if _, answer, err := ask(ctx, addr, secure, path); err == nil && ours(answer) {
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
