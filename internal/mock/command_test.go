package mock

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// start runs the command until the test ends.
func start(t *testing.T, args ...string) (addr string, stop func() error) {
	t.Helper()
	ready := make(chan string, 1)
	c := Command{Out: io.Discard, Ready: func(a string) { ready <- a }}
	f := pflag.NewFlagSet("mock", pflag.ContinueOnError)
	c.Flags(f)
	if err := f.Parse(append([]string{"--listen=127.0.0.1:0"}, args...)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(cancel)
	select {
	case addr = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return addr, func() error { cancel(); return <-done }
}

func TestCommandSpeaksBothProtocols(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("gpt-4o = echo?text=scripted\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, stop := start(t, "--script="+file)
	for _, h2 := range []bool{false, true} {
		var p http.Protocols
		p.SetHTTP1(!h2)
		p.SetUnencryptedHTTP2(h2)
		transport := &http.Transport{Protocols: &p}
		c := &http.Client{Transport: transport}
		res, got, err := fetch(t, c, "http://"+addr+"/v1/chat/completions", chat("gpt-4o", true))
		if err != nil || !strings.Contains(got, `"scripted"`) || h2 != (res.ProtoMajor == 2) {
			t.Errorf("h2=%v: %v %v %.200s", h2, res, err, got)
		}
		// A reset of an HTTP/2 stream must be one too.
		for _, script := range []string{"rst=2", "drop=2", "length=-10"} {
			if _, got, err := fetch(t, c, "http://"+addr+"/v1/chat/completions", chat("echo?"+script, true)); err == nil && script != "length=-10" {
				t.Errorf("h2=%v: %s ended well with %q", h2, script, got)
			}
		}
		transport.CloseIdleConnections()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestCommandRefuses(t *testing.T) {
	for _, arg := range []string{"--script=nowhere", "--tls-cert=nowhere", "--log=many"} {
		f := pflag.NewFlagSet("mock", pflag.ContinueOnError)
		new(Command).Flags(f)
		if err := f.Parse([]string{arg}); err == nil {
			t.Errorf("%s is taken", arg)
		}
	}
	if err := (&Command{Listen: "127.0.0.1:0", TLSCert: "x"}).Run(t.Context()); err == nil {
		t.Error("a certificate without a key is taken")
	}
	if err := (&Command{Listen: "127.0.0.1:0", Default: "bad=1"}).Run(t.Context()); err == nil {
		t.Error("a bad default is taken")
	}
}
