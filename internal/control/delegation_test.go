package control

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/internal/account"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/directory"
)

// S7, for people and tools: nobody gives an account or a token more than they have themselves, neither when it is made nor when it is changed,
// nobody changes their own rights, and a token never has more than its maker has now, whatever has become of the maker.
func TestNobodyGivesMore(t *testing.T) {
	db, err := sql.Open(t.Context(), sql.Options{Dir: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	given, byToken, kept := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := newStaff(t, db)
		t.Repeat(map[string]func(*rapid.T){ // an action that cannot be now is skipped: another is drawn
			"an account is made":    s.makeAccount,
			"an account changes":    s.changeAccount,
			"an account is managed": s.manageAccount,
			"a token is made":       s.makeToken,
			"a maker shrinks":       s.shrink,
			"":                      s.check,
		})
		given, byToken, kept = given+s.given, byToken+s.byToken, kept+s.kept
	})
	t.Logf("%d accounts and tokens were given, %d by tokens, %d looks at tokens that still work", given, byToken, kept)
	if given < 100 || kept < 100 {
		t.Error("next to nothing is allowed: the test shows nothing")
	}
}

// Staff are the people and tokens of a gateway with two organisations, each of a team and a user.
type staff struct {
	*Control
	db      *sql.DB
	door    *account.Door
	hasher  *auth.Hasher
	realms  []RealmChange
	people  []string          // ids of accounts
	secrets map[string]string // of tokens, by their ids
	n       int
	given   int
	byToken int // of them
	kept    int
}

func newStaff(t *rapid.T, db *sql.DB) *staff {
	hasher := auth.NewHasher([]byte("a pepper for tests that is long"))
	door, err := account.New(account.Options{Store: db.Accounts(), Together: db.Together, Hasher: hasher, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	s := &staff{
		Control: New(Options{Store: db.Directory(), Accounts: db.Accounts(), Together: db.Together, Hasher: hasher, Random: rand.Reader}),
		db:      db, door: door, hasher: hasher, realms: []RealmChange{{}}, secrets: map[string]string{},
	}
	root := Owner("tests")
	for i := range 2 { // of each check its own, in one store
		in := NewOrganisation{Change: named(fmt.Sprintf("org %d %s", i, rand.Text()))}
		org, err := s.Organisations().Create(t.Context(), root, in)
		if err != nil {
			t.Fatal(err)
		}
		team, err := s.Teams().Create(t.Context(), root, NewTeam{Change: named("t"), Organisation: org.ID})
		if err != nil {
			t.Fatal(err)
		}
		who := NewUser{Organisation: org.ID}
		who.Name = Some("u")
		user, err := s.Users().Create(t.Context(), root, who)
		if err != nil {
			t.Fatal(err)
		}
		s.realms = append(s.realms, RealmChange{Organisation: org.ID}, RealmChange{Organisation: org.ID, Team: team.ID}, RealmChange{Organisation: org.ID, User: user.ID})
	}
	for range 3 { // some to begin with, by whoever runs the gateway
		s.make(t, root)
	}
	return s
}

// someScopes are those of tokens, some of which may invite people.
var someScopes = [][]string{
	nil,
	{"keys.*"},
	{"tokens.create", "accounts.*"},
	{"*"},
	{"accounts.create", "accounts.update", "accounts.reset", "accounts.enable", "accounts.disable", "accounts.delete"},
	{"*", "accounts.create", "accounts.update", "accounts.reset", "accounts.enable", "accounts.disable", "accounts.delete"},
	{"keys.*", "usage.read", "sessions.*", "accounts.create", "accounts.reset", "accounts.update"},
}

var someRoles = slices.Concat(Roles, []Role{"root", ""})

// actor is somebody: whoever runs the gateway, a person who is signed in, or a token.
func (s *staff) actor(t *rapid.T) Actor {
	kind := rapid.IntRange(0, 5).Draw(t, "kind of actor")
	switch {
	case kind == 2: // with scopes by which it may invite somebody
		a := Owner("tests")
		if len(s.people) > 0 && rapid.Bool().Draw(t, "a person's") {
			a = s.person(t, rapid.SampledFrom(s.people).Draw(t, "maker"))
		}
		a.Session, a.Fresh, a.Audit.Kind, a.Scopes = "", false, account.ByToken, rapid.SampledFrom(someScopes[4:]).Draw(t, "scopes")
		return a
	case kind == 0 || len(s.people) == 0:
		return Owner("tests")
	case kind == 1 && len(s.secrets) > 0:
		secret := s.secrets[rapid.SampledFrom(sorted(s.secrets)).Draw(t, "token")]
		if signed, err := s.door.Token(t.Context(), secret, account.Client{}); err == nil {
			return ActorOf(signed, time.Now(), account.Client{}, "")
		}
		return Owner("tests")
	}
	return s.person(t, rapid.SampledFrom(s.people).Draw(t, "person"))
}

// person is somebody who is signed in and has just proved who they are.
func (s *staff) person(t *rapid.T, id string) Actor {
	v := s.account(t, id)
	if v == nil || v.Disabled {
		return Owner("tests")
	}
	now := time.Now()
	return ActorOf(&account.Signed{Kind: account.Person, ID: id, Account: id, Name: v.Name, Role: v.Role, Realm: v.Realm, Session: "session", ProvedAt: now}, now, account.Client{}, "")
}

func (s *staff) account(t *rapid.T, id string) *account.Account {
	v, err := s.db.Accounts().Account(t.Context(), id)
	if err != nil {
		return nil
	}
	return v
}

func (s *staff) make(t *rapid.T, a Actor) {
	s.n++
	in := NewAccount{
		Email: fmt.Sprintf("p%d-%s@example.org", s.n, rand.Text()), Role: rapid.SampledFrom(someRoles).Draw(t, "role"), Realm: rapid.SampledFrom(s.realms).Draw(t, "realm"),
	}
	out, err := s.Accounts().Create(t.Context(), a, in)
	if err != nil {
		return
	}
	s.people = append(s.people, out.Account.ID)
	s.within(t, "made", a, out.Account.ID)
}

func (s *staff) makeAccount(t *rapid.T) { s.make(t, s.actor(t)) }

// within checks an account that an actor has just made or changed.
func (s *staff) within(t *rapid.T, what string, a Actor, id string) {
	s.given++
	if a.Audit.Kind == account.ByToken {
		s.byToken++
	}
	v := s.account(t, id)
	if v == nil {
		t.Fatalf("%s: there is none", what)
	}
	if !covers(a, v.Role, v.Realm) || a.Role != RoleOwner && a.Role == v.Role && !a.isSelf(id) {
		t.Fatalf("%s has %s the account %s of %s: more than their own %s of %s", a.Name, what, v.Role, at(v.Realm), a.Role, at(a.realm()))
	}
}

// covers tells it anew, without the words of the code that is tested: a role and a realm are no more than an actor's, of whom a token has only
// what its scopes say.
func covers(a Actor, role Role, realm account.Realm) bool {
	for act := range acts {
		given := Actor{Role: role, Kind: realm.Kind, Realm: realm.ID, Org: realm.Org, Fresh: true}
		own := a
		own.Fresh = true
		if given.May(act) == nil && own.May(act) != nil {
			return false
		}
	}
	switch a.Kind {
	case "":
		return true
	case directory.KindOrganisation:
		return realm.Org == a.Realm && realm.Kind != ""
	}
	return realm.Kind == a.Kind && realm.ID == a.Realm
}

func at(r account.Realm) string {
	if r.Kind == "" {
		return "the whole gateway"
	}
	return string(r.Kind) + " " + r.ID
}

func (s *staff) changeAccount(t *rapid.T) {
	if len(s.people) == 0 {
		t.Skip("there is none")
	}
	a, id := s.actor(t), rapid.SampledFrom(s.people).Draw(t, "account")
	was := s.account(t, id)
	if was == nil {
		t.Skip("it is gone")
	}
	var in AccountUpdate
	if rapid.Bool().Draw(t, "with a role") {
		in.Role = Some(rapid.SampledFrom(someRoles).Draw(t, "role"))
	}
	if rapid.Bool().Draw(t, "with a realm") {
		in.Realm = Some(rapid.SampledFrom(s.realms).Draw(t, "realm"))
	}
	if rapid.Bool().Draw(t, "with a name") {
		in.Name = Some("somebody")
	}
	_, err := s.Accounts().Update(t.Context(), a, id, in)
	is := s.account(t, id)
	switch {
	case err != nil:
		if is.Role != was.Role || is.Realm != was.Realm || is.Version != was.Version {
			t.Fatalf("a refused change was made: %v", err)
		}
	case a.isSelf(id) && (is.Role != was.Role || is.Realm != was.Realm):
		t.Fatalf("%s changed their own rights", a.Name)
	case !a.isSelf(id) && !covers(a, was.Role, was.Realm):
		t.Fatalf("the %s of %s changed the %s of %s", a.Role, at(a.realm()), was.Role, at(was.Realm))
	default:
		s.within(t, "changed", a, id)
	}
}

// manageAccount does what can take somebody's account over, or out.
func (s *staff) manageAccount(t *rapid.T) {
	if len(s.people) == 0 {
		t.Skip("there is none")
	}
	a, id := s.actor(t), rapid.SampledFrom(s.people).Draw(t, "account")
	was := s.account(t, id)
	if was == nil {
		t.Skip("it is gone")
	}
	var err error
	verb := rapid.SampledFrom([]string{"reset", "disable", "enable", "delete"}).Draw(t, "verb")
	switch verb {
	case "reset":
		_, err = s.Accounts().Reset(t.Context(), a, id)
	case "disable", "enable":
		_, err = s.Accounts().SetDisabled(t.Context(), a, id, verb == "disable")
	case "delete":
		_, err = s.Accounts().Delete(t.Context(), a, id, 0)
	}
	if verb == "disable" || verb == "delete" { // they give nobody anything
		a.Scopes, a.Audit.Kind = nil, ""
	}
	if err == nil && (!covers(a, was.Role, was.Realm) || a.Role != RoleOwner && a.Role == was.Role) {
		t.Fatalf("the %s of %s did %s to the %s of %s", a.Role, at(a.realm()), verb, was.Role, at(was.Realm))
	}
}

func (s *staff) makeToken(t *rapid.T) {
	a := s.actor(t)
	in := NewToken{Name: "ci", Role: rapid.SampledFrom(someRoles).Draw(t, "role"), Realm: rapid.SampledFrom(s.realms).Draw(t, "realm")}
	in.Scopes = rapid.SampledFrom(someScopes).Draw(t, "scopes")
	out, err := s.Tokens().Create(t.Context(), a, in)
	if err != nil {
		return
	}
	if a.Audit.Kind == account.ByToken {
		t.Fatal("a token made a token")
	}
	s.given++
	if realm := (account.Realm{Kind: out.Realm.Kind, ID: out.Realm.ID, Org: out.Realm.Organisation}); !covers(a, out.Role, realm) {
		t.Fatalf("the %s of %s made a token for the %s of %s", a.Role, at(a.realm()), out.Role, at(realm))
	}
	s.secrets[out.ID] = out.Secret
}

// shrink gives an account less than it had, or something else: whoever runs the gateway may.
func (s *staff) shrink(t *rapid.T) {
	if len(s.people) == 0 {
		t.Skip("there is none")
	}
	in := AccountUpdate{Role: Some(rapid.SampledFrom(Roles).Draw(t, "role")), Realm: Some(rapid.SampledFrom(s.realms).Draw(t, "realm"))}
	_, _ = s.Accounts().Update(t.Context(), Owner("tests"), rapid.SampledFrom(s.people).Draw(t, "account"), in)
}

// check looks at every token as the door sees it, whatever has happened to its maker.
func (s *staff) check(t *rapid.T) {
	for _, id := range sorted(s.secrets) {
		signed, err := s.door.Token(context.WithoutCancel(t.Context()), s.secrets[id], account.Client{})
		if err != nil || signed.Account == "" {
			continue
		}
		maker := s.account(t, signed.Account)
		if maker == nil || maker.Disabled {
			t.Fatalf("the token %s outlived its maker", id)
		}
		s.kept++
		if now := s.person(t, maker.ID); !covers(now, signed.Role, signed.Realm) {
			t.Fatalf("a token is the %s of %s, and its maker the %s of %s", signed.Role, at(signed.Realm), maker.Role, at(maker.Realm))
		}
	}
}

// A token gives the roles that its scopes cover whole, and takes away what its maker's role may.
func TestTokensGive(t *testing.T) {
	all := []string{"*", "accounts.create", "accounts.update", "accounts.delete", "accounts.disable", "accounts.enable", "accounts.reset", "tokens.create", "tokens.delete"}
	for _, test := range []struct {
		maker  Role
		scopes []string
		role   Role
		gives  bool
	}{
		{RoleOwner, []string{"accounts.create"}, RoleMember, false},
		{RoleOwner, []string{"accounts.create"}, RoleOperator, false},
		{RoleOwner, []string{"accounts.create", "keys.*", "usage.read", "sessions.end_own"}, RoleMember, true},
		{RoleOwner, []string{"accounts.create", "keys.*", "usage.read", "sessions.end_own"}, RoleAuditor, false},
		{RoleOwner, []string{"*", "accounts.create"}, RoleOperator, true},
		{RoleOwner, []string{"*", "accounts.create"}, RoleAdmin, false}, // whose acts that need a proof are not named
		{RoleOwner, append(all, "credentials.change", "credentials.create", "credentials.update", "credentials.delete"), RoleAdmin, true},
		{RoleAdmin, append(all, "credentials.change", "credentials.create", "credentials.update", "credentials.delete"), RoleAdmin, false},
		{RoleAdmin, all, RoleAuditor, true},
	} {
		a := Actor{Role: test.maker, Scopes: test.scopes}
		a.Audit.Kind = account.ByToken
		if err := a.gives(test.role); (err == nil) != test.gives {
			t.Errorf("a token of an %s with %q gives %s: %v", test.maker, test.scopes, test.role, err)
		}
		if err := a.above(test.role); (err == nil) != (test.maker != test.role) {
			t.Errorf("a token of an %s takes %s away: %v", test.maker, test.role, err)
		}
	}
}

func sorted(m map[string]string) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
