package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"
)

func TestDoctorOfSettings(t *testing.T) {
	const near = "listen: 127.0.0.1:0\n"
	for _, tc := range []struct {
		text  string
		state State
		want  string
	}{
		{near + "admin: {listen: \"127.0.0.1:0\", token: f3c1a9d07b5e482c96ad14e87f20b3c5}\n", Fine, "nothing to say"},
		{near + "admin: {listen: \":3002\"}\n", Warning, "tokens cross the network"},
		{near + "admin: {listen: \":3002\", open_metrics: true}\n", Warning, "admin.open_metrics"},
		{near + "admin: {listen: \"127.0.0.1:3002\", open_metrics: true}\n", Fine, "nothing to say"},
		{near + "admin: {listen: \"0.0.0.0:3002\", token: f3c1a9d07b5e482c96ad14e87f20b3c5}\n", Warning, "tokens cross the network"},
		{near + "admin: {listen: \"[::]:3002\", pprof: true}\n", Problem, "admin.pprof"},
		{near + "admin: {listen: \"[::1]:3002\", pprof: true}\n", Warning, "admin.pprof"},
		{"listen: \"10.0.0.1:3001\"\nh2c: true\n", Warning, "h2c is on"},
		{"listen: \"10.0.0.1:3001\"\n", Warning, "cross the network in clear"},
		{"mock: {enabled: true}\nproviders: [{name: openai, api_key: of-a-provider}]\n", Warning, "mock.enabled"},
		{"redis: {url: \"redis://127.0.0.1:1\"}\n", Warning, "pepper is a file"},
		{"redis: {url: \"redis://127.0.0.1:1\"}\n", Warning, "the store is SQLite"},
		{"store: {url: \"postgres://u:hid-den@h/d\"}\npepper: f3c1a9d07b5e482c96ad14e87f20b3c5\n", Fine, "nothing to say"},
		{"providers: [{name: openai, api_key: of-a-provider, allow_private: [0.0.0.0/0]}]\n", Problem, "every address"},
		{"providers: [{name: openai, api_key: of-a-provider, allow_private: [169.254.0.0/16]}]\n", Problem, "cloud metadata"},
		{"providers: [{name: openai, api_key: of-a-provider, allow_private: [8.0.0.0/7]}]\n", Warning, "very wide"},
		{"providers: [{name: openai, api_key: of-a-provider, allow_private: [10.0.0.0/8], base_url: \"https://up.internal/v1\"}]\n", Fine, "nothing to say"},
		{"providers: [{name: openai, api_key: of-a-provider, base_url: \"http://up.internal/v1\"}]\n", Warning, "up.internal in clear"},
		{"providers: [{name: openai, api_key: of-a-provider, base_url: \"http://127.0.0.1:1/v1\"}]\n", Fine, "nothing to say"},
		{"ledger: {off: true}\n", Warning, "ledger.off"},
		{"ledger: {when_full: go_on}\n", Warning, "go_on"},
		{"disconnect: {policy: drain}\n", Warning, "up to 30s"},
	} {
		expect(t, lookSettings(t.Context(), ill(t, tc.text)), tc.state, tc.want)
	}
}

func TestDoctorOfPrices(t *testing.T) {
	p := ill(t, "")
	expect(t, lookPrices(t.Context(), p), Fine, "checked on 20")
	p.o.now = func() time.Time { return time.Now().AddDate(1, 0, 0) }
	expect(t, lookPrices(t.Context(), p), Warning, "checked on 20")
	write(t, filepath.Join(filepath.Dir(p.cfg.Data), "prices.yaml"), "nonsense", 0o600)
	p.cfg.Prices.File = filepath.Join(filepath.Dir(p.cfg.Data), "prices.yaml")
	expect(t, lookPrices(t.Context(), p), Problem, "prices.yaml")
}

func TestDoctorOfACertificate(t *testing.T) {
	from := time.Now().Truncate(time.Second)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"sluice.test"}, NotBefore: from, NotAfter: from.AddDate(0, 0, 90)}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o644)
	write(t, filepath.Join(dir, "key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o600)
	p := ill(t, "tls: {cert: "+dir+"/crt, key: "+dir+"/key}\n")
	for _, tc := range []struct {
		days  int
		state State
		want  string
	}{
		{-1, Problem, "holds only from"}, {1, Fine, "[sluice.test]"}, {80, Warning, "ends on"}, {91, Problem, "has ended"},
	} {
		p.o.now = func() time.Time { return from.AddDate(0, 0, tc.days) }
		expect(t, lookCertificate(t.Context(), p), tc.state, tc.want)
	}
	expect(t, lookCertificate(t.Context(), ill(t, "")), Skipped, "plain HTTP")
	expect(t, lookFiles(t.Context(), p), Fine, "3 files") // a certificate may be read by all
	write(t, filepath.Join(dir, "key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o644)
	expect(t, lookFiles(t.Context(), p), Warning, "key holds a secret")
}
