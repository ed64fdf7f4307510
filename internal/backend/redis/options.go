package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Options say where Redis is. Only URL is needed.
type Options struct {
	URL       string   // redis://[user:password@]host[:port][/database], rediss:// for TLS
	Addresses []string // more servers, host:port: of a cluster, or Sentinels
	Sentinel  string   // the name of the master that Sentinels watch; then URL's address and Addresses are theirs
	Cluster   bool     // the servers are a cluster

	SentinelUser, SentinelPassword string // for the Sentinels themselves; URL's are for the servers

	Prefix  string         // of keys and channels; default sluice
	CAs     *x509.CertPool // to trust instead of the system's
	Dial    time.Duration  // most time for a connection, TLS and login included; default 200 ms
	Timeout time.Duration  // most time that a caller waits for a Redis that is silent; default 50 ms
	Wait    time.Duration  // most time that a caller of the Quota waits for its turn at one that answers others, and then for the answer; default 1 s, at least Timeout
	Log     *slog.Logger   // told when Redis goes and when it comes back; nil: nobody is
	Lazy    bool           // it connects when somebody needs it
}

const (
	defaultPort    = "6379"
	defaultPrefix  = "sluice"
	defaultDial    = 200 * time.Millisecond
	defaultTimeout = 50 * time.Millisecond
	defaultWait    = time.Second

	pingGap = time.Second // between signs of life of an idle connection, and how long one may take
	refresh = 2 * time.Second
)

var goodPrefix = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

// client makes the library's options of ours. Its errors never repeat the URL: it holds a password.
func (o Options) client() (rueidis.ClientOption, error) {
	c := rueidis.ClientOption{
		DisableRetry:        true, // the caller decides, and knows how long it has
		DisableCache:        true,
		PipelineMultiplex:   -1, // one connection carries a few commands a second
		RingScaleEachConn:   8,
		ReadBufferEachConn:  64 << 10,
		WriteBufferEachConn: 64 << 10,
		ForceSingleClient:   !o.Cluster,
		Dialer:              net.Dialer{Timeout: o.Dial, KeepAlive: pingGap},
		ConnWriteTimeout:    max(pingGap, o.Timeout),
	}
	if err := o.address(&c); err != nil {
		return c, err
	}
	if o.Sentinel != "" {
		c.ForceSingleClient = false
		c.Sentinel = rueidis.SentinelOption{
			MasterSet: o.Sentinel, Username: o.SentinelUser, Password: o.SentinelPassword,
			Dialer: c.Dialer, TLSConfig: c.TLSConfig, TopologyRefreshInterval: refresh,
		}
	}
	if o.Cluster {
		c.ClusterOption = rueidis.ClusterOption{ShardsRefreshInterval: refresh, MaxMovedRedirections: 3}
	}
	return c, nil
}

// address reads the URL and the addresses beside it.
func (o Options) address(c *rueidis.ClientOption) error {
	u, err := url.Parse(o.URL)
	if err != nil || u.Hostname() == "" {
		return errors.New("redis: the URL must be redis://[user:password@]host:port[/database] or rediss://")
	}
	switch u.Scheme {
	case "redis":
	case "rediss":
		c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.CAs} // the name to check is each address's own
	default:
		return errors.New("redis: the URL must begin with redis:// or rediss://")
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if c.SelectDB, err = strconv.Atoi(path); err != nil || c.SelectDB < 0 {
			return errors.New("redis: the URL's path must be the number of a database")
		}
	}
	if o.Cluster && (c.SelectDB != 0 || o.Sentinel != "") {
		return errors.New("redis: a cluster has only database 0, and no Sentinels")
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	c.Username = u.User.Username()
	c.Password, _ = u.User.Password()
	c.InitAddress = append([]string{net.JoinHostPort(u.Hostname(), port)}, o.Addresses...)
	if len(o.Addresses) > 0 && o.Sentinel == "" && !o.Cluster {
		return errors.New("redis: several addresses need Sentinels or a cluster")
	}
	return nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if !goodPrefix.MatchString(o.Prefix) {
		return o, fmt.Errorf("redis: the prefix must match %s", goodPrefix)
	}
	if o.Dial <= 0 {
		o.Dial = defaultDial
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Wait <= 0 {
		o.Wait = defaultWait
	}
	o.Wait = max(o.Wait, o.Timeout)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// kind is the arrangement of servers, in a word for operators.
func (o Options) kind() string {
	switch {
	case o.Cluster:
		return "cluster"
	case o.Sentinel != "":
		return "sentinel"
	}
	return "single"
}
