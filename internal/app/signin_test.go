package app

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sluice/internal/account"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
)

var oneTimeLink = regexp.MustCompile(`sll-\w+`)

// starting is a gateway as far as it has people, over a store.
func starting(t *testing.T, cfg *config.Config, db *sql.DB) (*App, *bytes.Buffer) {
	t.Helper()
	said := new(bytes.Buffer)
	a := &App{cfg: cfg, db: db, log: slog.New(slog.NewJSONHandler(said, nil))}
	var err error
	if a.people, err = openPeople(t.Context(), cfg, db, nil, a.log, nil, "", func() *config.SignIn { return &a.effective().SignIn }); err != nil {
		t.Fatal(err)
	}
	return a, said
}

// Who is told how to become the first owner, and who is given a link (S23).
func TestInviteOwner(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*config.Config)
		link   bool
		says   string
	}{
		{"usual", func(*config.Config) {}, true, "sluice accounts redeem"},
		{"a token of the configuration", func(c *config.Config) { c.Admin.Token = "of operators" }, false, "sluice admin create-owner"},
		{"a group of owners", func(c *config.Config) { c.SignIn.OIDC.Roles = []config.OIDCRole{{Group: "g", Role: "owner"}} }, false, "sluice admin create-owner"},
		{"a group of admins", func(c *config.Config) { c.SignIn.OIDC.Roles = []config.OIDCRole{{Group: "g", Role: "admin"}} }, true, "sluice accounts redeem"},
		{"no listener", func(c *config.Config) { c.Admin.Listen = "off" }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &config.Config{Data: t.TempDir()}
			c.change(cfg)
			db, err := OpenStore(t.Context(), cfg, sql.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			a, said := starting(t, cfg, db)
			first := a.inviteOwner(t.Context())
			link := oneTimeLink.FindString(first)
			if (link != "") != c.link || !strings.Contains(first, c.says) || (first == "") != (c.says == "") {
				t.Errorf("the first start says %q", first)
			}
			if link != "" && strings.Contains(said.String(), link) || strings.Contains(said.String(), "no_owner") != (c.says != "") {
				t.Errorf("the log says %s", said)
			}
			if again := a.inviteOwner(t.Context()); oneTimeLink.MatchString(again) || (again == "") != (c.says == "") {
				t.Errorf("the second start says %q", again)
			}
			if link == "" {
				return
			}
			in := account.Redemption{Token: link, Email: "ada@example.org", Password: "correct staple battery 9"}
			if err := a.people.door.Redeem(t.Context(), in, account.Client{}); err != nil {
				t.Fatal(err)
			}
			said.Reset()
			if then := a.inviteOwner(t.Context()); then != "" || said.Len() > 0 {
				t.Errorf("with an owner a start says %q, and logs %s", then, said)
			}
		})
	}
}

// Of replicas that start at once, one shows a link; where the store fails none does, and calls are served all the same.
func TestInviteOwnerOnce(t *testing.T) {
	cfg := &config.Config{Data: t.TempDir()}
	db, err := OpenStore(t.Context(), cfg, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var replicas [4]*App
	for i := range replicas {
		replicas[i], _ = starting(t, cfg, db)
	}
	said := make([]string, len(replicas))
	var all sync.WaitGroup
	for i, a := range replicas {
		all.Go(func() { said[i] = a.inviteOwner(t.Context()) })
	}
	all.Wait()
	if links := oneTimeLink.FindAllString(strings.Join(said, ""), -1); len(links) != 1 {
		t.Errorf("%d links are shown: %q", len(links), said)
	}
	a, log := starting(t, cfg, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if s := a.inviteOwner(t.Context()); s != "" || !strings.Contains(log.String(), "the first owner was not invited") {
		t.Errorf("without a store a start says %q, and logs %s", s, log)
	}
}
