package account

import (
	"context"
	"encoding/base64"
	"errors"
)

func encode(b []byte) string          { return base64.RawURLEncoding.EncodeToString(b) }
func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// Token tells whose tool shows a token. KindInvalidKey (401), CodeToken: nobody's. A token may do no more than its maker may now: one
// whose maker has lost a role or a realm has lost it, too.
func (d *Door) Token(ctx context.Context, token string, _ Client) (*Signed, error) {
	h, ok := d.mint.tokenHash(token)
	if !ok {
		return nil, errTok
	}
	done, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	t, maker, err := d.o.Store.TokenByHash(ctx, h)
	if errors.Is(err, ErrNotFound) {
		return nil, errTok
	}
	if err != nil {
		return nil, failed(err)
	}
	now := d.now()
	role, realm, ok := t.within(maker)
	if !ok || !now.Before(t.Expires) {
		return nil, errTok
	}
	if now.Sub(t.Used) >= touchEvery {
		if err := d.o.Store.UseToken(ctx, t.ID, now); err != nil {
			d.o.Log.Warn("a token's use is not noted", "event", "touch_failed", "error", err.Error())
		}
	}
	return &Signed{Kind: ByToken, ID: t.ID, Account: t.Maker, Name: t.Name, Role: role, Realm: realm, Scopes: t.Scopes, Ends: t.Expires}, nil
}

// within is what is left of a token's role and realm within those of its maker, whom nil stands for who may no longer do anything. ok is
// false where nothing is. A token of whoever runs the gateway has no maker to shrink with.
func (t *Token) within(maker *Account) (role Role, realm Realm, ok bool) {
	role, realm = t.Role, t.Realm
	if t.Maker == "" {
		return role, realm, true
	}
	if maker == nil || maker.Disabled {
		return "", Realm{}, false
	}
	switch {
	case maker.Role.Covers(role):
	case role.Covers(maker.Role):
		role = maker.Role
	default:
		return "", Realm{}, false
	}
	switch {
	case maker.Realm.Covers(realm):
	case realm.Covers(maker.Realm):
		realm = maker.Realm
	default:
		return "", Realm{}, false
	}
	return role, realm, true
}
