package accounttest

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sluice/internal/account"
	"sluice/internal/directory"
)

func session(id, of string) *account.Session {
	return &account.Session{
		ID: id, Hash: hash("session " + id), Account: of, Method: "password", Created: dawn, Seen: dawn, Proved: dawn, Ends: dawn.Add(time.Hour),
		Address: netip.MustParseAddr("2001:db8::1"), Agent: "browser",
	}
}

func sessions(t *testing.T, s account.Store) {
	ctx := t.Context()
	a, b := Account("a"), Account("b")
	must(t, s.Create(ctx, a))
	must(t, s.Create(ctx, b))
	wants(t, "of nobody", s.CreateSession(ctx, session("s0", "z")), account.ErrNotFound)
	one := session("s1", "a")
	must(t, s.CreateSession(ctx, one))
	bare := session("s2", "a")
	bare.Proved, bare.Address, bare.Created = time.Time{}, netip.Addr{}, dawn.Add(time.Second)
	must(t, s.CreateSession(ctx, bare))
	must(t, s.CreateSession(ctx, session("s3", "b")))

	for _, want := range []*account.Session{one, bare} {
		got, who, err := s.Session(ctx, want.Hash)
		must(t, err)
		same(t, "session", got, want)
		same(t, "its account", who, a)
	}
	_, _, err := s.Session(ctx, hash("session zzz"))
	wants(t, "unknown", err, account.ErrNotFound)

	must(t, s.Touch(ctx, one.Hash, dawn.Add(time.Minute), account.Client{Address: netip.MustParseAddr("192.0.2.1"), Agent: "other"}))
	must(t, s.Touch(ctx, one.Hash, dawn, account.Client{Agent: "late"})) // an older use changes nothing
	must(t, s.Touch(ctx, hash("gone"), dawn, account.Client{}))
	who, list, err := s.SessionsOf(ctx, "a", "")
	must(t, err)
	same(t, "whose they are", who, a)
	touched := *one
	touched.Seen, touched.Address, touched.Agent = dawn.Add(time.Minute), netip.MustParseAddr("192.0.2.1"), "other"
	same(t, "list, the newest first", list, []account.Session{*bare, touched})

	next := session("s4", "a")
	yes := oneOf(t, 6, func() (bool, error) {
		n := *next
		err := s.ReplaceSession(ctx, one.Hash, &n)
		if errors.Is(err, account.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	})
	if yes != 1 {
		t.Errorf("one session was replaced %d times", yes)
	}
	_, _, err = s.Session(ctx, one.Hash)
	wants(t, "the one before", err, account.ErrNotFound)
	if _, _, err := s.Session(ctx, next.Hash); err != nil {
		t.Error(err)
	}

	wants(t, "another's session", s.EndSession(ctx, "b", "s4"), account.ErrNotFound)
	must(t, s.EndSession(ctx, "a", "s4"))
	_, _, err = s.Session(ctx, next.Hash)
	wants(t, "ended", err, account.ErrNotFound)
	must(t, s.CreateSession(ctx, session("s5", "a")))
	must(t, s.CreateSession(ctx, session("s6", "a")))
	if n, err := s.EndSessions(ctx, "a", "s5"); n != 2 || err != nil {
		t.Errorf("ended %d: %v", n, err)
	}
	_, list, err = s.SessionsOf(ctx, "no id", a.Email)
	must(t, err)
	if got := ids(list, func(n account.Session) string { return n.ID }); got != "s5" {
		t.Errorf("left: %s", got)
	}
	if n, err := s.EndSessions(ctx, "a", ""); n != 1 || err != nil {
		t.Errorf("ended %d: %v", n, err)
	}
	if _, list, err := s.SessionsOf(ctx, "b", ""); len(list) != 1 || err != nil {
		t.Errorf("another's sessions: %v %v", list, err)
	}
	if who, list, err := s.SessionsOf(ctx, "a", ""); len(list) != 0 || err != nil || who.ID != "a" {
		t.Errorf("none: %v %v %v", who, list, err)
	}
	_, _, err = s.SessionsOf(ctx, "nobody", "")
	wants(t, "sessions of nobody", err, account.ErrNotFound)
}

func tokens(t *testing.T, s account.Store) {
	ctx := t.Context()
	a := Account("a")
	must(t, s.Create(ctx, a))
	k := &account.Token{
		ID: "k", Name: "ci", Hash: hash("k"), Maker: "a", MakerName: "Ada", Role: account.RoleAuditor, Realm: account.Realm{Kind: directory.KindOrganisation, ID: "o", Org: "o"},
		Scopes: []string{"keys.*", `a"b`}, Created: dawn, Expires: dawn.Add(time.Hour),
	}
	must(t, s.CreateToken(ctx, k))
	free := &account.Token{ID: "f", Name: "free", Hash: hash("f"), Role: account.RoleOwner, Created: dawn, Expires: dawn}
	must(t, s.CreateToken(ctx, free))

	got, maker, err := s.TokenByHash(ctx, k.Hash)
	must(t, err)
	same(t, "token", got, k)
	same(t, "maker", maker, a)
	got, maker, err = s.TokenByHash(ctx, free.Hash)
	must(t, err)
	same(t, "token without a maker", got, free)
	if maker != nil {
		t.Errorf("its maker is %v", maker)
	}
	_, _, err = s.TokenByHash(ctx, hash("zzz"))
	wants(t, "unknown", err, account.ErrNotFound)
	_, err = s.Token(ctx, "zzz")
	wants(t, "unknown", err, account.ErrNotFound)

	twin := *free
	wants(t, "same id", s.CreateToken(ctx, &twin), account.ErrExists)
	twin.ID = "g"
	wants(t, "same hash", s.CreateToken(ctx, &twin), account.ErrExists)
	twin.Hash, twin.Maker = hash("g"), "zzz"
	wants(t, "of nobody", s.CreateToken(ctx, &twin), account.ErrNotFound)

	must(t, s.UseToken(ctx, "k", dawn.Add(time.Minute)))
	got, err = s.Token(ctx, "k")
	must(t, err)
	used := *k
	used.Used = dawn.Add(time.Minute)
	same(t, "used", got, &used)
	must(t, s.DeleteToken(ctx, "k"))
	wants(t, "twice", s.DeleteToken(ctx, "k"), account.ErrNotFound)
	_, _, err = s.TokenByHash(ctx, k.Hash)
	wants(t, "deleted", err, account.ErrNotFound)
}

func links(t *testing.T, s account.Store) {
	ctx := t.Context()
	must(t, s.Create(ctx, Account("a")))
	wants(t, "of nobody", s.CreateLink(ctx, &account.Link{Hash: hash("0"), Account: "z", Expires: dawn}), account.ErrNotFound)
	must(t, s.CreateLink(ctx, &account.Link{Hash: hash("1"), Account: "a", Expires: dawn}))
	two := &account.Link{Hash: hash("2"), Account: "a", Reset: true, Expires: dawn.Add(time.Hour)}
	must(t, s.CreateLink(ctx, two))
	_, err := s.Link(ctx, hash("1"))
	wants(t, "the one before", err, account.ErrNotFound)
	got, err := s.Link(ctx, hash("2"))
	must(t, err)
	same(t, "link", got, two)
	yes := oneOf(t, 8, func() (bool, error) {
		got, err := s.TakeLink(ctx, hash("2"))
		if errors.Is(err, account.ErrNotFound) {
			return false, nil
		}
		return err == nil && got.Account == "a" && got.Reset, err
	})
	if yes != 1 {
		t.Errorf("one link was used %d times", yes)
	}
	_, err = s.Link(ctx, hash("2"))
	wants(t, "used", err, account.ErrNotFound)
}

func tries(t *testing.T, s account.Store) {
	ctx := t.Context()
	keys := []account.Hash{hash("account"), hash("address")}
	one := func(list []account.Tries) {
		for i := range list {
			list[i].Count++
			list[i].Last = dawn
			list[i].Until = dawn.Add(time.Minute)
		}
	}
	must(t, s.Try(ctx, keys[1:], one))
	oneOf(t, 10, func() (bool, error) { return true, s.Try(ctx, keys, one) })
	var got []account.Tries
	must(t, s.Try(ctx, []account.Hash{keys[1], keys[0], hash("other")}, func(list []account.Tries) {
		got = append([]account.Tries{}, list...)
		list[0] = account.Tries{}
	}))
	tried := account.Tries{Count: 10, Last: dawn, Until: dawn.Add(time.Minute)}
	more := tried
	more.Count++
	same(t, "counted", got, []account.Tries{more, tried, {}})
	must(t, s.Try(ctx, keys, func(list []account.Tries) { got = append([]account.Tries{}, list...) }))
	same(t, "forgotten", got, []account.Tries{tried, {}})
}

func sweep(t *testing.T, s account.Store) {
	ctx := t.Context()
	must(t, s.Create(ctx, Account("a")))
	must(t, s.Create(ctx, Account("b")))
	for i := range 3 {
		at := dawn.Add(time.Duration(i) * time.Hour)
		n := session(fmt.Sprint("s", i), "a")
		n.Ends = at
		must(t, s.CreateSession(ctx, n))
		must(t, s.CreateToken(ctx, &account.Token{ID: fmt.Sprint("t", i), Hash: hash(n.ID), Role: "owner", Created: dawn, Expires: at}))
	}
	must(t, s.CreateLink(ctx, &account.Link{Hash: hash("1"), Account: "a", Expires: dawn}))
	must(t, s.CreateLink(ctx, &account.Link{Hash: hash("2"), Account: "b", Expires: dawn.Add(2 * time.Hour)}))
	for i := range 6 {
		must(t, s.Try(ctx, []account.Hash{hash(fmt.Sprint(i))}, func(list []account.Tries) {
			list[0] = account.Tries{Count: i + 1, Last: dawn.Add(time.Duration(i) * time.Minute)}
		}))
	}
	must(t, s.Sweep(ctx, dawn.Add(time.Hour), dawn.Add(time.Minute), 3))
	_, left, err := s.SessionsOf(ctx, "a", "")
	must(t, err)
	toks, _, err := s.ListTokens(ctx, account.Filter{})
	must(t, err)
	if len(left) != 1 || left[0].ID != "s2" || len(toks) != 1 || toks[0].ID != "t2" {
		t.Errorf("left: %v, %v", left, toks)
	}
	_, err = s.Link(ctx, hash("1"))
	wants(t, "an old link", err, account.ErrNotFound)
	if _, err := s.Link(ctx, hash("2")); err != nil {
		t.Error(err)
	}
	for i := range 6 {
		must(t, s.Try(ctx, []account.Hash{hash(fmt.Sprint(i))}, func(list []account.Tries) {
			if kept := list[0].Count > 0; kept != (i >= 3) { // 0 is too old; of the other five the newest three
				t.Errorf("failure %d is kept: %v", i, kept)
			}
		}))
	}
}

func cascade(t *testing.T, s account.Store) {
	ctx := t.Context()
	must(t, s.Create(ctx, Account("a")))
	n := session("s", "a")
	must(t, s.CreateSession(ctx, n))
	must(t, s.CreateToken(ctx, &account.Token{ID: "k", Hash: hash("k"), Maker: "a", Role: "admin", Created: dawn, Expires: dawn}))
	must(t, s.CreateLink(ctx, &account.Link{Hash: hash("l"), Account: "a", Expires: dawn}))
	must(t, s.SetTOTP(ctx, "a", []byte("x"), 1, []account.Hash{hash("c")}))
	must(t, s.Delete(ctx, "a", 1))
	_, _, err := s.Session(ctx, n.Hash)
	wants(t, "session", err, account.ErrNotFound)
	_, _, err = s.TokenByHash(ctx, hash("k"))
	wants(t, "token", err, account.ErrNotFound)
	_, err = s.Link(ctx, hash("l"))
	wants(t, "link", err, account.ErrNotFound)
	if n, err := s.Codes(ctx, "a"); n != 0 || err != nil {
		t.Errorf("codes: %d %v", n, err)
	}
}
