package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/redistest"
	"sluice/internal/upstream"

	"sluice/internal/freeport"
)

const hour = time.Hour

func hourAhead() time.Time { return time.Now().Add(hour) }

func second[T any](_ T, err error) error { return err }

func TestOptions(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		want string // addresses, user, database, TLS; "" for an error
	}{
		{"host alone", Options{URL: "redis://localhost"}, "localhost:6379  0 false"},
		{"all", Options{URL: "rediss://me:p%40ss@[::1]:7000/3"}, "[::1]:7000 me 3 true"},
		{"password alone", Options{URL: "redis://:secret@h:1/"}, "h:1  0 false"},
		{"sentinels", Options{URL: "redis://a:1/2", Addresses: []string{"b:2"}, Sentinel: "m"}, "a:1,b:2  2 false"},
		{"cluster", Options{URL: "redis://a:1", Addresses: []string{"b:2"}, Cluster: true}, "a:1,b:2  0 false"},
		{"none", Options{}, ""},
		{"other scheme", Options{URL: "http://secret@h"}, ""},
		{"no URL", Options{URL: "secret:%zz"}, ""},
		{"bad port", Options{URL: "redis://:secret@h:port"}, ""},
		{"database that is none", Options{URL: "redis://:secret@h/x"}, ""},
		{"database below 0", Options{URL: "redis://:secret@h/-1"}, ""},
		{"cluster with database", Options{URL: "redis://h/1", Cluster: true}, ""},
		{"cluster with sentinels", Options{URL: "redis://h", Cluster: true, Sentinel: "m"}, ""},
		{"two servers", Options{URL: "redis://h", Addresses: []string{"i:1"}}, ""},
		{"prefix that breaks the tag", Options{URL: "redis://h", Prefix: "a}b"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := tt.o.withDefaults()
			if err == nil {
				c, err2 := o.client()
				got := strings.Join(c.InitAddress, ",") + " " + c.Username + " " + strconv.Itoa(c.SelectDB) + " " + strconv.FormatBool(c.TLSConfig != nil)
				if err = err2; err == nil && got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
			if (err != nil) != (tt.want == "") {
				t.Errorf("error %v, want one: %t", err, tt.want == "")
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

// FuzzURL checks that no URL breaks the reader and that no error repeats a password.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2", "rediss://[::1]", "redis://%zz", "redis://h/1/2", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Options{URL: s}.client()
		if err == nil && (len(c.InitAddress) != 1 || c.SelectDB < 0) {
			t.Errorf("%q: %v, database %d", s, c.InitAddress, c.SelectDB)
		}
		if u, perr := url.Parse(s); perr == nil && err != nil {
			if p, ok := u.User.Password(); ok && len(p) > 8 && strings.Contains(err.Error(), p) {
				t.Errorf("the error tells the password: %v", err)
			}
		}
	})
}

// TestLogin uses a user, a password and a database, and is let in again once its password is right.
func TestLogin(t *testing.T) {
	for _, p := range redistest.Programs(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			if p.External() {
				return
			}
			server := p.Start(t)
			server.Do(t, "ACL", "SETUSER", "sluice", "on", ">right-word", "~{sluice}:*", "&{sluice}:*", "+@all")
			s := open(t, patient(Options{URL: "redis://sluice:right-word@" + server.Addr + "/3"}))
			heard := make(chan upstream.Notice, 1000)
			listen(t, s, heard)
			until(t, "it works", func() bool { return works(t.Context(), s, "a", heard) })
			if got := server.Info("db3"); !strings.HasPrefix(got, "keys=") {
				t.Errorf("database 3 has %q", got)
			}

			late := open(t, Options{URL: "redis://late:word-of-late@" + server.Addr})
			until(t, "the login is refused", func() bool { return strings.Contains(late.State().Error, "WRONGPASS") })
			if st := late.State(); st.Up || strings.Contains(st.Error, "word-of-late") {
				t.Errorf("state: %+v", st)
			}
			server.Do(t, "ACL", "SETUSER", "late", "on", ">word-of-late", "~*", "&*", "+@all")
			until(t, "it is let in", func() bool { return second(late.Permit(t.Context(), "p", hour)) == nil })
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	own := redistest.Own(t)
	dir := t.TempDir()
	cas := certificate(t, dir)
	free, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free)
	own.Start(t, "--tls-port", port, "--tls-auth-clients", "no", "--tls-cert-file", filepath.Join(dir, "cert"),
		"--tls-key-file", filepath.Join(dir, "key"), "--tls-ca-cert-file", filepath.Join(dir, "cert"))
	o := patient(Options{URL: "rediss://127.0.0.1:" + port, CAs: cas})
	s := open(t, o)
	heard := make(chan upstream.Notice, 1000)
	listen(t, s, heard)
	until(t, "it works", func() bool { return works(t.Context(), s, "a", heard) })

	o.CAs = nil // the system's do not know ours
	stranger := open(t, o)
	until(t, "the certificate is refused", func() bool { return strings.Contains(stranger.State().Error, "certificate") })
}

// certificate writes one for 127.0.0.1 and its key, and gives what trusts it.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-hour), NotAfter: hourAhead(),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: secret}} {
		text := pem.EncodeToMemory(block)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "cert" {
			pool.AppendCertsFromPEM(text)
		}
	}
	return pool
}
