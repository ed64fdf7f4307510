package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sluice/internal/account"
)

// Accounts is account.Store.
type Accounts struct{ db *DB }

// Accounts gives the accounts in the store.
func (db *DB) Accounts() *Accounts { return &Accounts{db} }

var _ account.Store = (*Accounts)(nil)

const accountColumns text = "a.id, a.name, a.email, a.role, a.realm_kind, a.realm_id, a.realm_org, a.disabled, a.password, a.totp, a.issuer, a.subject," +
	" a.created, a.updated, a.maker, a.version"

// intoAccount is where they are read to. Of an outer join all may be NULL.
func intoAccount(a *account.Account) []any {
	return []any{
		orZero[string]{&a.ID},
		orZero[string]{&a.Name},
		orZero[string]{&a.Email},
		asWord[account.Role]{&a.Role},
		asWord[kind]{&a.Realm.Kind},
		orZero[string]{&a.Realm.ID},
		orZero[string]{&a.Realm.Org},
		asBit{&a.Disabled},
		orZero[string]{&a.Password},
		&a.TOTP,
		orZero[string]{&a.Issuer},
		orZero[string]{&a.Subject},
		asTime{&a.Created},
		asTime{&a.Updated},
		orZero[string]{&a.Maker},
		orZero[int64]{&a.Version},
	}
}

// accountFailed says what an operation failed with, in the words of package account.
func accountFailed(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case isTaken(err):
		return account.ErrExists
	case isLoose(err):
		return account.ErrNotFound
	}
	for _, word := range []error{account.ErrNotFound, account.ErrExists, account.ErrVersion, account.ErrLastOwner} {
		if errors.Is(err, word) {
			return word
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// getAccount reads the one account of a query's end.
func (s *session) getAccount(ctx context.Context, where text, args ...any) (*account.Account, error) {
	a := new(account.Account)
	found, err := s.one(ctx, say("SELECT ").and(accountColumns).and(" FROM accounts a WHERE ").and(where, args...), intoAccount(a)...)
	if err == nil && !found {
		err = account.ErrNotFound
	}
	return a, err
}

func (t *Accounts) get(ctx context.Context, where text, args ...any) (a *account.Account, err error) {
	err = t.db.lookup(ctx, func(ctx context.Context, s *session) (err error) {
		a, err = s.getAccount(ctx, where, args...)
		return err
	})
	if err != nil {
		return nil, accountFailed("get account", err)
	}
	return a, nil
}

// Account implements account.Store.
func (t *Accounts) Account(ctx context.Context, id string) (*account.Account, error) {
	return t.get(ctx, "id = ?", id)
}

// ByEmail implements account.Store.
func (t *Accounts) ByEmail(ctx context.Context, email string) (*account.Account, error) {
	return t.get(ctx, "email = nullif(?, '')", email)
}

// ByIdentity implements account.Store.
func (t *Accounts) ByIdentity(ctx context.Context, issuer, subject string) (*account.Account, error) {
	return t.get(ctx, "issuer = nullif(?, '') AND subject = ?", issuer, subject)
}

// within adds what a filter asks for of both accounts and tokens.
func within(q *statement, f *account.Filter) {
	equal(q, " AND realm_org = ?", f.Org)
	equal(q, " AND realm_kind = ?", string(f.Kind))
	equal(q, " AND realm_id = ?", f.ID)
	equal(q, " AND role = ?", string(f.Role))
	if f.Limit <= 0 || f.Limit > account.MaxList {
		f.Limit = account.MaxList
	}
	q.and(" ORDER BY id").limit(f.Limit + 1)
}

// Accounts implements account.Store.
func (t *Accounts) Accounts(ctx context.Context, f account.Filter) (list []account.Account, next string, err error) {
	err = t.db.lookup(ctx, func(ctx context.Context, s *session) error {
		q := say("SELECT ").and(accountColumns).and(" FROM accounts a WHERE id > ?", f.After)
		within(q, &f)
		return s.each(ctx, q, func(r row) error {
			var a account.Account
			err := r.Scan(intoAccount(&a)...)
			list = append(list, a)
			return err
		})
	})
	if err != nil {
		return nil, "", accountFailed("list accounts", err)
	}
	if len(list) > f.Limit {
		list = list[:f.Limit]
		next = list[f.Limit-1].ID
	}
	return list, next, nil
}

// change does what changes accounts, one after another.
func (t *Accounts) change(ctx context.Context, op string, do func(context.Context, *session) error) error {
	return accountFailed(op, t.db.write(ctx, func(ctx context.Context, s *session) error {
		if s.dialect == postgres { // SQLite has one writer
			if err := s.do(ctx, say("LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE")); err != nil {
				return err
			}
		}
		return do(ctx, s)
	}))
}

// Create implements account.Store.
func (t *Accounts) Create(ctx context.Context, a *account.Account) error {
	return t.change(ctx, "create account", func(ctx context.Context, s *session) error {
		a.Version = 1
		err := s.do(ctx, say("INSERT INTO accounts (id, name, email, role, realm_kind, realm_id, realm_org, disabled, password, totp, totp_step, issuer, subject,"+
			" created, updated, maker, version) VALUES (?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, 0, nullif(?, ''), nullif(?, ''), ?, ?, ?, 1)",
			a.ID, a.Name, a.Email, string(a.Role), string(a.Realm.Kind), a.Realm.ID, a.Realm.Org, bit(a.Disabled), a.Password, orNull(a.TOTP), a.Issuer, a.Subject,
			fromTime(a.Created), fromTime(a.Updated), a.Maker))
		return err
	})
}

// leaving runs do on an account that still has the version; a usable owner must be left, if there was one.
func (t *Accounts) leaving(ctx context.Context, op, id string, version int64, do func(context.Context, *session, *account.Account) error) error {
	return t.change(ctx, op, func(ctx context.Context, s *session) error {
		was, err := s.getAccount(ctx, "id = ?", id)
		if err != nil {
			return err
		}
		if was.Version != version {
			return account.ErrVersion
		}
		before, err := s.owners(ctx)
		if err != nil {
			return err
		}
		if err := do(ctx, s, was); err != nil {
			return err
		}
		after, err := s.owners(ctx)
		if err == nil && before > 0 && after == 0 {
			err = account.ErrLastOwner
		}
		return err
	})
}

// owners counts those of the whole gateway who can sign in.
func (s *session) owners(ctx context.Context) (n int64, err error) {
	_, err = s.one(ctx, say("SELECT count(*) FROM accounts WHERE role = ? AND realm_kind = '' AND disabled = 0 AND (password <> '' OR issuer IS NOT NULL)",
		string(account.RoleOwner)), &n)
	return n, err
}

// Update implements account.Store.
func (t *Accounts) Update(ctx context.Context, a *account.Account) error {
	err := t.leaving(ctx, "update account", a.ID, a.Version, func(ctx context.Context, s *session, _ *account.Account) error {
		err := s.do(ctx, say("UPDATE accounts SET name = ?, email = nullif(?, ''), role = ?, realm_kind = ?, realm_id = ?, realm_org = ?, disabled = ?,"+
			" issuer = nullif(?, ''), subject = nullif(?, ''), updated = ?, version = version + 1 WHERE id = ?",
			a.Name, a.Email, string(a.Role), string(a.Realm.Kind), a.Realm.ID, a.Realm.Org, bit(a.Disabled), a.Issuer, a.Subject, fromTime(a.Updated), a.ID))
		return err
	})
	if err == nil {
		a.Version++
	}
	return err
}

// Delete implements account.Store.
func (t *Accounts) Delete(ctx context.Context, id string, version int64) error {
	return t.leaving(ctx, "delete account", id, version, func(ctx context.Context, s *session, _ *account.Account) error {
		err := s.do(ctx, say("DELETE FROM accounts WHERE id = ?", id)) // what belongs to it goes with it
		return err
	})
}

// SetPassword implements account.Store.
func (t *Accounts) SetPassword(ctx context.Context, id, was, is string) error {
	return accountFailed("set password", t.db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, say("UPDATE accounts SET password = ? WHERE id = ? AND password = ?", is, id, was))
		if err == nil && n == 0 {
			if _, err = s.getAccount(ctx, "id = ?", id); err == nil {
				err = account.ErrVersion
			}
		}
		return err
	}))
}

// SetTOTP implements account.Store.
func (t *Accounts) SetTOTP(ctx context.Context, id string, sealed []byte, step int64, codes []account.Hash) error {
	return accountFailed("set one-time codes", t.db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, say("UPDATE accounts SET totp = ?, totp_step = CASE WHEN totp_step > CAST(? AS bigint) THEN totp_step ELSE CAST(? AS bigint) END WHERE id = ?",
			orNull(sealed), step, step, id))
		if err == nil && n == 0 {
			err = account.ErrNotFound
		}
		if err == nil {
			err = s.do(ctx, say("DELETE FROM recovery_codes WHERE account_id = ?", id))
		}
		for i := range codes {
			if err == nil {
				err = s.do(ctx, say("INSERT INTO recovery_codes (account_id, hash) VALUES (?, ?)", id, codes[i][:]))
			}
		}
		return err
	}))
}

// took tells whether a statement changed the one row that somebody asked for.
func (t *Accounts) took(ctx context.Context, op string, q func() *statement) (took bool, err error) {
	err = t.db.write(ctx, func(ctx context.Context, s *session) error {
		n, err := s.exec(ctx, q())
		took = n == 1
		return err
	})
	return took, accountFailed(op, err)
}

// UseStep implements account.Store.
func (t *Accounts) UseStep(ctx context.Context, id string, step int64) (bool, error) {
	return t.took(ctx, "use code", func() *statement {
		return say("UPDATE accounts SET totp_step = ? WHERE id = ? AND totp_step < ?", step, id, step)
	})
}

// UseCode implements account.Store.
func (t *Accounts) UseCode(ctx context.Context, id string, code account.Hash) (bool, error) {
	return t.took(ctx, "use code", func() *statement {
		return say("DELETE FROM recovery_codes WHERE account_id = ? AND hash = ?", id, code[:])
	})
}

// Codes implements account.Store.
func (t *Accounts) Codes(ctx context.Context, id string) (n int, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		_, err := s.one(ctx, say("SELECT count(*) FROM recovery_codes WHERE account_id = ?", id), &n)
		return err
	})
	return n, accountFailed("count codes", err)
}

// Try implements account.Store.
func (t *Accounts) Try(ctx context.Context, keys []account.Hash, next func([]account.Tries)) error {
	return accountFailed("count tries", t.db.write(ctx, func(ctx context.Context, s *session) error {
		if err := s.lockFailures(ctx, keys); err != nil {
			return err
		}
		tries := make([]account.Tries, len(keys))
		for i := range keys {
			q := say("SELECT count, last, until FROM failures WHERE hash = ?", keys[i][:])
			if _, err := s.one(ctx, q, &tries[i].Count, asTime{&tries[i].Last}, asTime{&tries[i].Until}); err != nil {
				return err
			}
		}
		next(tries)
		for i, k := range keys {
			q := say("DELETE FROM failures WHERE hash = ?", k[:])
			if tries[i] != (account.Tries{}) {
				q = say("INSERT INTO failures (hash, count, last, until) VALUES (?, ?, ?, ?)"+
					" ON CONFLICT (hash) DO UPDATE SET count = excluded.count, last = excluded.last, until = excluded.until",
					k[:], tries[i].Count, tries[i].Last.UnixMicro(), fromTime(tries[i].Until))
			}
			if err := s.do(ctx, q); err != nil {
				return err
			}
		}
		return nil
	}))
}

// lockFailures has others who try the same wait, even where there is no row yet.
func (s *session) lockFailures(ctx context.Context, keys []account.Hash) error {
	if s.dialect != postgres {
		return nil
	}
	for _, k := range sortedHashes(keys) { // in one order, so that nobody waits in a circle
		if err := s.do(ctx, say("SELECT pg_advisory_xact_lock(hashtextextended(encode(CAST(? AS bytea), 'hex'), 5))", k[:])); err != nil {
			return err
		}
	}
	return nil
}

// Sweep implements account.Store.
func (t *Accounts) Sweep(ctx context.Context, now, until time.Time, most int) error {
	at := now.UnixMicro()
	return accountFailed("sweep", t.db.write(ctx, func(ctx context.Context, s *session) error {
		for _, q := range []*statement{
			say("DELETE FROM sessions WHERE ends <= ?", at), say("DELETE FROM tokens WHERE expires <= ?", at), say("DELETE FROM links WHERE expires <= ?", at),
			say("DELETE FROM failures WHERE last < ?", until.UnixMicro()),
			say("DELETE FROM failures WHERE hash IN (SELECT hash FROM failures ORDER BY last DESC").limit(1<<40).and(" OFFSET ?)", most),
		} {
			if err := s.do(ctx, q); err != nil {
				return err
			}
		}
		return nil
	}))
}

// CreateLink implements account.Links.
func (t *Accounts) CreateLink(ctx context.Context, l *account.Link) error {
	return accountFailed("create link", t.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("INSERT INTO links (account_id, hash, reset, expires) VALUES (?, ?, ?, ?)"+
			" ON CONFLICT (account_id) DO UPDATE SET hash = excluded.hash, reset = excluded.reset, expires = excluded.expires",
			l.Account, l.Hash[:], bit(l.Reset), fromTime(l.Expires)))
		return err
	}))
}

// readLink reads the link that a statement gives.
func (s *session) readLink(ctx context.Context, q *statement) (*account.Link, error) {
	l := new(account.Link)
	found, err := s.one(ctx, q, asKeyed{&l.Hash}, &l.Account, asBit{&l.Reset}, asTime{&l.Expires})
	if err == nil && !found {
		err = account.ErrNotFound
	}
	return l, err
}

// Link implements account.Links.
func (t *Accounts) Link(ctx context.Context, h account.Hash) (l *account.Link, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		l, err = s.readLink(ctx, say("SELECT hash, account_id, reset, expires FROM links WHERE hash = ?", h[:]))
		return err
	})
	if err != nil {
		return nil, accountFailed("get link", err)
	}
	return l, nil
}

// TakeLink implements account.Links.
func (t *Accounts) TakeLink(ctx context.Context, h account.Hash) (l *account.Link, err error) {
	err = t.db.write(ctx, func(ctx context.Context, s *session) error {
		l, err = s.readLink(ctx, say("DELETE FROM links WHERE hash = ? RETURNING hash, account_id, reset, expires", h[:]))
		return err
	})
	if err != nil {
		return nil, accountFailed("take link", err)
	}
	return l, nil
}

// asKeyed reads the hash of what somebody shows.
type asKeyed struct{ to *account.Hash }

// Scan implements sql.Scanner.
func (a asKeyed) Scan(from any) error {
	b, _ := from.([]byte)
	if *a.to = (account.Hash{}); from == nil {
		return nil
	}
	if len(b) != len(a.to) {
		return fmt.Errorf("a hash of another length")
	}
	copy(a.to[:], b)
	return nil
}

// asWord reads a text of a type of its own.
type asWord[T ~string] struct{ to *T }

// Scan implements sql.Scanner.
func (a asWord[T]) Scan(from any) error {
	var v sql.NullString
	err := v.Scan(from)
	*a.to = T(v.String)
	return err
}

// asBit reads 0 or 1.
type asBit struct{ to *bool }

// Scan implements sql.Scanner.
func (a asBit) Scan(from any) error {
	var v sql.NullInt64
	err := v.Scan(from)
	*a.to = v.Int64 != 0
	return err
}

// asAddress reads an address; an empty text is the zero one.
type asAddress struct{ to *netip.Addr }

// Scan implements sql.Scanner.
func (a asAddress) Scan(from any) error {
	var v sql.NullString
	err := v.Scan(from)
	*a.to, _ = netip.ParseAddr(v.String) // what cannot be read is not known
	return err
}

// orNull is NULL for no bytes.
func orNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

func fromAddress(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// scopesJSON is what asList reads.
func scopesJSON(list []string) string {
	if list == nil {
		list = []string{}
	}
	b, _ := json.Marshal(list) // texts
	return string(b)
}
