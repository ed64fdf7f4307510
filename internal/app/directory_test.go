package app

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/backend/sql"
	"sluice/internal/config"
	"sluice/internal/control"
	"sluice/internal/directory/directorytest"
	"sluice/internal/llm"
)

// Two replicas over one store: what one is told, the other knows within a second, without a word between them (R37).
func TestPeopleOfTwoReplicas(t *testing.T) {
	ctx := t.Context()
	cfg := &config.Config{Data: t.TempDir()}
	db, err := OpenStore(ctx, cfg, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var replicas [2]*people
	for i := range replicas {
		p, err := openPeople(ctx, cfg, db, nil, nil, func(w *auth.Who) { w.Labels = append(w.Labels, "bound") }, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		p.run(context.WithoutCancel(ctx))
		defer p.close()
		replicas[i] = p
	}
	one, other := replicas[0], replicas[1]
	root := control.Owner("tests")
	in := control.NewKey{}
	in.Name, in.Models = control.Some("k"), control.Some([]string{"*"})
	k, err := one.control.Keys().Create(ctx, root, in)
	if err != nil {
		t.Fatal(err)
	}
	hash := other.hasher.Key(k.Secret)
	who, err := other.cache.Key(ctx, hash)
	if err != nil || who == nil || who.Disabled || len(who.Labels) != 1 {
		t.Fatalf("got %+v, %v", who, err)
	}
	if _, err := one.control.Keys().SetDisabled(ctx, root, "k", true); err != nil {
		t.Fatal(err)
	}
	if who, err := one.cache.Key(ctx, hash); err != nil || !who.Disabled {
		t.Errorf("the replica that was told: %+v, %v", who, err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		if who, err := other.cache.Key(ctx, hash); err != nil || who.Disabled {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the other replica does not hear of it")
		}
	}

	// One with a pepper of its own must not serve: nobody could call.
	stranger := &config.Config{Data: t.TempDir()}
	if _, err := openPeople(ctx, stranger, db, nil, nil, nil, "", nil); err == nil || !strings.Contains(err.Error(), "another pepper") {
		t.Errorf("another pepper: %v", err)
	}
}

// S2 on a real database: 200 texts in every place of an operator's request, and as keys.
func TestInjectionsIntoTheStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(path, []byte("data: "+dir+"\nmock: {enabled: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{ConfigPath: path, Getenv: func(string) string { return "" }}
	if _, _, _, err := Local(t.Context(), o, false); err == nil {
		t.Fatal("a store that is not there is made without a word")
	}
	h, _, closed, err := Local(t.Context(), o, true)
	if err != nil {
		t.Fatal(err)
	}
	call := func(method, path, body string) int {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
		}
		return w.Code
	}
	for _, text := range append(directorytest.Injections(), "\x00", "a\r\nb", "\u2028") {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		q, esc := string(quoted), url.QueryEscape(text)
		call(http.MethodPost, "/admin/keys", `{"name":`+q+`,"models":["*"],"metadata":{`+q+`:`+q+`}}`)
		call(http.MethodPost, "/admin/keys", `{"name":"x","team":`+q+`,"user":`+q+`}`)
		call(http.MethodGet, "/admin/keys?name="+esc+"&after="+esc, "")
		call(http.MethodGet, "/admin/users?team="+esc, "")
		call(http.MethodDelete, "/admin/keys/"+url.PathEscape(text+"_"), "")
	}
	if err := closed(); err != nil {
		t.Fatal(err)
	}

	// What is shown as a key at the API's door goes to the database as a hash, whatever it is.
	src, cfg, err := readSource(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	db, err := OpenStore(t.Context(), cfg, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := localPeople(t.Context(), src, cfg, db)
	if err != nil {
		t.Fatal(err)
	}
	a := auth.New(p.hasher, p.cache, nil, nil)
	for _, text := range directorytest.Injections() {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", http.NoBody)
		r.Header.Set("x-api-key", text)
		if _, err := a.Identify(r); llm.AsError(err).Kind != llm.KindInvalidKey {
			t.Errorf("%q: %v", text, err)
		}
	}
	if page, err := p.control.Keys().List(t.Context(), control.Owner("tests"), control.List{}); err != nil || len(page.Data) < 150 {
		t.Errorf("%d keys are left, %v", len(page.Data), err)
	}
}
