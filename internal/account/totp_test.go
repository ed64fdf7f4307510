package account_test

import (
	"strings"
	"testing"
	"time"

	"sluice/internal/account"
	"sluice/internal/llm"
)

// enrol gives an account one-time codes, and their secret.
func (r *rig) enrol(t *testing.T, e *account.Entered) (next *account.Entered, secret string, codes []string) {
	t.Helper()
	en, err := r.Enrol(t.Context(), string(e.Cookie))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(en.URL, en.Secret) || !strings.HasPrefix(en.URL, "otpauth://totp/Sluice:") {
		t.Errorf("url %s", en.URL)
	}
	_, _, err = r.Confirm(t.Context(), string(e.Cookie), en.Ticket, "000000", here)
	if llm.AsError(err).Kind != llm.KindInvalid {
		t.Errorf("a wrong code: %v", err)
	}
	next, codes, err = r.Confirm(t.Context(), string(e.Cookie), en.Ticket, account.Code(en.Secret, r.now()), here)
	if err != nil {
		t.Fatal(err)
	}
	return next, en.Secret, codes
}

func TestTOTP(t *testing.T) {
	r := newRig(t)
	ada := r.person(t, "ada", account.RoleOwner)
	other := r.in(t, "ada")
	first := r.in(t, "ada")
	e, secret, codes := r.enrol(t, first)
	r.alive(t, "before the enrolment", first, false)
	r.alive(t, "another", other, false)
	r.alive(t, "this", e, true)
	if len(codes) != 10 || len(codes[0]) != 14 || codes[0] == codes[1] {
		t.Errorf("recovery codes %q", codes)
	}
	if a, _ := r.store.Account(t.Context(), ada.ID); strings.Contains(string(a.TOTP), secret) || len(a.TOTP) < 20 {
		t.Error("the secret is not sealed")
	}
	sign := func(password, code string) error {
		_, err := r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: password, Code: code}, here)
		return err
	}
	codeOf(t, "without a code", sign(good, ""), account.CodeNeeded)
	codeOf(t, "without either", sign("wrong password", ""), account.CodeRefused)
	codeOf(t, "the code that confirmed", sign(good, account.Code(secret, r.now())), account.CodeRefused)
	r.pass(30 * time.Second)
	code := account.Code(secret, r.now())
	if err := sign(good, code); err != nil {
		t.Fatal(err)
	}
	codeOf(t, "the same code again", sign(good, code), account.CodeRefused)
	codeOf(t, "one before it", sign(good, account.Code(secret, r.now().Add(-30*time.Second))), account.CodeRefused)
	if err := sign(good, account.Code(secret, r.now().Add(30*time.Second))); err != nil {
		t.Errorf("a clock that is half a minute ahead: %v", err)
	}
	r.pass(time.Hour)
	codeOf(t, "a minute old", sign(good, account.Code(secret, r.now().Add(-time.Minute))), account.CodeRefused)
	if err := sign(good, strings.ToUpper(codes[0])); err != nil {
		t.Errorf("a recovery code: %v", err)
	}
	codeOf(t, "the recovery code again", sign(good, codes[0]), account.CodeRefused)
	if err := sign(good, strings.ReplaceAll(codes[1], "-", " ")); err != nil {
		t.Errorf("a recovery code, typed otherwise: %v", err)
	}
}

// Guesses at codes run into the same lock, though the password is right each time.
func TestCodeGuesses(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	_, secret, _ := r.enrol(t, r.in(t, "ada"))
	r.pass(time.Minute)
	for i := range 5 {
		code := "00000" + string(rune('0'+i))
		if i%2 == 0 {
			code = "" // asking for the code forgets nothing
		}
		_, _ = r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: good, Code: code}, here)
	}
	_, err := r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: good, Code: account.Code(secret, r.now())}, here)
	codeOf(t, "the right code", err, account.CodeRefused)
}

func TestProofWithTOTP(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleAdmin)
	e, secret, codes := r.enrol(t, r.in(t, "ada"))
	r.pass(10 * time.Minute)
	cookie := string(e.Cookie)
	for what, p := range map[string]account.Proof{"password alone": {Password: good}, "recovery code": {Code: codes[0]}, "nothing": {}} {
		_, err := r.Prove(t.Context(), cookie, p, here)
		codeOf(t, what, err, account.CodeRefused)
	}
	for what, do := range map[string]func() error{
		"enrol":     func() error { _, err := r.Enrol(t.Context(), cookie); return err },
		"confirm":   func() error { _, _, err := r.Confirm(t.Context(), cookie, "", "", here); return err },
		"new codes": func() error { _, err := r.NewCodes(t.Context(), cookie, here); return err },
		"drop":      func() error { return r.DropTOTP(t.Context(), cookie, here) },
	} {
		codeOf(t, what+" without a proof", do(), "proof_needed")
	}
	p, err := r.Prove(t.Context(), cookie, account.Proof{Code: account.Code(secret, r.now())}, here)
	if err != nil {
		t.Fatal(err)
	}
	cookie = string(p.Cookie)
	fresh, err := r.NewCodes(t.Context(), cookie, here)
	if err != nil || len(fresh) != 10 {
		t.Fatal(fresh, err)
	}
	if n, err := r.CodesLeft(t.Context(), &p.Signed); n != 10 || err != nil {
		t.Error(n, err)
	}
	r.pass(30 * time.Second)
	_, err = r.SignIn(t.Context(), account.Credentials{Email: "ada@example.org", Password: good, Code: codes[3]}, here)
	codeOf(t, "an old recovery code", err, account.CodeRefused)
	r.set.RequireTOTP = []account.Role{account.RoleAdmin}
	if err := r.DropTOTP(t.Context(), cookie, here); llm.AsError(err).Kind != llm.KindForbidden {
		t.Errorf("drop what the role needs: %v", err)
	}
	r.set.RequireTOTP = nil
	if err := r.DropTOTP(t.Context(), cookie, here); err != nil {
		t.Fatal(err)
	}
	r.in(t, "ada")
}

// Who needs codes and has none can enrol, and nothing else.
func TestMustEnrol(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleAdmin)
	r.person(t, "bob", account.RoleMember)
	r.set.RequireTOTP = []account.Role{account.RoleOwner, account.RoleAdmin}
	if e := r.in(t, "bob"); e.Signed.MustEnrol {
		t.Error("bob must enrol")
	}
	e := r.in(t, "ada")
	if !e.Signed.MustEnrol {
		t.Error("ada need not enrol")
	}
	e, _, _ = r.enrol(t, e)
	s, err := r.Session(t.Context(), string(e.Cookie), here)
	if err != nil || s.MustEnrol || !s.Enrolled {
		t.Errorf("%+v %v", s, err)
	}
}

// A ticket is good for the one it was made for, for ten minutes.
func TestTickets(t *testing.T) {
	r := newRig(t)
	r.person(t, "ada", account.RoleOwner)
	r.person(t, "bob", account.RoleOwner)
	ada, bob := r.in(t, "ada"), r.in(t, "bob")
	en, err := r.Enrol(t.Context(), string(ada.Cookie))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.Confirm(t.Context(), string(bob.Cookie), en.Ticket, account.Code(en.Secret, r.now()), here)
	if llm.AsError(err).Kind != llm.KindInvalid {
		t.Errorf("another's ticket: %v", err)
	}
	r.pass(10 * time.Minute)
	p, err := r.Prove(t.Context(), string(ada.Cookie), account.Proof{Password: good}, here)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.Confirm(t.Context(), string(p.Cookie), en.Ticket, account.Code(en.Secret, r.now()), here)
	if llm.AsError(err).Kind != llm.KindInvalid {
		t.Errorf("an old ticket: %v", err)
	}
}
