// Package accounttest holds every account.Store to what its documentation promises.
package accounttest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/account"
	"sluice/internal/directory"
)

// A Harness gives stores.
type Harness struct {
	Open func(t *testing.T) account.Store // an empty one
}

var dawn = time.Date(2026, 3, 1, 12, 0, 0, 123_000, time.UTC)

// compared says when two values of a store are equal.
var compared = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})}

// Account is a new account to store.
func Account(id string) *account.Account {
	return &account.Account{
		ID: id, Name: "Ada " + id, Email: id + "@example.org", Role: account.RoleAdmin, Realm: account.Realm{Kind: directory.KindTeam, ID: "t1", Org: "o1"},
		Created: dawn, Updated: dawn, Maker: "somebody",
	}
}

func hash(s string) account.Hash { return sha256.Sum256([]byte(s)) }

// Run tests a store.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(t *testing.T, s account.Store){
		"accounts": accounts, "lists": lists, "last owner": lastOwner, "owners race": ownersRace, "passwords": passwords, "codes": codes,
		"sessions": sessions, "tokens": tokens, "links": links, "tries": tries, "sweep": sweep, "deleted with it": cascade, "any text": anyText,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) { test(t, h.Open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, compared); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func accounts(t *testing.T, s account.Store) {
	ctx := t.Context()
	a := Account("aaa")
	must(t, s.Create(ctx, a))
	b := Account("bbb")
	b.Email, b.Issuer, b.Subject = "", "https://id.example.org", "17"
	b.Password, b.TOTP, b.Disabled, b.Realm = "hash", []byte{1, 0, 2}, true, account.Realm{}
	must(t, s.Create(ctx, b))
	c := Account("ccc")
	c.Email = "" // two without an address
	must(t, s.Create(ctx, c))

	for _, want := range []*account.Account{a, b, c} {
		got, err := s.Account(ctx, want.ID)
		must(t, err)
		same(t, want.ID, got, want)
	}
	got, err := s.ByEmail(ctx, "aaa@example.org")
	must(t, err)
	same(t, "by e-mail", got, a)
	got, err = s.ByIdentity(ctx, b.Issuer, b.Subject)
	must(t, err)
	same(t, "by identity", got, b)
	for what, read := range map[string]func() (*account.Account, error){
		"id":          func() (*account.Account, error) { return s.Account(ctx, "zzz") },
		"email":       func() (*account.Account, error) { return s.ByEmail(ctx, "zzz@example.org") },
		"no email":    func() (*account.Account, error) { return s.ByEmail(ctx, "") },
		"subject":     func() (*account.Account, error) { return s.ByIdentity(ctx, b.Issuer, "18") },
		"no identity": func() (*account.Account, error) { return s.ByIdentity(ctx, "", "") },
	} {
		_, err := read()
		wants(t, "unknown "+what, err, account.ErrNotFound)
	}

	twin := Account("ddd")
	twin.Email = a.Email
	wants(t, "same e-mail", s.Create(ctx, twin), account.ErrExists)
	twin = Account("ddd")
	twin.Issuer, twin.Subject = b.Issuer, b.Subject
	wants(t, "same identity", s.Create(ctx, twin), account.ErrExists)
	wants(t, "same id", s.Create(ctx, Account("aaa")), account.ErrExists)

	next := *a
	next.Name, next.Email, next.Role, next.Realm, next.Disabled = "B", "b@example.org", account.RoleMember, account.Realm{Kind: directory.KindUser, ID: "u", Org: "o2"}, true
	next.Issuer, next.Subject, next.Updated = "i", "s", dawn.Add(time.Hour)
	next.Password, next.TOTP = "not by Update", []byte("nor this")
	must(t, s.Update(ctx, &next))
	want := next
	want.Password, want.TOTP, want.Version = "", nil, 2
	got, err = s.Account(ctx, "aaa")
	must(t, err)
	same(t, "updated", got, &want)
	if next.Version != 2 {
		t.Errorf("the version told is %d", next.Version)
	}
	wants(t, "an old version", s.Update(ctx, a), account.ErrVersion)
	gone := Account("zzz")
	wants(t, "one that is not there", s.Update(ctx, gone), account.ErrNotFound)
	next.Issuer, next.Subject = b.Issuer, b.Subject
	wants(t, "a taken identity", s.Update(ctx, &next), account.ErrExists)

	wants(t, "delete an old version", s.Delete(ctx, "aaa", 1), account.ErrVersion)
	must(t, s.Delete(ctx, "aaa", 2))
	wants(t, "delete what is gone", s.Delete(ctx, "aaa", 2), account.ErrNotFound)
}

func lists(t *testing.T, s account.Store) {
	ctx := t.Context()
	for i := range 7 {
		a := Account(fmt.Sprint("a", i))
		if i%2 == 0 {
			a.Realm = account.Realm{Kind: directory.KindOrganisation, ID: "o2", Org: "o2"}
		}
		if i == 6 {
			a.Role, a.Realm = account.RoleOwner, account.Realm{}
		}
		must(t, s.Create(ctx, a))
		must(t, s.CreateToken(ctx, &account.Token{ID: fmt.Sprint("t", i), Name: "n", Hash: hash(a.ID), Maker: a.ID, Role: a.Role, Realm: a.Realm, Created: dawn, Expires: dawn}))
	}
	for _, c := range []struct {
		name string
		f    account.Filter
		want string
		next string
	}{
		{"all", account.Filter{}, "0123456", ""},
		{"first", account.Filter{Limit: 3}, "012", "2"},
		{"rest", account.Filter{Limit: 3, After: "2"}, "345", "5"},
		{"last", account.Filter{Limit: 3, After: "5"}, "6", ""},
		{"exactly all", account.Filter{Limit: 7}, "0123456", ""},
		{"organisation", account.Filter{Org: "o2"}, "024", ""},
		{"team", account.Filter{Kind: directory.KindTeam, ID: "t1"}, "135", ""},
		{"role", account.Filter{Role: account.RoleOwner}, "6", ""},
		{"nobody's", account.Filter{Org: "o9"}, "", ""},
	} {
		ids := func(letter string, list []string, next string, err error) {
			must(t, err)
			got := strings.ReplaceAll(strings.Join(list, ""), letter, "")
			if got != c.want || strings.TrimPrefix(next, letter) != c.next {
				t.Errorf("%s: got %q and next %q, want %q and %q", c.name, got, next, c.want, c.next)
			}
		}
		f := c.f
		if f.After != "" {
			f.After = "a" + f.After
		}
		all, next, err := s.Accounts(ctx, f)
		ids("a", names(all, func(a account.Account) string { return a.ID }), next, err)
		if f.After != "" {
			f.After = "t" + c.f.After
		}
		toks, next, err := s.ListTokens(ctx, f)
		ids("t", names(toks, func(k account.Token) string { return k.ID }), next, err)
	}
	toks, _, err := s.ListTokens(ctx, account.Filter{Maker: "a3"})
	must(t, err)
	if len(toks) != 1 || toks[0].ID != "t3" {
		t.Errorf("a maker's tokens: %v", toks)
	}
}

func names[T any](list []T, id func(T) string) (out []string) {
	for _, v := range list {
		out = append(out, id(v))
	}
	return out
}

func owner(id string) *account.Account {
	a := Account(id)
	a.Role, a.Realm, a.Password = account.RoleOwner, account.Realm{}, "hash"
	return a
}

func lastOwner(t *testing.T, s account.Store) {
	ctx := t.Context()
	invited := owner("invited")
	invited.Password = ""
	must(t, s.Create(ctx, invited))
	must(t, s.Delete(ctx, "invited", 1)) // there was none who could sign in

	a := owner("a")
	must(t, s.Create(ctx, a))
	for what, spoil := range map[string]func(*account.Account){
		"disabled": func(a *account.Account) { a.Disabled = true },
		"demoted":  func(a *account.Account) { a.Role = account.RoleAdmin },
		"bounded":  func(a *account.Account) { a.Realm = account.Realm{Kind: directory.KindOrganisation, ID: "o", Org: "o"} },
	} {
		next := *a
		spoil(&next)
		wants(t, "the last owner is "+what, s.Update(ctx, &next), account.ErrLastOwner)
	}
	wants(t, "the last owner is deleted", s.Delete(ctx, "a", 1), account.ErrLastOwner)
	got, err := s.Account(ctx, "a")
	must(t, err)
	same(t, "the last owner", got, a)

	for _, other := range []func(*account.Account){
		func(b *account.Account) { b.Disabled = true },
		func(b *account.Account) { b.Password = "" },
		func(b *account.Account) { b.Realm = account.Realm{Kind: directory.KindOrganisation, ID: "o", Org: "o"} },
	} {
		b := owner("b")
		other(b)
		must(t, s.Create(ctx, b))
		wants(t, "the other cannot do it", s.Delete(ctx, "a", 1), account.ErrLastOwner)
		must(t, s.Delete(ctx, "b", 1))
	}
	b := owner("b")
	b.Password, b.Issuer, b.Subject = "", "i", "s"
	must(t, s.Create(ctx, b))
	must(t, s.Delete(ctx, "a", 1))
	wants(t, "the new last owner", s.Delete(ctx, "b", 1), account.ErrLastOwner)
}

// ownersRace has all owners delete one another at once.
func ownersRace(t *testing.T, s account.Store) {
	ctx := t.Context()
	const n = 6
	for i := range n {
		must(t, s.Create(ctx, owner(fmt.Sprint("o", i))))
	}
	var all sync.WaitGroup
	var done atomic.Int64
	for i := range n {
		all.Go(func() {
			var err error
			if id := fmt.Sprint("o", i); i%2 == 0 {
				err = s.Delete(ctx, id, 1)
			} else {
				a := owner(id)
				a.Version, a.Role = 1, account.RoleMember
				err = s.Update(ctx, a)
			}
			if err == nil {
				done.Add(1)
			} else if !errors.Is(err, account.ErrLastOwner) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	left, _, err := s.Accounts(ctx, account.Filter{Role: account.RoleOwner})
	must(t, err)
	if done.Load() != n-1 || len(left) != 1 {
		t.Errorf("%d of %d went, and %d are left", done.Load(), n, len(left))
	}
}

func passwords(t *testing.T, s account.Store) {
	ctx := t.Context()
	must(t, s.Create(ctx, Account("a")))
	must(t, s.SetPassword(ctx, "a", "", "one"))
	wants(t, "from another", s.SetPassword(ctx, "a", "", "two"), account.ErrVersion)
	wants(t, "of nobody", s.SetPassword(ctx, "z", "", "two"), account.ErrNotFound)
	a, err := s.Account(ctx, "a")
	must(t, err)
	if a.Password != "one" || a.Version != 1 {
		t.Errorf("got %q, version %d", a.Password, a.Version)
	}
}

func codes(t *testing.T, s account.Store) {
	ctx := t.Context()
	must(t, s.Create(ctx, Account("a")))
	must(t, s.Create(ctx, Account("b")))
	wants(t, "of nobody", s.SetTOTP(ctx, "z", []byte("x"), 1, nil), account.ErrNotFound)
	must(t, s.SetTOTP(ctx, "a", []byte{0, 1, 255}, 100, []account.Hash{hash("1"), hash("2")}))
	a, err := s.Account(ctx, "a")
	must(t, err)
	same(t, "sealed", a.TOTP, []byte{0, 1, 255})

	for _, c := range []struct {
		step int64
		want bool
	}{{100, false}, {99, false}, {101, true}, {101, false}, {103, true}, {102, false}} {
		if got, err := s.UseStep(ctx, "a", c.step); got != c.want || err != nil {
			t.Errorf("step %d: %v %v", c.step, got, err)
		}
	}
	if got := oneOf(t, 8, func() (bool, error) { return s.UseStep(ctx, "a", 104) }); got != 1 {
		t.Errorf("one step was used %d times", got)
	}
	if got, err := s.UseCode(ctx, "b", hash("1")); got || err != nil {
		t.Errorf("another's code: %v %v", got, err)
	}
	if got := oneOf(t, 8, func() (bool, error) { return s.UseCode(ctx, "a", hash("1")) }); got != 1 {
		t.Errorf("one code was used %d times", got)
	}
	if n, err := s.Codes(ctx, "a"); n != 1 || err != nil {
		t.Errorf("%d codes are left: %v", n, err)
	}
	must(t, s.SetTOTP(ctx, "a", []byte("x"), 0, []account.Hash{hash("3")})) // other codes: steps stay used
	if got, err := s.UseStep(ctx, "a", 104); got || err != nil {
		t.Errorf("a used step came back: %v %v", got, err)
	}
	if got, err := s.UseCode(ctx, "a", hash("2")); got || err != nil {
		t.Errorf("an old code: %v %v", got, err)
	}
	must(t, s.SetTOTP(ctx, "a", nil, 0, nil))
	a, err = s.Account(ctx, "a")
	must(t, err)
	if n, err := s.Codes(ctx, "a"); n != 0 || err != nil || a.TOTP != nil {
		t.Errorf("taken off: %d codes, %v, %v", n, a.TOTP, err)
	}
}

// oneOf tells how many of many at a time were told yes.
func oneOf(t *testing.T, n int, ask func() (bool, error)) int64 {
	t.Helper()
	var all sync.WaitGroup
	var yes atomic.Int64
	for range n {
		all.Go(func() {
			ok, err := ask()
			if err != nil {
				t.Error(err)
			}
			if ok {
				yes.Add(1)
			}
		})
	}
	all.Wait()
	return yes.Load()
}

func anyText(t *testing.T, s account.Store) {
	ctx := t.Context()
	for i, text := range []string{"' OR 1=1 --", `"; DROP TABLE accounts; --`, "Zoë 日本 \U0001F600", `\'`, "$1 ? %s", "é"} {
		a := Account(fmt.Sprint("x", i))
		a.Name, a.Email, a.Maker, a.Issuer, a.Subject = text, text, text, text, text
		must(t, s.Create(ctx, a))
		got, err := s.ByEmail(ctx, text)
		must(t, err)
		same(t, text, got, a)
		_, err = s.Account(ctx, text)
		wants(t, "as an id: "+text, err, account.ErrNotFound)
		list, _, err := s.Accounts(ctx, account.Filter{Org: text, After: text, Role: account.Role(text)})
		if err != nil || len(list) > 0 {
			t.Errorf("as a filter: %v %v", list, err)
		}
		wants(t, "as a session", s.EndSession(ctx, text, text), account.ErrNotFound)
		wants(t, "as a token", s.DeleteToken(ctx, text), account.ErrNotFound)
	}
}

func ids[T any](list []T, id func(T) string) string {
	all := names(list, id)
	slices.Sort(all)
	return strings.Join(all, " ")
}
