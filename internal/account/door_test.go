package account_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/account"
	"sluice/internal/audit"
	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/llm"
)

// A rig is a door over a real store, with a clock that only moves when told.
type rig struct {
	*account.Door
	o     account.Options
	store account.Store
	mint  *account.Mint
	mu    sync.Mutex
	at    time.Time
	log   []audit.Event
	fails bool // the audit log
	set   account.Settings
}

func (r *rig) Record(_ context.Context, e *audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails {
		return errors.New("disk full")
	}
	r.log = append(r.log, *e)
	return nil
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.at.Add(d)
}

const good = "correct staple battery 9"

var (
	here  = account.Client{Address: netip.MustParseAddr("192.0.2.1"), Agent: "Firefox", Request: "req1"}
	there = account.Client{Address: netip.MustParseAddr("198.51.100.7"), Agent: "curl", Request: "req2"}
)

func newRig(t *testing.T) *rig {
	t.Helper()
	db, err := sql.Open(t.Context(), sql.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r := &rig{store: db.Accounts(), at: time.Date(2026, 5, 1, 9, 0, 0, 0, time.UTC)}
	r.o = account.Options{
		Store: r.store, Audit: r, Together: db.Together, Hasher: auth.NewHasher([]byte("a pepper for tests that is long")), Random: rand.Reader,
		Settings: func() account.Settings { return r.set }, Now: r.now,
	}
	if r.Door, err = account.New(r.o.Cheap(1)); err != nil {
		t.Fatal(err)
	}
	if r.mint, err = account.NewMint(r.o.Hasher, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return r
}

// person makes an account with the password good.
func (r *rig) person(t *testing.T, name string, role account.Role) *account.Account {
	t.Helper()
	id, err := r.mint.ID()
	if err != nil {
		t.Fatal(err)
	}
	a := &account.Account{ID: id, Name: name, Email: name + "@example.org", Role: role, Created: r.now(), Updated: r.now()}
	if err := r.store.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := r.Redeem(t.Context(), account.Redemption{Token: r.link(t, a, false), Password: good}, here); err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *rig) link(t *testing.T, a *account.Account, reset bool) string {
	t.Helper()
	token, h, err := r.mint.Link()
	if err == nil {
		err = r.store.CreateLink(t.Context(), &account.Link{Hash: h, Account: a.ID, Reset: reset, Expires: r.now().Add(time.Hour)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (r *rig) in(t *testing.T, name string, more ...string) *account.Entered {
	t.Helper()
	e, err := r.SignIn(t.Context(), account.Credentials{Email: name + "@example.org", Password: good, Code: append(more, "")[0]}, here)
	if err != nil {
		t.Fatalf("%s does not get in: %v", name, err)
	}
	return e
}

// codeOf wants a refusal.
func codeOf(t *testing.T, what string, err error, want string) {
	t.Helper()
	if e := llm.AsError(err); err == nil || e.Code != want {
		t.Errorf("%s: got %v (code %q), want the code %q", what, err, e.Code, want)
	}
}

func (r *rig) alive(t *testing.T, what string, e *account.Entered, want bool) {
	t.Helper()
	s, err := r.Session(t.Context(), string(e.Cookie), here)
	if (err == nil) != want {
		t.Errorf("%s: the session is alive: %v (%v), want %v", what, err == nil, err, want)
	}
	if err != nil {
		codeOf(t, what, err, account.CodeEnded)
	} else if s.Session != e.Signed.Session {
		t.Errorf("%s: session %s, want %s", what, s.Session, e.Signed.Session)
	}
}

// Whoever is not let in is told the same, after the same work, whatever the reason.
func TestNothingIsTold(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	off := r.person(t, "off", account.RoleAdmin)
	off, _ = r.store.Account(t.Context(), off.ID)
	off.Disabled = true
	if err := r.store.Update(t.Context(), off); err != nil {
		t.Fatal(err)
	}
	bare := &account.Account{ID: "bare00000000", Name: "bare", Email: "bare@example.org", Role: account.RoleAdmin, Issuer: "i", Subject: "s", Created: r.now(), Updated: r.now()}
	if err := r.store.Create(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	r.person(t, "locked", account.RoleAdmin)
	for range 6 {
		_, _ = r.SignIn(t.Context(), account.Credentials{Email: "locked@example.org", Password: "wrong password"}, there)
	}
	var first *llm.Error
	for _, c := range []struct{ name, email, password string }{
		{"wrong password", "ada@example.org", "wrong password"},
		{"unknown", "nobody@example.org", good},
		{"disabled, wrong", "off@example.org", "wrong password"},
		{"disabled, right", "off@example.org", good},
		{"no password", "bare@example.org", good},
		{"no password, none given", "bare@example.org", ""},
		{"locked, right", "locked@example.org", good},
		{"no address", "", ""},
		{"no address at all", "ada", good},
		{"an injection", `' OR 1=1 --@x`, good},
	} {
		before := r.Hashes()
		_, err := r.SignIn(t.Context(), account.Credentials{Email: c.email, Password: c.password}, here)
		codeOf(t, c.name, err, account.CodeRefused)
		e := llm.AsError(err)
		if n := r.Hashes() - before; n != 1 {
			t.Errorf("%s: %d hashes were computed, want 1", c.name, n)
		}
		if first == nil {
			first = e
		}
		if e.Msg != first.Msg || e.Kind != first.Kind || e.Status != first.Status || e.RetryAfter != first.RetryAfter || e.Param != first.Param {
			t.Errorf("%s: the answer is another: %v", c.name, e)
		}
	}
}

// A counter counts what a sign-in asks of the store.
type counter struct {
	account.Store
	asked atomic.Int64
}

func (c *counter) Try(ctx context.Context, keys []account.Hash, next func([]account.Tries)) error {
	c.asked.Add(1)
	return c.Store.Try(ctx, keys, next)
}

func (c *counter) ByEmail(ctx context.Context, email string) (*account.Account, error) {
	c.asked.Add(1)
	return c.Store.ByEmail(ctx, email)
}

func (c *counter) SetPassword(ctx context.Context, id, was, is string) error {
	c.asked.Add(1)
	return c.Store.SetPassword(ctx, id, was, is)
}

// Refusals of all kinds, mixed, each cost the same: one hash, and the same questions to the store (S21). Work is counted, not time,
// which a busy machine makes up.
func TestNothingIsTimed(t *testing.T) {
	r := newRig(t)
	for i := range 30 {
		r.person(t, fmt.Sprintf("known%d", i), account.RoleAdmin)
		off := r.person(t, fmt.Sprintf("off%d", i), account.RoleAdmin)
		off, err := r.store.Account(t.Context(), off.ID)
		if err != nil {
			t.Fatal(err)
		}
		if off.Disabled = true; r.store.Update(t.Context(), off) != nil {
			t.Fatal("the account cannot be disabled")
		}
	}
	c := &counter{Store: r.store}
	o := r.o
	o.Store = c
	door, err := account.New(o.Cheap(1))
	if err != nil {
		t.Fatal(err)
	}
	type work struct{ hashes, questions int64 }
	seen := map[work]map[string]int{}
	kinds := []string{"known", "unknown", "off", "no"}
	for _, n := range mathrand.New(mathrand.NewPCG(1, 2)).Perm(30 * len(kinds)) {
		kind := kinds[n%len(kinds)]
		from := account.Client{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})}
		before := work{door.Hashes(), c.asked.Load()}
		_, err := door.SignIn(t.Context(), account.Credentials{Email: fmt.Sprintf("%s%d@example.org", kind, n/len(kinds)), Password: "wrong password"}, from)
		codeOf(t, kind, err, account.CodeRefused)
		w := work{door.Hashes() - before.hashes, c.asked.Load() - before.questions}
		if seen[w] == nil {
			seen[w] = map[string]int{}
		}
		seen[w][kind]++
	}
	want := map[work]map[string]int{{1, 2}: {"known": 30, "unknown": 30, "off": 30, "no": 30}}
	if diff := cmp.Diff(want, seen, cmp.AllowUnexported(work{})); diff != "" {
		t.Errorf("refusals take different work (-want +got):\n%s", diff)
	}
}

func TestLock(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	try := func(password string, from account.Client) error {
		_, err := r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: password}, from)
		return err
	}
	for range 5 {
		codeOf(t, "wrong", try("wrong password", here), account.CodeRefused)
	}
	codeOf(t, "locked, from anywhere", try(good, there), account.CodeRefused)
	r.pass(900 * time.Millisecond)
	codeOf(t, "still locked", try(good, here), account.CodeRefused)
	r.pass(101 * time.Millisecond)
	codeOf(t, "one more wrong", try("wrong password", here), account.CodeRefused)
	r.pass(1500 * time.Millisecond)
	codeOf(t, "locked for longer", try(good, here), account.CodeRefused)
	r.pass(time.Second)
	if err := try(good, here); err != nil {
		t.Errorf("the lock does not end: %v", err)
	}
	codeOf(t, "wrong after right", try("wrong password", here), account.CodeRefused)
	if err := try(good, here); err != nil {
		t.Errorf("failures are not forgotten: %v", err)
	}
	locks := 0
	for _, e := range r.log {
		if e.Act == "sessions.lock" {
			locks++
		}
		if strings.Contains(e.Detail+e.Why+e.Actor.Name+string(e.After), "wrong password!") || strings.Contains(e.Detail, good) {
			t.Errorf("a password is in the log: %v", e)
		}
	}
	if locks != 1 {
		t.Errorf("%d locks were recorded, want the one", locks)
	}
}

// An address that tries many accounts is locked, and locks none of them.
func TestAddressLock(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	near := there
	for i := range 40 {
		near.Address = netip.MustParseAddr("2001:db8::" + string("0123456789abcdef"[i%16]))
		_, _ = r.SignIn(t.Context(), account.Credentials{Email: string(rune('a'+i%26)) + "@example.org", Password: "wrong password"}, near)
	}
	near.Address = netip.MustParseAddr("2001:db8::ffff:1")
	_, err := r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: good}, near)
	codeOf(t, "from the same network", err, account.CodeRefused)
	r.in(t, "ada") // from elsewhere
}

// Of guesses at a time no more count than of guesses one after another.
func TestGuessesAtOnce(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	before := len(r.log)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			_, _ = r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: "wrong password"}, here)
		})
	}
	all.Wait()
	checked := 0
	for _, e := range r.log[before:] {
		if e.Detail == "wrong password" {
			checked++
		}
	}
	if checked != 5 {
		t.Errorf("%d of 30 guesses were taken, want 5", checked)
	}
}

func TestTriesNext(t *testing.T) {
	now := time.Unix(1e9, 0)
	var tr account.Tries
	var locks []time.Duration
	for range 18 {
		tr = tr.Next(now, 5)
		if !tr.Until.IsZero() {
			locks = append(locks, tr.Until.Sub(now))
			now = tr.Until
		}
	}
	for i, lock := range locks {
		if want := min(15*time.Minute, time.Second<<i); lock != want {
			t.Errorf("lock %d takes %v, want %v", i, lock, want)
		}
	}
	if len(locks) != 14 {
		t.Errorf("%d locks, want 14", len(locks))
	}
	tr = tr.Next(now, 5)
	if kept := tr.Next(now.Add(time.Second), 5); kept != tr {
		t.Error("a try while it is locked counts")
	}
	if next := tr.Next(now.Add(25*time.Hour), 5); next.Count != 1 || !next.Until.IsZero() {
		t.Errorf("after a day: %v", next)
	}
}

func TestSessionLife(t *testing.T) {
	r := newRig(t)
	ada := r.person(t, "ada", account.RoleOwner)
	one := r.in(t, "ada")
	r.alive(t, "new", one, true)
	for range 3 {
		r.pass(29 * time.Minute)
		r.alive(t, "in use", one, true)
	}
	r.pass(30 * time.Minute)
	r.alive(t, "idle", one, false)

	two := r.in(t, "ada")
	for range 30 {
		r.pass(23*time.Minute + 59*time.Second)
		if _, err := r.Session(t.Context(), string(two.Cookie), here); err != nil {
			t.Fatal(err)
		}
	}
	r.pass(time.Minute)
	r.alive(t, "after 12 hours of use", two, false)

	three := r.in(t, "ada")
	r.set = account.Settings{Idle: time.Minute, Absolute: time.Hour} // the configuration changed
	r.pass(61 * time.Second)
	r.alive(t, "under a shorter limit", three, false)
	r.set = account.Settings{}

	four, five := r.in(t, "ada"), r.in(t, "ada")
	if err := r.SignOut(t.Context(), string(four.Cookie), here); err != nil {
		t.Fatal(err)
	}
	r.alive(t, "signed out", four, false)
	r.alive(t, "another", five, true)
	for _, cookie := range []string{"", "sls-", string(four.Cookie), strings.Repeat("x", 5000)} {
		if err := r.SignOut(t.Context(), cookie, here); err != nil {
			t.Errorf("sign out with %.20q: %v", cookie, err)
		}
	}
	a, err := r.store.Account(t.Context(), ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.Create(t.Context(), &account.Account{ID: "other0000000", Email: "o@x", Role: account.RoleOwner, Password: "x", Created: r.now(), Updated: r.now()}); err != nil {
		t.Fatal(err)
	}
	a.Disabled = true
	if err := r.store.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	r.alive(t, "of a disabled account", five, false)
}

// A cookie that somebody planted before the sign-in is worth nothing after it, and ids change with every proof.
func TestFixation(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	r.person(t, "eve", account.RoleAdmin)
	planted := r.in(t, "eve")
	e, err := r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: good, Old: string(planted.Cookie)}, here)
	if err != nil {
		t.Fatal(err)
	}
	if e.Cookie == planted.Cookie || e.CSRF == planted.CSRF {
		t.Error("the cookie is the planted one")
	}
	r.alive(t, "planted", planted, false)
	r.pass(10 * time.Minute)
	if e.Signed.Fresh(r.now()) {
		t.Error("a sign-in of ten minutes ago is fresh")
	}
	proved, err := r.Prove(t.Context(), string(e.Cookie), account.Proof{Password: good}, here)
	if err != nil {
		t.Fatal(err)
	}
	if proved.Cookie == e.Cookie || proved.Signed.Session == e.Signed.Session || !proved.Signed.Fresh(r.now()) || !proved.Signed.Ends.Equal(e.Signed.Ends) {
		t.Errorf("after a proof: %+v", proved.Signed)
	}
	r.alive(t, "before the proof", e, false)
	r.alive(t, "after the proof", proved, true)
	if proved.Signed.Fresh(r.now().Add(5*time.Minute)) || proved.Signed.Fresh(r.now().Add(-2*time.Minute)) {
		t.Error("a proof is fresh for ever")
	}
	_, err = r.Prove(t.Context(), string(proved.Cookie), account.Proof{Password: "wrong password"}, here)
	codeOf(t, "a wrong proof", err, account.CodeRefused)
	for range 5 {
		_, err = r.Prove(t.Context(), string(proved.Cookie), account.Proof{Password: "wrong password"}, here)
		codeOf(t, "wrong proofs", err, account.CodeRefused)
	}
	_, err = r.Prove(t.Context(), string(proved.Cookie), account.Proof{Password: good}, here)
	codeOf(t, "guesses at a proof", err, account.CodeRefused)
}

func TestCSRF(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	a, b := r.in(t, "ada"), r.in(t, "ada")
	if !r.CheckCSRF(string(a.Cookie), a.CSRF) || r.CSRF(string(a.Cookie)) != a.CSRF {
		t.Error("its own token is refused")
	}
	for _, c := range [][2]string{{string(a.Cookie), b.CSRF}, {string(a.Cookie), ""}, {"", ""}, {"", a.CSRF}, {string(a.Cookie), string(a.Cookie)}, {"sls-", r.CSRF("sls-")}} {
		if r.CheckCSRF(c[0], c[1]) {
			t.Errorf("%.10q with %.10q is taken", c[0], c[1])
		}
	}
}

// If the audit log cannot be written, nobody is let in, and nobody's password changes.
func TestUnrecordedSignIn(t *testing.T) {
	r := newRig(t)
	ada := r.person(t, "ada", account.RoleOwner)
	e := r.in(t, "ada")
	r.fails = true
	_, err := r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: good}, here)
	if llm.AsError(err).Kind != llm.KindOverloaded {
		t.Errorf("sign in: %v", err)
	}
	if _, list, _ := r.store.SessionsOf(t.Context(), ada.ID, ""); len(list) != 1 {
		t.Errorf("%d sessions", len(list))
	}
	if _, err := r.ChangePassword(t.Context(), string(e.Cookie), good, "another long one 7", here); llm.AsError(err).Kind != llm.KindOverloaded {
		t.Errorf("change: %v", err)
	}
	r.fails = false
	r.alive(t, "what was before", e, true)
	r.in(t, "ada")
}

func TestPasswords(t *testing.T) {
	r := newRig(t)
	ada := r.person(t, "ada", account.RoleOwner)
	one, two := r.in(t, "ada"), r.in(t, "ada")
	const next = "another long one 7"
	_, err := r.ChangePassword(t.Context(), string(one.Cookie), "wrong password", next, here)
	codeOf(t, "without the old one", err, account.CodeRefused)
	_, err = r.ChangePassword(t.Context(), string(one.Cookie), good, "short", here)
	codeOf(t, "to a weak one", err, account.CodeWeak)
	changed, err := r.ChangePassword(t.Context(), string(one.Cookie), good, next, here)
	if err != nil {
		t.Fatal(err)
	}
	r.alive(t, "this, under its old cookie", one, false)
	r.alive(t, "another", two, false)
	r.alive(t, "this", changed, true)
	_, err = r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: good}, here)
	codeOf(t, "the old password", err, account.CodeRefused)

	stored := func() string {
		a, err := r.store.Account(t.Context(), ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		return a.Password
	}
	before := stored()
	if !strings.HasPrefix(before, "$argon2id$v=19$m=64,t=1,p=1$") || strings.Contains(before, next) {
		t.Errorf("stored: %s", before)
	}
	dearer, err := account.New(r.o.Cheap(2))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := dearer.SignIn(t.Context(), account.Credentials{Email: "ADA@example.org ", Password: next}, here); err != nil {
			t.Fatal(err)
		}
	}
	if after := stored(); !strings.HasPrefix(after, "$argon2id$v=19$m=64,t=2,p=1$") {
		t.Errorf("not hashed anew: %s", after)
	}
}

func TestLinks(t *testing.T) {
	r := newRig(t)
	ada := r.person(t, "ada", account.RoleOwner)
	e := r.in(t, "ada")
	for range 6 {
		_, _ = r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: "wrong password"}, there)
	}
	const next = "another long one 7"
	old := r.link(t, ada, true)
	token := r.link(t, ada, true)
	if email, reset, err := r.ReadLink(t.Context(), token); email != "ada@example.org" || !reset || err != nil {
		t.Errorf("%s %v %v", email, reset, err)
	}
	for what, bad := range map[string]string{"replaced": old, "mistyped": token[:50] + "x", "none": "", "long": strings.Repeat("sll-", 2000)} {
		codeOf(t, what, r.Redeem(t.Context(), account.Redemption{Token: bad, Password: next}, here), account.CodeLink)
	}
	codeOf(t, "weak", r.Redeem(t.Context(), account.Redemption{Token: token, Password: "ada@example.org"}, here), account.CodeWeak)
	r.alive(t, "before it is used", e, true)
	var all sync.WaitGroup
	var used atomic.Int64
	for range 4 {
		all.Go(func() {
			if r.Redeem(t.Context(), account.Redemption{Token: token, Password: next}, here) == nil {
				used.Add(1)
			}
		})
	}
	all.Wait()
	if used.Load() != 1 {
		t.Errorf("used %d times", used.Load())
	}
	r.alive(t, "after it was used", e, false)
	if _, err := r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: next}, here); err != nil {
		t.Errorf("the new password, past the lock of the old: %v", err)
	}
	late := r.link(t, ada, false)
	r.pass(time.Hour)
	codeOf(t, "expired", r.Redeem(t.Context(), account.Redemption{Token: late, Password: next}, here), account.CodeLink)
}

// The first owner chooses an address.
func TestFirstOwnerChooses(t *testing.T) {
	r := newRig(t)
	a := &account.Account{ID: "first0000000", Name: "owner", Role: account.RoleOwner, Created: r.now(), Updated: r.now()}
	if err := r.store.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	token := r.link(t, a, false)
	if err := r.Redeem(t.Context(), account.Redemption{Token: token, Password: good}, here); llm.AsError(err).Kind != llm.KindInvalid {
		t.Errorf("without an address: %v", err)
	}
	if err := r.Redeem(t.Context(), account.Redemption{Token: token, Password: good, Email: "Grace@Example.org", Name: "Grace"}, here); err != nil {
		t.Fatal(err)
	}
	if e := r.in(t, "grace"); e.Signed.Name != "Grace" || e.Signed.Role != account.RoleOwner {
		t.Errorf("%+v", e.Signed)
	}
}
