package sql

import (
	"bytes"
	"context"
	"slices"
	"time"

	"sluice/internal/account"
	"sluice/internal/directory"
)

type kind = directory.Kind

func sortedHashes(keys []account.Hash) []account.Hash {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b account.Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys)
}

const sessionColumns text = "s.hash, s.id, s.account_id, s.method, s.created, s.seen, s.proved, s.ends, s.address, s.agent"

// intoSession is where they are read to. Of an outer join all may be NULL.
func intoSession(n *account.Session) []any {
	return []any{
		asKeyed{&n.Hash},
		orZero[string]{&n.ID},
		orZero[string]{&n.Account},
		orZero[string]{&n.Method},
		asTime{&n.Created},
		asTime{&n.Seen},
		asTime{&n.Proved},
		asTime{&n.Ends},
		asAddress{&n.Address},
		orZero[string]{&n.Agent},
	}
}

func (s *session) addSession(ctx context.Context, n *account.Session) error {
	err := s.do(ctx, say("INSERT INTO sessions (hash, id, account_id, method, created, seen, proved, ends, address, agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		n.Hash[:], n.ID, n.Account, n.Method, fromTime(n.Created), fromTime(n.Seen), fromTime(n.Proved), fromTime(n.Ends), fromAddress(n.Address), n.Agent))
	return err
}

// CreateSession implements account.Sessions.
func (t *Accounts) CreateSession(ctx context.Context, n *account.Session) error {
	return accountFailed("create session", t.db.write(ctx, func(ctx context.Context, s *session) error { return s.addSession(ctx, n) }))
}

// Session implements account.Sessions.
func (t *Accounts) Session(ctx context.Context, h account.Hash) (*account.Session, *account.Account, error) {
	n, a := new(account.Session), new(account.Account)
	err := t.db.lookup(ctx, func(ctx context.Context, s *session) error {
		found, err := s.one(ctx, say("SELECT ").and(sessionColumns).and(", ").and(accountColumns).
			and(" FROM sessions s JOIN accounts a ON a.id = s.account_id WHERE s.hash = ?", h[:]), append(intoSession(n), intoAccount(a)...)...)
		if err == nil && !found {
			err = account.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, nil, accountFailed("get session", err)
	}
	return n, a, nil
}

// ReplaceSession implements account.Sessions.
func (t *Accounts) ReplaceSession(ctx context.Context, old account.Hash, n *account.Session) error {
	return accountFailed("replace session", t.db.write(ctx, func(ctx context.Context, s *session) error {
		gone, err := s.exec(ctx, say("DELETE FROM sessions WHERE hash = ?", old[:]))
		if err == nil && gone == 0 {
			err = account.ErrNotFound
		}
		if err != nil {
			return err
		}
		return s.addSession(ctx, n)
	}))
}

// Touch implements account.Sessions.
func (t *Accounts) Touch(ctx context.Context, h account.Hash, at time.Time, c account.Client) error {
	_, err := t.took(ctx, "touch session", func() *statement {
		return say("UPDATE sessions SET seen = ?, address = ?, agent = ? WHERE hash = ? AND seen < ?", fromTime(at), fromAddress(c.Address), c.Agent, h[:], fromTime(at))
	})
	return err
}

// SessionsOf implements account.Sessions.
func (t *Accounts) SessionsOf(ctx context.Context, id, email string) (a *account.Account, list []account.Session, err error) {
	err = t.db.alone(ctx, func(ctx context.Context, s *session) error {
		a, list = nil, nil
		q := say("SELECT ").and(accountColumns).and(", ").and(sessionColumns).
			and(" FROM accounts a LEFT JOIN sessions s ON s.account_id = a.id WHERE a.id = ? OR a.email = nullif(?, '') ORDER BY s.created DESC, s.id LIMIT 1000", id, email)
		err := s.each(ctx, q, func(r row) error {
			var n account.Session
			a = new(account.Account)
			err := r.Scan(append(intoAccount(a), intoSession(&n)...)...)
			if n.ID != "" {
				list = append(list, n)
			}
			return err
		})
		if err == nil && a == nil {
			err = account.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, nil, accountFailed("list sessions", err)
	}
	return a, list, nil
}

// EndSession implements account.Sessions.
func (t *Accounts) EndSession(ctx context.Context, of, id string) error {
	took, err := t.took(ctx, "end session", func() *statement {
		return say("DELETE FROM sessions WHERE account_id = ? AND id = ?", of, id)
	})
	if err == nil && !took {
		err = account.ErrNotFound
	}
	return err
}

// EndSessions implements account.Sessions.
func (t *Accounts) EndSessions(ctx context.Context, of, but string) (n int64, err error) {
	err = t.db.write(ctx, func(ctx context.Context, s *session) (err error) {
		n, err = s.exec(ctx, say("DELETE FROM sessions WHERE account_id = ? AND id <> ?", of, but))
		return err
	})
	return n, accountFailed("end sessions", err)
}

const tokenColumns text = "t.id, t.name, t.hash, t.account_id, t.maker, t.role, t.realm_kind, t.realm_id, t.realm_org, t.scopes, t.created, t.expires, t.used" //nolint:gosec // G101: names of columns

func intoToken(k *account.Token) []any {
	return []any{
		&k.ID, &k.Name,
		asKeyed{&k.Hash},
		orZero[string]{&k.Maker},
		&k.MakerName,
		asWord[account.Role]{&k.Role},
		asWord[kind]{&k.Realm.Kind},
		&k.Realm.ID, &k.Realm.Org,
		asList{&k.Scopes},
		asTime{&k.Created},
		asTime{&k.Expires},
		asTime{&k.Used},
	}
}

// CreateToken implements account.Tokens.
func (t *Accounts) CreateToken(ctx context.Context, k *account.Token) error {
	return accountFailed("create token", t.db.write(ctx, func(ctx context.Context, s *session) error {
		err := s.do(ctx, say("INSERT INTO tokens (id, name, hash, account_id, maker, role, realm_kind, realm_id, realm_org, scopes, created, expires)"+
			" VALUES (?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?)",
			k.ID, k.Name, k.Hash[:], k.Maker, k.MakerName, string(k.Role), string(k.Realm.Kind), k.Realm.ID, k.Realm.Org, scopesJSON(k.Scopes),
			fromTime(k.Created), fromTime(k.Expires)))
		return err
	}))
}

// TokenByHash implements account.Tokens.
func (t *Accounts) TokenByHash(ctx context.Context, h account.Hash) (*account.Token, *account.Account, error) {
	k, a := new(account.Token), new(account.Account)
	err := t.db.lookup(ctx, func(ctx context.Context, s *session) error {
		found, err := s.one(ctx, say("SELECT ").and(tokenColumns).and(", ").and(accountColumns).
			and(" FROM tokens t LEFT JOIN accounts a ON a.id = t.account_id WHERE t.hash = ?", h[:]), append(intoToken(k), intoAccount(a)...)...)
		if err == nil && !found {
			err = account.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, nil, accountFailed("get token", err)
	}
	if a.ID == "" {
		a = nil
	}
	return k, a, nil
}

// Token implements account.Tokens.
func (t *Accounts) Token(ctx context.Context, id string) (*account.Token, error) {
	k := new(account.Token)
	err := t.db.lookup(ctx, func(ctx context.Context, s *session) error {
		found, err := s.one(ctx, say("SELECT ").and(tokenColumns).and(" FROM tokens t WHERE id = ?", id), intoToken(k)...)
		if err == nil && !found {
			err = account.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, accountFailed("get token", err)
	}
	return k, nil
}

// ListTokens implements account.Tokens.
func (t *Accounts) ListTokens(ctx context.Context, f account.Filter) (list []account.Token, next string, err error) {
	err = t.db.lookup(ctx, func(ctx context.Context, s *session) error {
		q := say("SELECT ").and(tokenColumns).and(" FROM tokens t WHERE id > ?", f.After)
		equal(q, " AND account_id = ?", f.Maker)
		within(q, &f)
		return s.each(ctx, q, func(r row) error {
			var k account.Token
			err := r.Scan(intoToken(&k)...)
			list = append(list, k)
			return err
		})
	})
	if err != nil {
		return nil, "", accountFailed("list tokens", err)
	}
	if len(list) > f.Limit {
		list = list[:f.Limit]
		next = list[f.Limit-1].ID
	}
	return list, next, nil
}

// UseToken implements account.Tokens.
func (t *Accounts) UseToken(ctx context.Context, id string, at time.Time) error {
	_, err := t.took(ctx, "use token", func() *statement {
		return say("UPDATE tokens SET used = ? WHERE id = ?", fromTime(at), id)
	})
	return err
}

// DeleteToken implements account.Tokens.
func (t *Accounts) DeleteToken(ctx context.Context, id string) error {
	took, err := t.took(ctx, "delete token", func() *statement { return say("DELETE FROM tokens WHERE id = ?", id) })
	if err == nil && !took {
		err = account.ErrNotFound
	}
	return err
}
