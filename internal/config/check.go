package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

// check reports every mistake of meaning and finishes the value: keys are hashed and forgotten.
func check(d *decoder, c *Config) {
	d.tags(reflect.ValueOf(c).Elem(), "")
	d.listeners(c)
	d.limits(c)
	d.keys(c.Keys)
	d.providers(c)
	d.models(c)
	d.guards(c)
	d.redis(&c.Redis, &c.Cache)
	d.money(c)
	d.signIn(&c.SignIn)
}

// tags checks what fields' struct tags ask: required, enum, pattern, min, max, and off.
func (d *decoder) tags(v reflect.Value, prefix string) {
	for f, fv := range fields(v) {
		path := join(prefix, f.name)
		switch {
		case f.Tag.Get("required") != "" && fv.IsZero():
			d.fail(path, "is missing: give one, for example %q", f.Tag.Get("example"))
		case fv.CanInt() && fv.Int() == Off && f.Type.Kind() == reflect.Int64 && f.Tag.Get("off") == "":
			d.fail(path, "cannot be off: leave it out for the default")
		case fv.Kind() == reflect.String && fv.Len() > 0:
			d.text(path, fv.String(), f.Tag)
		case fv.Kind() == reflect.Int && f.Tag.Get("max") != "":
			lo, _ := strconv.ParseInt(f.Tag.Get("min"), 10, 64)
			hi, _ := strconv.ParseInt(f.Tag.Get("max"), 10, 64)
			if fv.Int() < lo || fv.Int() > hi {
				d.fail(path, "must be from %d to %d", lo, hi)
			}
		case fv.Kind() == reflect.Struct && f.Type != typeTime:
			d.tags(fv, path)
		case fv.Kind() == reflect.Slice:
			for i := range fv.Len() {
				item := path + "[" + strconv.Itoa(i) + "]"
				switch e := fv.Index(i); {
				case e.Kind() == reflect.String:
					d.text(item, e.String(), f.Tag)
				case e.Kind() == reflect.Struct && e.Type() != typePrefix:
					d.tags(e, item)
				}
			}
		}
	}
}

// text checks one text against its field's tags. Control characters have no place in any field: in a
// secret or header they would end up in a request head, elsewhere in a terminal.
func (d *decoder) text(path, s string, tag reflect.StructTag) {
	if i := strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }); i >= 0 {
		d.fail(path, "holds a control character or line break at byte %d", i)
		return
	}
	if enum := tag.Get("enum"); enum != "" {
		if known := strings.Split(enum, ","); !slices.Contains(known, s) {
			d.fail(path, "is %s, must be one of %s%s", d.said(path), strings.Join(known, ", "), meant(s, known))
		}
	}
	if p := tag.Get("pattern"); p != "" && !regexp.MustCompile(p).MatchString(s) {
		d.fail(path, "is %s: only lower case letters, digits, - and _ are allowed, and the first must be a letter or digit", d.said(path))
	}
}

func meant(s string, known []string) string {
	if near := nearest(s, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

func (d *decoder) listeners(c *Config) {
	d.address("listen", c.Listen)
	if c.Admin.Listen != "off" {
		d.address("admin.listen", c.Admin.Listen)
		if _, port, _ := net.SplitHostPort(c.Listen); c.Admin.Listen == c.Listen && port != "0" {
			d.fail("admin.listen", "is the API's own address: give it another port")
		}
	}
	for i, h := range c.Admin.Hosts {
		if h == "" || strings.ContainsAny(h, ":/* ") {
			d.fail(index("admin.hosts", i), "must be a host name without scheme, port or *")
		}
	}
	for i, p := range c.Admin.TrustedProxies {
		if p.Bits() == 0 {
			d.fail(index("admin.trusted_proxies", i), "is everybody, who could then say that they are anybody: name the proxies")
		}
	}
	if c.Admin.Token != "" {
		if why := Weak(string(c.Admin.Token)); why != "" {
			d.fail("admin.token", "%s: make one with at least 256 random bits, for example by: openssl rand -hex 32", why)
		}
	}
	switch {
	case c.TLS.Cert == "" && c.TLS.Key == "":
	case c.TLS.Cert == "":
		d.fail("tls.cert", "is missing: a key needs its certificate")
	case c.TLS.Key == "":
		d.fail("tls.key", "is missing: a certificate needs its key")
	default:
		cert, ok := d.readFile("tls.cert", c.TLS.Cert)
		key, ok2 := d.readFile("tls.key", c.TLS.Key)
		if ok && ok2 {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				d.fail("tls", "certificate and key do not work together: %s", err)
			}
		}
		if c.H2C {
			d.fail("h2c", "is for listeners without TLS: with a certificate HTTP/2 is on anyway; remove it")
		}
	}
}

func (d *decoder) address(path, addr string) {
	host, port, err := net.SplitHostPort(addr)
	n, errPort := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil:
		d.fail(path, "is %s, must be host:port such as 127.0.0.1:3001, [::1]:3001 or :3001", d.said(path))
	case errPort != nil || strconv.FormatUint(n, 10) != port:
		d.fail(path, "the port must be a number from 0 to 65535")
	case strings.ContainsAny(host, "/ @?#"):
		d.fail(path, "is %s: the host must be a name or an IP address", d.said(path))
	}
}

// readFile reads a file that a field names.
func (d *decoder) readFile(path, name string) ([]byte, bool) {
	data, err := d.opts.ReadFile(name)
	if err != nil {
		d.fail(path, "%s", err)
	}
	return data, err == nil
}

func (d *decoder) limits(c *Config) {
	l := &c.Limits
	if l.Header < 4<<10 || l.Header > 16<<20 {
		d.fail("limits.header", "must be from 4KiB to 16MiB")
	}
	if l.Memory > 0 && l.Memory < 16<<20 {
		d.fail("limits.memory", "must be at least 16MiB, or off")
	}
	if l.Body > 1<<30 {
		d.fail("limits.body", "must be at most 1GiB: a request is held in memory")
	}
	if l.Answer > 1<<30 {
		d.fail("limits.answer", "must be at most 1GiB: an answer is held in memory")
	}
	if c.Log.Buffer < 64<<10 || c.Log.Buffer > 1<<30 {
		d.fail("log.buffer", "must be from 64KiB to 1GiB")
	}
	if w := c.Breaker.Window; w < time.Second || w > 15*time.Second || w%time.Second != 0 {
		d.fail("breaker.window", "must be whole seconds, from 1s to 15s")
	}
	d.wait("timeouts", c.Timeouts.ProviderTimeouts)
}

// wait refuses a wait for the first token, written at path, that outlasts the total that holds there. One
// that was not written just ends with the total.
func (d *decoder) wait(path string, all ProviderTimeouts) {
	d.within(path+".first_token", all.FirstToken, all.Total)
	d.within(path+".first_token_reasoning", all.FirstTokenReasoning, all.Total)
}

func (d *decoder) within(path string, part, total time.Duration) {
	if d.at[path] != nil && part > total {
		d.fail(path, "is %s, longer than the %s of total", durationText(part), durationText(total))
	}
}

func (d *decoder) keys(keys []Key) {
	names, sums := make(map[string]int), make(map[[32]byte]int)
	for i := range keys {
		k, path := &keys[i], index("keys", i)
		d.unique(names, path+".name", k.Name, i, "keys")
		d.globs(path+".models", k.Models)
		d.tagNames(path+".tags", k.Tags)
		if !d.keySum(k, path) {
			continue
		}
		if j, ok := sums[k.Sum]; ok {
			d.fail(path, "is the same key as keys[%d]", j)
		} else {
			sums[k.Sum] = i
		}
	}
}

// masked stands where a plain key stood: the key itself is not kept.
const masked = llm.Secret("***")

// keySum hashes a key and forgets it.
func (d *decoder) keySum(k *Key, path string) bool {
	switch {
	case k.Key != "" && k.Hash != "":
		d.fail(path, "has both key and hash: keep one")
	case k.Key != "":
		if why := Weak(string(k.Key)); why != "" {
			d.fail(path+".key", "%s: make one with at least 256 random bits, for example by: openssl rand -hex 32", why)
			break
		}
		k.Sum, k.Public, k.Key = sha256.Sum256([]byte(k.Key)), publicPart(string(k.Key)), masked
		return true
	case k.Hash != "":
		sum, err := hex.DecodeString(strings.TrimPrefix(k.Hash, "sha256:"))
		if err != nil || len(sum) != len(k.Sum) || !strings.HasPrefix(k.Hash, "sha256:") {
			d.fail(path+".hash", "must be sha256: and 64 hexadecimal digits, for example from: printf %%s \"$KEY\" | sha256sum")
			break
		}
		copy(k.Sum[:], sum)
		if k.Sum == sha256.Sum256(nil) {
			d.fail(path+".hash", "is the hash of nothing: the key was empty when it was hashed")
			break
		}
		return true
	case !d.bad[path+".key"] && !d.bad[path+".hash"]:
		d.fail(path, "has no key: give key or hash")
	}
	k.Key = ""
	return false
}

// publicPart is the middle of sk-slc-<12 public>-<secret>, which may be logged.
func publicPart(key string) string {
	const prefix, n = "sk-slc-", 12
	if rest, ok := strings.CutPrefix(key, prefix); ok && len(rest) > n && rest[n] == '-' {
		return rest[:n]
	}
	return ""
}

func (d *decoder) providers(c *Config) {
	names := make(map[string]int)
	for i := range c.Providers {
		p, path := &c.Providers[i], index("providers", i)
		d.unique(names, path+".name", p.Name, i, "providers")
		if c.Mock.Enabled && slices.Contains(Mocks(), p.Name) {
			d.fail(path+".name", "is a name of the built-in upstream: take another, or set mock.enabled to false")
		}
		if p.Kind != "" && d.opts.Kinds != nil && !slices.Contains(d.opts.Kinds, p.Kind) {
			d.kind(path, p)
		}
		d.globs(path+".models", p.Models)
		d.baseURL(path+".base_url", p.BaseURL)
		d.proxy(path+".proxy", string(p.Proxy))
		d.headers(path+".headers", p.Headers)
		d.wait(path+".timeouts", c.Dial(p))
		d.credentials(path, p)
		if p.CA != "" {
			if pem, ok := d.readFile(path+".ca", p.CA); ok && !x509.NewCertPool().AppendCertsFromPEM(pem) {
				d.fail(path+".ca", "holds no PEM certificate")
			}
		}
	}
	if len(c.Providers) == 0 && !c.Mock.Enabled && len(d.problems) == 0 {
		d.absent("providers", "is missing: name at least one, or set mock.enabled to true")
	}
}

func (d *decoder) kind(path string, p *Provider) {
	list := strings.Join(d.opts.Kinds, ", ")
	if d.at[path+".kind"] == nil {
		if !d.bad[path+".name"] {
			d.fail(path+".kind", "is missing, and the name is none of %s%s", list, meant(p.Name, d.opts.Kinds))
		}
		return
	}
	d.fail(path+".kind", "is %s, must be one of %s%s", d.said(path+".kind"), list, meant(p.Kind, d.opts.Kinds))
}

// baseURL checks an address without ever repeating it: people put credentials in addresses.
func (d *decoder) baseURL(path, s string) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		d.fail(path, "must be an address such as https://api.example.com/v1")
	case u.User != nil:
		d.fail(path, "must not hold a user or password: the credential belongs in api_key or headers")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		d.fail(path, "must not have a query (?) or fragment (#)")
	case !validPort(u):
		d.fail(path, "the port must be a number from 1 to 65535")
	}
}

func (d *decoder) proxy(path, s string) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) || u.Hostname() == "" || !validPort(u):
		d.fail(path, "must be an address such as http://proxy:8080, https://proxy:8443 or socks5://proxy:1080")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		d.fail(path, "must end after the port")
	}
}

func validPort(u *url.URL) bool {
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && n > 0
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// ownHeaders are written by Sluice itself on every request.
var ownHeaders = []string{
	"accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host", "keep-alive",
	"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

func (d *decoder) headers(path string, h map[string]llm.Secret) {
	seen := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(h)) {
		at, val := join(path, name), h[name]
		lower := strings.ToLower(name)
		switch {
		case !headerName.MatchString(name):
			d.fail(at, "is no header name")
		case slices.Contains(ownHeaders, lower):
			d.fail(at, "is set by Sluice itself: remove it")
		case seen[lower]:
			d.fail(at, "said twice: upper and lower case are the same")
		default:
			d.text(at, string(val), "")
		}
		seen[lower] = true
	}
}

// globs checks patterns of model names.
func (d *decoder) globs(path string, globs []string) {
	for i, g := range globs {
		switch {
		case g == "":
			d.fail(index(path, i), "is empty: write a name, or * for any")
		case strings.ContainsAny(g, " \t"):
			d.fail(index(path, i), "is %s: a model's name has no spaces", d.said(index(path, i)))
		}
	}
}

func (c *Config) provider(name string) *Provider {
	for i := range c.Providers {
		if c.Providers[i].Name == name {
			return &c.Providers[i]
		}
	}
	return nil
}

// unique notes a name of a list, and fails a second one.
func (d *decoder) unique(seen map[string]int, path, name string, i int, list string) {
	if name == "" {
		return
	}
	if first, ok := seen[name]; ok {
		if _, _, mine := d.inStore(path); mine && len(d.stored) > 0 {
			if _, _, other := d.inStore(index(list, first)); !other {
				d.fail(path, "%s is the name of one in the configuration file, which wins: give this one another name, or remove one of them", d.said(path))
				return
			}
		}
		d.fail(path, "%s is already the name of %s[%d]", d.said(path), list, first)
		return
	}
	seen[name] = i
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
