package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// models checks the entries one by one, then where each of them leads.
func (d *decoder) models(c *Config) {
	names := make(map[string]int)
	for i := range c.Models {
		m, path := &c.Models[i], index("models", i)
		d.unique(names, path+".name", m.Name, i, "models")
		if strings.ContainsAny(m.Name, " \t") || strings.Count(m.Name, "*") > 1 {
			d.fail(path+".name", "is %s: a name has no spaces and at most one *", d.said(path+".name"))
		}
		w := c.Wait(c.provider(m.Provider), m)
		d.within(path+".timeouts.first_token", w.FirstToken, w.Total)
		d.deployments(c, m, path)
	}
	for i := range c.Models {
		d.target(c, names, i)
		m, path := &c.Models[i], index("models", i)
		d.fallbacks(c, path+".fallback", m.Name, m.Fallback)
		d.fallbacks(c, path+".fallback_context", m.Name, m.FallbackContext)
		d.fallbacks(c, path+".fallback_content", m.Name, m.FallbackContent)
	}
}

// deployments checks the places of one entry, and that it names them in one way only.
func (d *decoder) deployments(c *Config, m *Model, path string) {
	switch {
	case m.Deployments == nil:
		if m.Model == "" {
			d.fail(path+".model", "is missing: give one, for example %q, or list deployments", "gpt-4o-mini")
		}
		if m.Provider != "" {
			d.star(path+".model", m, m.Model)
		}
		return
	case len(m.Deployments) == 0:
		d.fail(path+".deployments", "is empty: name at least one, or give provider and model instead")
	case m.Provider != "" || m.Model != "":
		d.fail(path+".deployments", "stands beside provider or model: keep one way of saying where it is served")
	}
	m.nameDeployments()
	names := make(map[string]int)
	for i := range m.Deployments {
		dep, at := &m.Deployments[i], index(path+".deployments", i)
		if first, ok := names[dep.Name]; ok {
			d.fail(at+".name", "%q is already the name of deployments[%d]: give one of them another", clip(dep.Name), first)
		}
		names[dep.Name] = i
		d.star(at+".model", m, dep.Model)
		d.tagNames(at+".tags", dep.Tags)
		if (dep.Price.Input == 0) != (dep.Price.Output == 0) {
			d.fail(at+".price", "needs both input and output: a call is not free because one of them is not known")
		}
		if dep.Provider == "" || !d.knownProvider(c, at+".provider", dep.Provider) || dep.Credential == "" {
			continue
		}
		p := c.provider(dep.Provider)
		if p == nil || !slices.ContainsFunc(p.Credentials, func(s Credential) bool { return s.Name == dep.Credential }) {
			d.absent(at+".credential", "is %s, which the provider's credentials do not have", d.said(at+".credential"))
		}
	}
}

// star checks that a * of an upstream's model name has one in the entry's name to stand for.
func (d *decoder) star(path string, m *Model, model string) {
	switch n := strings.Count(model, "*"); {
	case n > 1:
		d.fail(path, "is %s: at most one * can stand for what the name's * stood for", d.said(path))
	case n == 1 && !strings.Contains(m.Name, "*"):
		d.fail(path, "is %s, but there is no * in the name that it could stand for", d.said(path))
	}
}

// fallbacks checks that the models which a model falls back to exist.
func (d *decoder) fallbacks(c *Config, path, own string, names []string) {
	for i, name := range names {
		at := index(path, i)
		provider, _, slash := strings.Cut(name, "/")
		_, entry := c.entry(name)
		switch {
		case name == own:
			d.fail(at, "is the model itself")
		case entry || slash && (c.provider(provider) != nil || c.Mock.Enabled && slices.Contains(Mocks(), provider)):
		default:
			d.absent(at, "is %s, which models does not have; provider/model names one without an entry%s", d.said(at), meant(name, modelNames(c, -1)))
		}
	}
}

// target checks that a model's way ends at a provider.
func (d *decoder) target(c *Config, names map[string]int, i int) {
	m, path := c.Models[i], index("models", i)
	if !m.alias() {
		if m.Provider != "" {
			d.knownProvider(c, path+".provider", m.Provider)
		}
		return
	}
	for way := []string{m.Name}; m.alias(); way = append(way, m.Name) {
		next, ok := names[m.Model]
		if !ok {
			if len(way) == 1 && m.Model != "" { // else it is said where the way breaks
				d.absent(path+".provider", "is missing, and %s is no other entry of models%s", d.said(path+".model"), meant(m.Model, modelNames(c, i)))
			}
			return
		}
		m = c.Models[next]
		if slices.Contains(way, m.Name) {
			d.fail(path+".model", "leads back to itself: %s", clip(strings.Join(append(way, m.Name), " -> ")))
			return
		}
	}
}

func (d *decoder) knownProvider(c *Config, path, name string) bool {
	known := make([]string, 0, len(c.Providers)+len(Mocks()))
	for _, p := range c.Providers {
		known = append(known, p.Name)
	}
	if c.Mock.Enabled {
		known = append(known, Mocks()...)
	}
	if slices.Contains(known, name) {
		return true
	}
	d.absent(path, "is %s, which providers does not have%s", d.said(path), meant(name, known))
	return false
}

func modelNames(c *Config, but int) (names []string) {
	for i, m := range c.Models {
		if i != but {
			names = append(names, m.Name)
		}
	}
	return names
}

// credentials checks a provider's several credentials.
func (d *decoder) credentials(path string, p *Provider) {
	switch {
	case p.Credentials == nil:
		return
	case len(p.Credentials) == 0:
		d.fail(path+".credentials", "is empty: name at least one, or give api_key instead")
	case p.APIKey != "":
		d.fail(path+".credentials", "stands beside api_key: keep one of them")
	}
	names := make(map[string]int)
	for i, s := range p.Credentials {
		at := index(path+".credentials", i)
		d.unique(names, at+".name", s.Name, i, "credentials")
		if s.APIKey == "" && !d.bad[at+".api_key"] {
			d.fail(at+".api_key", "is missing: give one, for example \"${OPENAI_API_KEY_A}\"")
		}
	}
}

// tagNames checks words that travel in a header, separated by commas.
func (d *decoder) tagNames(path string, tags []string) {
	for i, tag := range tags {
		if tag == "" || strings.ContainsAny(tag, ", \t") {
			d.fail(index(path, i), "is %s: a tag is one word without commas", d.said(index(path, i)))
		}
	}
}

// redis checks the address without ever repeating it: it holds a password.
func (d *decoder) redis(r *Redis, cache *Cache) {
	if r.URL == "" && cache.Store == "redis" {
		d.fail("cache.store", "is redis, and redis.url is not set")
	}
	d.semantic(&cache.Semantic)
	if r.URL == "" {
		if len(r.Addresses) > 0 || r.Sentinel != "" || r.Cluster || r.CA != "" {
			d.fail("redis.url", "is missing: the other fields of redis only add to it")
		}
	} else {
		d.redisURL(r)
	}
	for i, addr := range r.Addresses {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || !isPort(port) {
			d.fail(index("redis.addresses", i), "must be host:port")
		}
	}
	if r.CA != "" {
		d.readFile("redis.ca", r.CA)
	}
}

func (d *decoder) semantic(s *Semantic) {
	switch s.Embedder {
	case "uselite", "static":
		if s.Dir == "" {
			d.fail("cache.semantic.dir", "is missing: name the folder with the model's files")
		}
	case "api":
		if u, err := url.Parse(s.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			d.fail("cache.semantic.url", "must be an address such as http://127.0.0.1:8080/v1")
		}
		if s.Model == "" || s.Dimensions == 0 {
			d.fail("cache.semantic.model", "needs dimensions beside it, and both are needed for an API")
		}
	}
	if s.Threshold > 1000 {
		d.fail("cache.semantic.threshold", "is a cosine: at most 1")
	}
	if s.Check > 1000 {
		d.fail("cache.semantic.check", "is a share: at most 1")
	}
}

func (d *decoder) redisURL(r *Redis) {
	u, err := url.Parse(string(r.URL))
	switch {
	case err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || !validPort(u):
		d.fail("redis.url", "must be an address such as redis://localhost:6379 or rediss://user:password@host:6379/0")
	case r.Cluster && r.Sentinel != "":
		d.fail("redis.cluster", "is set beside sentinel: a server is one or the other")
	case r.Cluster && strings.Trim(u.Path, "/0") != "":
		d.fail("redis.url", "names a database, but a cluster has only database 0")
	case r.CA != "" && u.Scheme != "rediss":
		d.fail("redis.ca", "is for rediss:// only")
	}
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
