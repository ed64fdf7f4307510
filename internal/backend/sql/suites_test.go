package sql

import (
	"testing"
	"time"

	"sluice/internal/account"
	"sluice/internal/account/accounttest"
	"sluice/internal/alert"
	"sluice/internal/alert/alerttest"
	"sluice/internal/audit"
	"sluice/internal/audit/audittest"
	"sluice/internal/directory"
	"sluice/internal/directory/directorytest"
	"sluice/internal/seal"
	"sluice/internal/seal/sealtest"
	"sluice/internal/settings"
	"sluice/internal/settings/settingstest"
	"sluice/internal/usage"
	"sluice/internal/usage/usagetest"
)

func TestDirectory(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		directorytest.Run(t, directorytest.Harness{Open: func(t *testing.T) directory.Store { return open(t, another(t, o)).Directory() }})
	})
}

func TestAccounts(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		accounttest.Run(t, accounttest.Harness{Open: func(t *testing.T) account.Store { return open(t, another(t, o)).Accounts() }})
	})
}

// another is an empty store of the same engine.
func another(t *testing.T, o Options) Options {
	t.Helper()
	if o.DSN == "" {
		return Options{Dir: t.TempDir()}
	}
	return Options{DSN: databaseOf(t)}
}

func TestOutbox(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		var db *DB
		alerttest.Run(t, alerttest.Harness{
			Outboxes: func(t *testing.T) (a, b alert.Outbox) {
				o := another(t, o)
				db = open(t, o)
				return db.Outbox(), open(t, o).Outbox()
			},
			// The store's clock is its own. That time has passed is that all was due so much earlier.
			Pass: func(d time.Duration) {
				if _, err := (&session{conn: db.writer, dialect: db.dialect}).exec(t.Context(), say("UPDATE alerts SET due = due - ?", d.Microseconds())); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

func TestLedger(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		usagetest.Run(t, usagetest.Harness{Open: func(t *testing.T) usage.Store { return open(t, another(t, o)).Ledger() }})
	})
}

func TestTrail(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		audittest.Run(t, audittest.Harness{Stores: func(t *testing.T) (a, b audit.Store) {
			o := another(t, o)
			return open(t, o).Trail(), open(t, o).Trail()
		}})
	})
}

func TestSettings(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		settingstest.Run(t, settingstest.Harness{Open: func(t *testing.T) settings.Store { return open(t, another(t, o)).Settings() }})
	})
}

func TestSecrets(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		sealtest.Run(t, sealtest.Harness{Open: func(t *testing.T) seal.Store { return open(t, another(t, o)).Secrets() }})
	})
}
