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
	"sync"

	"sluice/internal/account"
	"sluice/internal/admin"
	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/quota"
	"sluice/internal/vault"
)

// people are the stored keys and their owners. They outlive configurations.
type people struct {
	hasher  *auth.Hasher
	store   directory.Store
	cache   *directory.Cache
	control *control.Control
	door    *account.Door
	audit   *audit.Log
	anchors *os.File // nil: there is none
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// openPeople readies a store of keys: it must have been made under our pepper, and takes over what earlier releases
// kept in files. bind adds to each caller what the configuration says. operator is whom the audit log knows whoever runs
// the gateway as; "": as the operator. signIn is what the configuration in force says of signing in; nil: nothing. more says what
// else control works with.
func openPeople(ctx context.Context, cfg *config.Config, db *sql.DB, revoked *auth.Revoked, log *slog.Logger, bind func(*auth.Who), operator string, signIn func() *config.SignIn, more ...func(*control.Options)) (*people, error) {
	store := db.Directory()
	p := &people{store: store}
	var err error
	if p.hasher, err = auth.OpenHasher(cfg.Data, cfg.Pepper, rand.Reader); err != nil {
		return nil, err
	}
	if p.audit, p.anchors, err = openAudit(cfg, db, p.hasher, log); err != nil {
		return nil, err
	}
	recorder := audit.Recorder(p.audit)
	if operator != "" {
		recorder = byUser{recorder, operator}
	}
	p.cache = directory.NewCache(directory.CacheOptions{Source: store, Log: log, Bind: bind})
	o := control.Options{
		Store: store, Accounts: db.Accounts(), Hasher: p.hasher, Random: rand.Reader, Period: quota.Span, Log: log,
		Changed: func(c directory.Change) { p.cache.Invalidate(c) }, Audit: recorder, History: p.audit, Together: db.Together,
	}
	for _, add := range more {
		add(&o)
	}
	p.control = control.New(o)
	if p.door, err = openDoor(db, p.hasher, recorder, signIn, log); err != nil {
		return nil, errors.Join(err, p.closeAnchors())
	}
	if err = p.control.CheckPepper(ctx); err == nil {
		err = noteAudit(ctx, store, p.audit.Public(), log)
	}
	if err == nil {
		_, err = p.control.TakeOver(ctx, cfg.Data, revoked)
	}
	if err != nil {
		return nil, errors.Join(err, p.closeAnchors())
	}
	return p, nil
}

// run keeps the cache true, makes checkpoints of the audit log and removes sessions that are over until close.
func (p *people) run(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	p.work.Go(func() { p.cache.Run(ctx) })
	p.work.Go(func() { p.audit.Run(ctx) })
	p.work.Go(func() { p.door.Run(ctx) })
}

// close ends what runs. The last checkpoint needs the store.
func (p *people) close() {
	p.stop()
	p.work.Wait()
	_ = p.closeAnchors() // each line was synced
}

func (p *people) closeAnchors() error {
	if p.anchors == nil {
		return nil
	}
	return p.anchors.Close()
}

// closeLocal ends what never ran.
func (p *people) closeLocal(ctx context.Context) error {
	_, err := p.audit.Checkpoint(ctx)
	return errors.Join(err, p.closeAnchors())
}

// who is a stored key as a caller, by its id.
func (p *people) who(ctx context.Context, id string) (*auth.Who, error) {
	stored, err := p.store.Keys().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return p.cache.Key(ctx, stored.Hash)
}

// owner is a team, a user or an organisation with the rules that it gives to all of its keys, by its id.
func (p *people) owner(ctx context.Context, kind directory.Kind, id string) (*auth.Who, error) {
	var e directory.Entry
	var err error
	e.Key.Org = id
	switch kind {
	case directory.KindTeam:
		if e.Team, err = p.store.Teams().Get(ctx, id); err == nil {
			e.Key.Team, e.Key.Org = id, e.Team.Org
		}
	case directory.KindUser:
		if e.User, err = p.store.Users().Get(ctx, id); err == nil {
			e.Key.User, e.Key.Org = id, e.User.Org
		}
	}
	if err == nil {
		e.Org, err = p.store.Organisations().Get(ctx, e.Key.Org)
	}
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return e.Who(auth.Hash{}), nil
}

// bindCurrent adds to the caller of a stored key, or of what keys belong to, what the current configuration says of it.
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
	src, cfg, db, err := openLocal(ctx, o, create)
	if err != nil {
		return nil, "", nil, err
	}
	at = placeOf(cfg)
	p, err := localPeople(ctx, src, cfg, db)
	if err != nil {
		return nil, at, nil, errors.Join(err, db.Close())
	}
	h, err = admin.New(admin.Options{
		Control: p.control, Books: db.Ledger(), Recount: recounter{books: db.Ledger()}.recount, Twins: db.Twins(), Door: p.door, Local: true, Listen: "127.0.0.1:0",
	})
	if err != nil {
		return nil, at, nil, errors.Join(err, p.closeLocal(ctx), db.Close())
	}
	return h, at, func() error { return errors.Join(p.closeLocal(context.WithoutCancel(ctx)), db.Close()) }, nil
}

// placeOf says where a configuration's store is.
func placeOf(cfg *config.Config) string {
	if cfg.Store.URL != "" {
		return "the one that store.url names"
	}
	return filepath.Join(cfg.Data, "sluice.db")
}

// openLocal opens the store that a configuration names, and makes one only if create says so.
func openLocal(ctx context.Context, o Options, create bool) (*source, *config.Config, *sql.DB, error) {
	src, cfg, err := readSource(o, vault.New(o.Getenv, nil))
	if err != nil {
		return nil, nil, nil, err
	}
	if at := placeOf(cfg); cfg.Store.URL == "" && !create {
		if _, err := os.Stat(at); err != nil {
			return nil, nil, nil, fmt.Errorf("there is no store at %s: start a gateway (sluice serve), name its configuration (--config), or make the store (--local)", at)
		}
	}
	db, err := OpenStore(ctx, cfg, sql.Options{})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("store: %w", err)
	}
	return src, cfg, db, nil
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
	return openPeople(ctx, cfg, db, revoked, nil, nil, systemUser(), nil, func(o *control.Options) {
		o.Settings = l.settingsOptions(func() *source { return src }, func() *config.Config {
			if whole, _, err := l.newestGood(ctx, src); err == nil {
				return whole
			}
			return cfg // what the file says is seen in any case
		})
	})
}
