package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/seal"
	"sluice/internal/settings"
	"sluice/internal/vault"
)

// live is the settings of the store as this replica runs on them.
type live struct {
	store settings.Store
	vault *seal.Vault
	poke  chan struct{} // filled when this replica has made a revision

	mu  sync.Mutex // guards now
	now standing
}

// standing is what a replica runs on.
type standing struct {
	revision int64            // 0: the file alone
	doc      *config.Settings // of the revision
	refused  int64            // a newer one that could not be taken up; 0: none
	problem  string           // with it
}

func (l *live) standing() standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *live) set(s standing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = s
}

// openKEK is the key-encryption key that a configuration names.
func openKEK(cfg *config.Config) (seal.KEK, error) {
	switch s := &cfg.Secrets; {
	case s.Command != nil:
		return seal.FromCommand(s.Command)
	case s.Key != "":
		return seal.FromText(s.Key)
	}
	return seal.FromFile(cfg.Data, rand.Reader)
}

// openLive opens the settings in a store. One whose secrets another key-encryption key guards is refused.
func openLive(ctx context.Context, cfg *config.Config, db *sql.DB) (*live, error) {
	kek, err := openKEK(cfg)
	if err != nil {
		return nil, err
	}
	v, err := seal.Open(ctx, seal.Options{Store: db.Secrets(), KEK: kek})
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	return &live{store: db.Settings(), vault: v, poke: make(chan struct{}, 1)}, nil
}

// document reads a revision; 0 is that of the time before there were any.
func (l *live) document(ctx context.Context, n int64) (*config.Settings, error) {
	if n == 0 {
		return config.ParseSettings("settings", nil)
	}
	r, err := l.store.Get(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("settings revision %d: %w", n, err)
	}
	return config.ParseSettings(fmt.Sprintf("settings revision %d", n), r.Document)
}

// A source is the configuration file as it was read, so that settings can be taken up beside it whatever becomes of the file.
type source struct {
	o    Options
	text []byte // of the file; unused where there is none
	v    *vault.Client
}

// options are what every document of a configuration is read with.
func (s *source) options(ctx context.Context) config.Options {
	return config.Options{Getenv: s.o.Getenv, Kinds: Kinds(), Guard: checkGuard, Vault: func(ref string) (string, error) { return s.v.Read(ctx, ref) }}
}

// ConfigOptions are what a command reads a configuration with that is not to be served.
func ConfigOptions(ctx context.Context, getenv func(string) string) config.Options {
	s := source{o: Options{Getenv: getenv}, v: vault.New(getenv, nil)}
	return s.options(ctx)
}

// with is the configuration of the file and a document of settings.
func (s *source) with(ctx context.Context, doc *config.Settings, open func(place, id string) (string, error)) (*config.Config, error) {
	o := s.options(ctx)
	o.Settings, o.Sealed = doc, open
	return s.parse(o)
}

func (s *source) parse(o config.Options) (*config.Config, error) {
	if s.o.ConfigPath == "" {
		return config.Default(o)
	}
	return config.Parse(s.o.ConfigPath, s.text, o)
}

// readSource reads the configuration file. What it says is read before the store is known that it names, so it may lack what only
// that has.
func readSource(o Options, v *vault.Client) (*source, *config.Config, error) {
	s := &source{o: o, v: v}
	var err error
	if o.ConfigPath != "" {
		if s.text, err = config.ReadFile(o.ConfigPath); err != nil {
			return nil, nil, err
		}
	}
	open := s.options(context.Background())
	open.Open = true
	cfg, err := s.parse(open)
	return s, cfg, err
}

// tryOut fails where no gateway could run on a configuration, though it makes sense. Nothing of it stays.
func tryOut(cfg *config.Config) error {
	providers := withMocks(cfg, "http://127.0.0.1")
	for i := range providers {
		t, err := transport(cfg, &providers[i])
		if err != nil {
			return fmt.Errorf("provider %s: %w", providers[i].Name, err)
		}
		_, err = newProvider(&providers[i], t)
		t.CloseIdle()
		if err != nil {
			return fmt.Errorf("provider %s: %w", providers[i].Name, err)
		}
	}
	prices, err := newPricing(cfg, providers)
	if err != nil {
		return err
	}
	newPlaces(cfg, providers).catalog(prices)
	return nil
}

// checker is control's question whether a gateway could run on a document.
func checker(s func() *source) func(context.Context, *config.Settings, func(place, id string) (string, error)) error {
	return func(ctx context.Context, doc *config.Settings, open func(place, id string) (string, error)) error {
		cfg, err := s().with(ctx, doc, open)
		if err != nil {
			return err
		}
		return tryOut(cfg)
	}
}

// newestGood is the configuration of the file and the newest revision that a gateway can run on, and where it stands then.
func (l *live) newestGood(ctx context.Context, s *source) (*config.Config, standing, error) {
	newest, err := l.store.Newest(ctx)
	if err != nil {
		return nil, standing{}, fmt.Errorf("settings: %w", err)
	}
	var first error // that of the newest, which is the one to tell
	for n := newest; n >= 0; n-- {
		var cfg *config.Config
		doc, err := l.document(ctx, n)
		if err == nil {
			cfg, err = s.with(ctx, doc, control.OpenSealed(ctx, l.vault))
		}
		if err == nil {
			err = tryOut(cfg)
		}
		if err == nil {
			at := standing{revision: n, doc: doc}
			if first != nil {
				at.refused, at.problem = newest, first.Error()
			}
			return cfg, at, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, standing{}, first
}

const (
	settingsPoll = 250 * time.Millisecond // how often the number of the newest revision is asked for
	settingsBeat = 10 * time.Second       // how often a replica says what it runs on, and tries again what it refused
)

// watchSettings says on newer when there may be a revision to take up, until ctx ends.
func (a *App) watchSettings(ctx context.Context, newer chan<- struct{}) {
	poll, beat := time.NewTicker(settingsPoll), time.NewTicker(settingsBeat)
	defer poll.Stop()
	defer beat.Stop()
	tell := func() {
		select {
		case newer <- struct{}{}:
		default:
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.live.poke:
			tell()
		case <-beat.C:
			tell()
		case <-poll.C:
			at := a.live.standing()
			within, stop := context.WithTimeout(ctx, settingsBeat)
			n, err := a.live.store.Newest(within)
			stop()
			if err == nil && n != max(at.revision, at.refused) { // a store that does not answer is told of by others
				tell()
			}
			if !a.fleet.Linked() {
				a.countReplicas(ctx)
			}
		}
	}
}

// takeUp makes the newest revision the one that this replica runs on. One that cannot be leaves the old one standing.
func (a *App) takeUp(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, settingsBeat)
	defer stop()
	at := a.live.standing()
	n, err := a.live.store.Newest(ctx)
	if err != nil {
		return
	}
	if n != at.revision {
		a.takeUpRevision(ctx, at, n)
	} else if at.refused != 0 { // the store was put back to an earlier time
		a.live.set(standing{revision: at.revision, doc: at.doc})
	}
	a.report(ctx)
}

// report has this replica listed in the store, with the revision that it runs on.
func (a *App) report(ctx context.Context) {
	at := a.live.standing()
	if err := a.live.store.Report(ctx, &settings.Replica{ID: a.replica, Revision: at.revision, Refused: at.refused, Problem: at.problem}); err != nil {
		a.log.Warn("the store was not told of the revision that runs", "event", "settings_unreported", "error", err.Error())
	}
	a.countReplicas(ctx)
}

// countReplicas counts the replicas that the store lists, where they share one. A store that does not answer leaves the last count.
func (a *App) countReplicas(ctx context.Context) {
	if a.shared == nil || !usesPostgres(a.effective()) {
		return
	}
	ctx, stop := context.WithTimeout(ctx, settingsBeat)
	defer stop()
	if list, err := a.live.store.Replicas(ctx); err == nil {
		a.listed.Store(int32(len(list)))
	}
}

// replicas is how many may share the limits: as many as Redis has told of, or as the store lists if that is more. One that starts
// while Redis is away knows of the others by the store alone, and those that run learn so of it.
func (a *App) replicas() int { return max(a.fleet.Seen(), int(a.listed.Load())) }

func (a *App) takeUpRevision(ctx context.Context, at standing, n int64) {
	doc, err := a.live.document(ctx, n)
	var cfg *config.Config
	if err == nil {
		cfg, err = a.source.with(ctx, doc, control.OpenSealed(ctx, a.live.vault))
	}
	if err == nil {
		changed := config.Diff(a.cfg, cfg)
		if err = a.apply(cfg); err == nil {
			a.live.set(standing{revision: n, doc: doc})
			a.metrics.Reloaded(true)
			a.log.Info("settings taken up", "event", "settings_taken_up", "revision", n, "changes", changed)
			return
		}
	}
	if at.refused == n && at.problem == err.Error() {
		return // it was told
	}
	at.refused, at.problem = n, err.Error()
	a.live.set(at)
	a.metrics.Reloaded(false)
	a.log.Error("settings not taken up; the old ones stay", "event", "settings_refused", "revision", n, "stays", at.revision, "error", err.Error())
}

// settingsOptions are control's, for a gateway or a command.
func (l *live) settingsOptions(s func() *source, effective func() *config.Config) control.SettingsOptions {
	return control.SettingsOptions{
		Store: l.store, Vault: l.vault, Effective: effective, Check: checker(s),
		Changed: func() {
			select {
			case l.poke <- struct{}{}:
			default:
			}
		},
	}
}

// effective is the configuration that holds now.
func (a *App) effective() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg
}

func (a *App) currentSource() *source {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.source
}

// startSettings reads the settings of the store and makes them part of the configuration that the program starts with.
func (a *App) startSettings(ctx context.Context) error {
	cfg, at, err := a.live.newestGood(ctx, a.source)
	if err != nil {
		return err
	}
	if at.refused != 0 {
		a.log.Error("settings not taken up; older ones hold", "event", "settings_refused", "revision", at.refused, "stays", at.revision, "error", at.problem)
	}
	a.live.set(at)
	a.cfg = cfg
	return nil
}

// RewrapSecrets wraps the keyset of the store that a configuration names by the key-encryption key that another one names, and says
// where the store is and what that key is called. Gateways that have the old one go on until they start anew.
func RewrapSecrets(ctx context.Context, o Options, to string) (at, name string, err error) {
	other := o
	other.ConfigPath = to
	_, cfg, err := readSource(other, vault.New(o.Getenv, nil))
	if err != nil {
		return "", "", err
	}
	kek, err := openKEK(cfg)
	if err != nil {
		return "", "", err
	}
	src, cfg, db, err := openLocal(ctx, o, false)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := localPeople(ctx, src, cfg, db)
	if err != nil {
		return "", "", err
	}
	_, err = p.control.Settings().RewrapSecrets(ctx, control.Owner("operator"), kek)
	return placeOf(cfg), kek.Name(), errors.Join(err, p.closeLocal(context.WithoutCancel(ctx)))
}
