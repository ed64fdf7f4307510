// Package app makes a running program out of a configuration: it builds a whole new state, starts it and
// only then lets it replace the old one; it opens the listeners and drains them at the end. It is the only
// package that knows everything, and nobody imports it but the command.
package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/internal/auth"
	"sluice/internal/backend/redis"
	"sluice/internal/backend/sql"
	"sluice/internal/cache"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/gateway"
	"sluice/internal/llm"
	"sluice/internal/telemetry"
	"sluice/internal/upstream"
	"sluice/internal/vault"
)

// Options say how the program is started.
type Options struct {
	ConfigPath string // "": embedded defaults
	Getenv     func(string) string
	Stdout     io.Writer // what a person reads at the start
	Stderr     io.Writer // the log, unless the configuration names a file
}

// An App is the running program.
type App struct {
	opts    Options
	logs    *logs
	log     *slog.Logger
	metrics *telemetry.Metrics
	gateway *gateway.Gateway
	mock    *mockServer
	fleet   *upstream.Fleet
	shared  *redis.Store  // nil: this process is alone
	revoked *auth.Revoked // keys of the configuration; stored ones are disabled in the store
	db      *sql.DB
	people  *people
	live    *live
	replica string       // this process, among all that share something
	listed  atomic.Int32 // replicas in the store, when it was last asked
	money   *money
	cache   *cache.Cache

	answersAt *redis.Store // where its answers are; nil: in memory

	firstKey string // made by this start and not yet shown

	mu      sync.Mutex // guards what a reload replaces
	cfg     *config.Config
	source  *source // of cfg
	current *built
}

// Serve runs the program until ctx ends or a signal says so, and returns when everything has stopped.
func Serve(ctx context.Context, o Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	src, cfg, err := readSource(o, vault.New(o.Getenv, nil))
	if err != nil {
		return err
	}
	// Addresses first: a start that fails on one must not have made a key that nobody gets to see.
	l, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer l.close()
	a, err := start(src, cfg)
	if err != nil {
		return err
	}
	defer a.close()
	return a.run(ctx, l)
}

// listeners are the addresses that the program serves.
type listeners struct {
	data  net.Listener
	admin net.Listener // nil: off
}

func (l *listeners) close() {
	_ = l.data.Close()
	if l.admin != nil {
		_ = l.admin.Close()
	}
}

func listen(ctx context.Context, cfg *config.Config) (*listeners, error) {
	l := &listeners{}
	var err error
	if l.data, err = listenOn(ctx, cfg.Listen); err != nil {
		return nil, err
	}
	if cfg.Admin.Listen != "off" {
		if l.admin, err = listenOn(ctx, cfg.Admin.Listen); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// start makes everything but the listeners. cfg is what the file says alone.
func start(src *source, cfg *config.Config) (*App, error) {
	a := &App{opts: src.o, cfg: cfg, source: src, replica: rand.Text()}
	var err error
	if a.logs, err = openLog(cfg.Log, src.o.Stderr); err != nil {
		return nil, err
	}
	a.log = a.logs.logger
	a.metrics = telemetry.NewMetrics(a.logs.out.Dropped)
	a.gateway = gateway.New(gateway.Options{Endpoints: endpoints, Lists: lists, Errors: errorFormat, Log: a.log})
	a.metrics.WatchMemory(a.gateway.Taken)
	if a.revoked, err = auth.OpenRevoked(cfg.Data); err != nil {
		return nil, err
	}
	if err := a.openPeople(cfg); err != nil {
		return nil, err
	}
	if err := a.startSettings(context.Background()); err != nil {
		return nil, err
	}
	cfg = a.cfg
	a.metrics.WatchSettings(func() (revision, refused int64) { at := a.live.standing(); return at.revision, at.refused })
	if err := a.openFleet(cfg); err != nil {
		return nil, err
	}
	if err := a.openMoney(cfg); err != nil {
		return nil, err
	}
	if err := a.openCache(cfg); err != nil {
		return nil, err
	}
	a.metrics.WatchLedger(a.ledgerState)
	if cfg.Mock.Enabled {
		if a.mock, err = startMock(); err != nil {
			return nil, err
		}
	}
	if err := a.apply(cfg); err != nil {
		return nil, err
	}
	within, stop := context.WithTimeout(context.Background(), settingsBeat)
	defer stop()
	a.report(within)
	return a, nil
}

// openFleet makes the memory of what the upstreams have shown, shared with other replicas where there is a
// Redis. One that cannot be reached is no reason not to start.
func (a *App) openFleet(cfg *config.Config) error {
	o := upstream.FleetOptions{Replica: a.replica, Notify: a.changed, Revoked: a.heardRevoked}
	if cfg.Redis.URL != "" {
		var err error
		if a.shared, err = openRedis(&cfg.Redis, a.log); err != nil {
			return err
		}
		o.Shared = a.shared
	}
	a.fleet = upstream.NewFleet(o)
	a.metrics.WatchUpstreams(a.upstreamStates)
	return nil
}

// openPeople opens the store and the keys in it. It ends with close.
func (a *App) openPeople(cfg *config.Config) error {
	ctx := context.Background() // until close
	var err error
	if a.db, err = OpenStore(ctx, cfg, sql.Options{Log: a.log}); err != nil {
		return err
	}
	if a.live, err = openLive(ctx, cfg, a.db); err != nil {
		return errors.Join(err, a.db.Close())
	}
	withSettings := func(o *control.Options) { o.Settings = a.live.settingsOptions(a.currentSource, a.effective) }
	signIn := func() *config.SignIn { return &a.effective().SignIn }
	if a.people, err = openPeople(ctx, cfg, a.db, a.revoked, a.log, a.bindCurrent, "", signIn, withSettings); err != nil {
		return errors.Join(err, a.db.Close())
	}
	a.people.run(ctx)
	a.metrics.WatchAudit(a.auditState)
	return nil
}

func (a *App) close() {
	if a.mock != nil {
		a.mock.close()
	}
	if a.current != nil {
		a.current.close()
	}
	if a.cache != nil {
		a.cache.Close()
	}
	if a.answersAt != nil {
		_ = a.answersAt.Close()
	}
	if a.money != nil {
		if err := a.money.close(); err != nil {
			a.log.Error("the ledger is not all in the store; the rest is in its log and follows after the next start", "error", err.Error())
		}
	}
	if a.people != nil {
		a.people.close()
	}
	if a.db != nil {
		_ = a.db.Close()
	}
	if a.shared != nil {
		_ = a.shared.Close()
	}
	a.logs.close()
}

// apply builds the state of cfg and makes it the one that new calls see. Calls under way keep theirs.
func (a *App) apply(cfg *config.Config) error {
	b, err := a.build(cfg)
	if err != nil {
		return err
	}
	if err := a.logs.level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	a.mu.Lock()
	old := a.current
	a.cfg, a.current = cfg, b
	a.mu.Unlock()
	a.people.cache.Forget() // callers are bound to the rules of the configuration
	a.gateway.Swap(b.state)
	b.watch(context.Background()) // until it is closed, which the next apply or the end does
	if old != nil {
		old.close() // idle connections only: running calls finish on theirs
	}
	return nil
}

// reload takes over a changed configuration file. A bad one leaves everything as it is and says why.
func (a *App) reload(why string) {
	a.source.v.Refresh()
	src, _, err := readSource(a.opts, a.source.v)
	var cfg *config.Config
	if err == nil {
		ctx := context.Background() // Vault's answer is bounded by itself
		cfg, err = src.with(ctx, a.live.standing().doc, control.OpenSealed(ctx, a.live.vault))
	}
	if err == nil {
		changed := config.Diff(a.cfg, cfg)
		if sum := pricesSum(cfg); sum != a.current.prices {
			changed = append(changed, "prices: another file")
		}
		if len(changed) == 0 {
			a.log.Info("configuration unchanged", "why", why)
			return
		}
		if err = a.apply(cfg); err == nil {
			a.mu.Lock()
			a.source = src
			a.mu.Unlock()
			a.metrics.Reloaded(true)
			a.log.Info("configuration replaced", "why", why, "changes", changed)
			return
		}
	}
	a.metrics.Reloaded(false)
	a.log.Error("configuration not replaced; the old one stays", "why", why, "error", err.Error())
}

// run serves until it is told to stop.
func (a *App) run(ctx context.Context, l *listeners) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	data, admin := l.data, l.admin
	kill, killAll := context.WithCancelCause(context.WithoutCancel(ctx)) // calls outlive ctx while they drain
	defer killAll(nil)
	dataServer, err := a.dataServer(kill)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	var servers sync.WaitGroup
	serve := func(s *http.Server, l net.Listener) {
		servers.Go(func() {
			var err error
			if s.TLSConfig != nil {
				err = s.ServeTLS(l, "", "")
			} else {
				err = s.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
	serve(dataServer, data)
	adminServer := &http.Server{ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	adminAddr := "off"
	if admin != nil {
		adminAddr = admin.Addr().String()
		if adminServer.Handler, err = a.operators(adminAddr); err != nil {
			return err
		}
		serve(adminServer, admin)
	}
	share, stopSharing := context.WithCancel(ctx)
	var sharing sync.WaitGroup
	sharing.Go(func() { a.fleet.Share(share) })
	defer sharing.Wait()
	defer stopSharing()
	changed := make(chan struct{}, 1)
	if a.opts.ConfigPath != "" {
		read := a.source.text
		servers.Go(func() {
			_ = config.Watch(ctx, a.opts.ConfigPath, read, func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			}, a.priceFiles()...)
		})
	}
	newer := make(chan struct{}, 1)
	servers.Go(func() { a.watchSettings(ctx, newer) })
	a.gateway.SetReady(true)
	a.log.Info("listening", "event", "listening", "data", data.Addr().String(), "admin", adminAddr)
	a.welcome(ctx, data.Addr().String(), adminAddr)
	debug.FreeOSMemory() // what the start alone needed, which a small heap would keep for minutes

	err = a.wait(ctx, &events{signals, changed, newer, failed})
	a.gateway.SetReady(false)
	a.drain(context.WithoutCancel(ctx), dataServer, signals, killAll)
	_ = adminServer.Close()
	return err
}

// events are what a running program is told.
type events struct {
	signals <-chan os.Signal
	changed <-chan struct{} // the file
	newer   <-chan struct{} // the settings
	failed  <-chan error
}

// wait returns when the program is to stop. It alone changes the configuration.
func (a *App) wait(ctx context.Context, e *events) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-e.failed:
			return err
		case <-e.changed:
			a.reload("the file changed")
		case <-e.newer:
			a.takeUp(ctx)
		case s := <-e.signals:
			if s != syscall.SIGHUP {
				a.log.Info("stopping", "signal", s.String())
				return nil
			}
			a.reload("SIGHUP")
		}
	}
}

var errStopping = &llm.Error{Kind: llm.KindOverloaded, Msg: "the gateway is shutting down", RetryAfter: time.Second}

// drain lets running calls finish, up to the ceiling or a second signal; what still runs then is ended
// with an error in its own format.
func (a *App) drain(ctx context.Context, s *http.Server, signals <-chan os.Signal, killAll context.CancelCauseFunc) {
	wait, giveUp := context.WithTimeout(ctx, a.cfg.Limits.Drain)
	defer giveUp()
	drained := make(chan error, 1)
	go func() { drained <- s.Shutdown(wait) }()
	for {
		select {
		case err := <-drained:
			if err == nil {
				return
			}
			killAll(errStopping)
			last, done := context.WithTimeout(ctx, 2*time.Second)
			defer done()
			if err := s.Shutdown(last); err != nil {
				_ = s.Close()
			}
			return
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				a.log.Warn("not waiting any longer", "signal", sig.String())
				giveUp()
			}
		}
	}
}

// dataServer is the server of the API. kill ends the calls that outlive the drain.
func (a *App) dataServer(kill context.Context) (*http.Server, error) {
	lim := a.cfg.Limits
	s := &http.Server{
		Handler:           a.metrics.InFlight(a.gateway),
		ReadHeaderTimeout: lim.HeaderTimeout,
		IdleTimeout:       lim.IdleTimeout,
		MaxHeaderBytes:    int(lim.Header),
		BaseContext:       func(net.Listener) context.Context { return kill },
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: lim.MaxStreams},
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(a.cfg.H2C)
	if a.cfg.TLS.Cert != "" {
		certs := &certificates{app: a}
		if _, err := certs.get(nil); err != nil {
			return nil, err
		}
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get}
	}
	return s, nil
}

func listenOn(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: boundUnsent}
	lc.SetMultipathTCP(false) // its listeners do not hand socket options down
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %s: the address is in use; stop the other program or set another address in sluice.yaml", addr)
		}
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// certificates serves the certificate that the current configuration names, read anew when a file changes.
type certificates struct {
	app *App

	mu    sync.Mutex // guards the rest
	files config.TLS
	times [2]time.Time
	cert  *tls.Certificate
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.app.mu.Lock()
	files := c.app.cfg.TLS
	c.app.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	times := [2]time.Time{modified(files.Cert), modified(files.Key)}
	if c.cert != nil && files == c.files && times == c.times {
		return c.cert, nil
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		if c.cert != nil { // a renewal half written: the old one serves until the new one can be read
			return c.cert, nil
		}
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	c.files, c.times, c.cert = files, times, &cert
	return c.cert, nil
}

func modified(name string) time.Time {
	if i, err := os.Stat(name); err == nil {
		return i.ModTime()
	}
	return time.Time{}
}
