package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"sluice/internal/admin"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/quota"
	"sluice/internal/telemetry"
	"sluice/internal/vault"
)

// people are the stored keys and their owners. They outlive configurations.
type people struct {
	hasher  *auth.Hasher
	store   directory.Store
	cache   *directory.Cache
	control *control.Control
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// openPeople readies a store of keys: it must have been made under our pepper, and takes over what earlier releases
// kept in files. bind adds to each caller what the configuration says; more says what else control works with.
func openPeople(ctx context.Context, cfg *config.Config, store directory.Store, revoked *auth.Revoked, log *slog.Logger, bind func(*auth.Who), more ...func(*control.Options)) (*people, error) {
	p := &people{store: store}
	var err error
	if p.hasher, err = auth.OpenHasher(cfg.Data, cfg.Pepper, rand.Reader); err != nil {
		return nil, err
	}
	p.cache = directory.NewCache(directory.CacheOptions{Source: store, Log: log, Bind: bind})
	o := control.Options{
		Store: store, Hasher: p.hasher, Random: rand.Reader, Period: quota.Span, Log: log,
		Changed: func(c directory.Change) { p.cache.Invalidate(c) },
	}
	for _, add := range more {
		add(&o)
	}
	p.control = control.New(o)
	if err := p.control.CheckPepper(ctx); err != nil {
		return nil, err
	}
	_, err = p.control.TakeOver(ctx, cfg.Data, revoked)
	return p, err
}

// run keeps the cache true until close.
func (p *people) run(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	p.work.Go(func() { p.cache.Run(ctx) })
}

func (p *people) close() {
	p.stop()
	p.work.Wait()
}

// who finds a stored key by its id or name.
func (p *people) who(ctx context.Context, ref string) (*auth.Who, error) {
	k, err := p.control.Keys().Show(ctx, control.Owner("operator"), ref)
	if err != nil {
		return nil, err
	}
	stored, err := p.store.Keys().Get(ctx, k.ID)
	if err != nil {
		return nil, err
	}
	return p.cache.Key(ctx, stored.Hash)
}

// bindCurrent adds to a stored key's caller what the current configuration says of it.
func (a *App) bindCurrent(who *auth.Who) {
	a.mu.Lock()
	cfg := a.cfg
	a.mu.Unlock()
	bind(cfg, who)
}

// Local gives the operations on keys and their owners, and on the books, over the store that a configuration names, without
// a gateway, and says where that is. Gateways that share the store hear of what is changed within a second. A store that is not
// there is made only if create says so. Call closed at the end.
func Local(ctx context.Context, o Options, create bool) (h http.Handler, at string, closed func() error, err error) {
	src, cfg, err := readSource(o, vault.New(o.Getenv, nil))
	if err != nil {
		return nil, "", nil, err
	}
	if at = "the one that store.url names"; cfg.Store.URL == "" {
		at = filepath.Join(cfg.Data, "sluice.db")
		if _, err := os.Stat(at); err != nil && !create {
			return nil, at, nil, fmt.Errorf("there is no store at %s: start a gateway (sluice serve), name its configuration (--config), or make the store (--local)", at)
		}
	}
	db, err := OpenStore(ctx, cfg, sql.Options{})
	if err != nil {
		return nil, at, nil, fmt.Errorf("store: %w", err)
	}
	p, err := localPeople(ctx, src, cfg, db)
	if err != nil {
		return nil, at, nil, errors.Join(err, db.Close())
	}
	books := db.Ledger()
	operations := slices.Concat(admin.Operations(p.control), admin.Settings(p.control), admin.Ledger(books, nil), []telemetry.Operation{recounter{books: books}.operation()})
	return telemetry.AdminHandler(telemetry.AdminOptions{
		Metrics: telemetry.NewMetrics(func() int64 { return 0 }), Listen: "127.0.0.1:0", Operations: operations,
	}), at, db.Close, nil
}

func localPeople(ctx context.Context, src *source, cfg *config.Config, db *sql.DB) (*people, error) {
	revoked, err := auth.OpenRevoked(cfg.Data)
	if err != nil {
		return nil, err
	}
	l, err := openLive(ctx, cfg, db)
	if err != nil {
		return nil, err
	}
	return openPeople(ctx, cfg, db.Directory(), revoked, nil, nil, func(o *control.Options) {
		o.Together = db.Together
		o.Settings = l.settingsOptions(func() *source { return src }, func() *config.Config {
			if whole, _, err := l.newestGood(ctx, src); err == nil {
				return whole
			}
			return cfg // what the file says is seen in any case
		})
	})
}
