package mock

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sluice/internal/flags"
)

// Command is `sluice mock`. Flags sets its defaults.
type Command struct {
	Listen          string
	Script          string // a file; of scripts, the lowest in rank
	Default         string
	Key             string
	Log, Capture    int
	TLSCert, TLSKey string // files

	Out   io.Writer         // os.Stdout when nil
	Ready func(addr string) // told the address once it listens
}

// Flags defines the command's flags, and fills in what they are when nobody says.
func (c *Command) Flags(f *pflag.FlagSet) {
	f.StringVar(&c.Listen, "listen", "127.0.0.1:3010", "`ADDRESS` to listen on.")
	flags.File(f, &c.Script, "script", "", "Script file: a line for each model name or pattern.")
	f.StringVar(&c.Default, "default", "", "`SCRIPT` for every answer, before the file, the model name and the header.")
	f.StringVar(&c.Key, "key", "", "Refuse requests without this `CREDENTIAL`.")
	flags.Env(f, "key", "SLUICE_MOCK_KEY")
	f.IntVar(&c.Log, "log", 10_000, "Remember `N` calls for GET /log.")
	f.IntVar(&c.Capture, "capture", 0, "Keep headers and so many `BYTES` of each body in the log. They may hold secrets.")
	flags.File(f, &c.TLSCert, "tls-cert", "", "Serve TLS with this certificate (PEM).")
	flags.File(f, &c.TLSKey, "tls-key", "", "Key of the certificate (PEM).")
}

//go:embed doc.go
var manual string

// Help is the package comment: the manual of the script language has one source.
func (Command) Help() string {
	text, _, _ := strings.Cut(manual, "\npackage mock")
	var b strings.Builder
	text = strings.Replace(text, "Package mock is", "It is", 1)
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimPrefix(strings.TrimPrefix(line, "//"), " ")
		if heading, ok := strings.CutPrefix(line, "# "); ok {
			line = heading + ":"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Run serves until ctx ends.
func (c *Command) Run(ctx context.Context) error {
	out := c.Out
	if out == nil {
		out = os.Stdout
	}
	o := Options{Default: c.Default, Key: c.Key, Log: c.Log, Capture: c.Capture}
	if c.Script != "" {
		text, err := os.ReadFile(c.Script)
		if err != nil {
			return fmt.Errorf("read script: %w", err)
		}
		o.Script = string(text)
	}
	s, err := New(o)
	if err != nil {
		return err
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key go together")
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	_, _ = fmt.Fprintf(out, "mock upstream on %s://%s (OpenAI: /v1, Anthropic: /v1/messages, Gemini: /v1beta; log: /log)\n", scheme, l.Addr())
	if c.Ready != nil {
		c.Ready(l.Addr().String())
	}
	return s.Serve(ctx, l, c.TLSCert, c.TLSKey)
}

// Serve answers on l, by HTTP/1.1 and by HTTP/2 (with prior knowledge where there is no TLS), until ctx ends. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener, cert, key string) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(cert != "")
	protocols.SetUnencryptedHTTP2(cert == "")
	h := &http.Server{
		Handler: s, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 10_000},
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		s.Close()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if h.Shutdown(grace) != nil {
			_ = h.Close()
		}
	})
	var err error
	if cert != "" {
		err = h.ServeTLS(l, cert, key)
	} else {
		err = h.Serve(l)
	}
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve mock: %w", err)
}
