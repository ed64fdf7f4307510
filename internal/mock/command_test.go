package mock

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// start runs the command until the test ends.
func start(t *testing.T, args ...string) (addr string, stop func() error) {
	t.Helper()
	var c struct {
		Mock Command `cmd:"" help:"A scripted upstream."`
	}
	ready := make(chan string, 1)
	c.Mock.Out = io.Discard
	c.Mock.Ready = func(a string) { ready <- a }
	p, err := kong.New(&c, kong.Name("sluice"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse(append([]string{"mock", "--listen=127.0.0.1:0"}, args...)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Mock.Run(ctx) }()
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

func TestCommandHelp(t *testing.T) {
	var c struct {
		Mock Command `cmd:"" help:"A scripted upstream."`
	}
	var out bytes.Buffer
	p, err := kong.New(&c, kong.Name("sluice"), kong.Writers(&out, &out), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Parse([]string{"mock", "--help"})
	for _, want := range []string{"--script", "retry=D[:FORM]", "GET /log"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the help:\n%s", want, out.String())
		}
	}
	if err := (&Command{Listen: "127.0.0.1:0", TLSCert: "x"}).Run(t.Context()); err == nil {
		t.Error("a certificate without a key is taken")
	}
	if err := (&Command{Listen: "127.0.0.1:0", Default: "bad=1"}).Run(t.Context()); err == nil {
		t.Error("a bad default is taken")
	}
}
