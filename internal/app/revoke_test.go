package app

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/upstream"
)

// A key is refused whether it was revoked by its public part or by its name.
func TestRevoke(t *testing.T) {
	for _, by := range []string{"ours", "public"} {
		r := newRig(t, "")
		who := &auth.Who{Name: "ours", ID: "public"}
		r.app.current.callers = append(r.app.current.callers, who)
		if r.app.revoked.Has(who) {
			t.Fatal("it is refused before it is revoked")
		}
		answer := r.revoke(t, by)
		if answer.Code != http.StatusOK || !r.app.revoked.Has(who) || !strings.Contains(answer.Body.String(), "public") {
			t.Errorf("revoked as %q: refused %t, answer %s", by, r.app.revoked.Has(who), answer.Body)
		}
	}
}

// A disk that cannot keep a revoked key is told of, and keeps nobody from refusing the key.
func TestRevokeWithoutDisk(t *testing.T) {
	r := newRig(t, "")
	store := upstream.NewMemory(nil)
	r.app.fleet = upstream.NewFleet(upstream.FleetOptions{Replica: "this one", Shared: store})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.app.fleet.Share(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	if err := os.RemoveAll(r.app.cfg.Data); err != nil {
		t.Fatal(err)
	}
	if w := r.revoke(t, "test"); w.Code != http.StatusServiceUnavailable || !r.app.revoked.Has(r.app.who("test")) {
		t.Errorf("%d, refused %t", w.Code, r.app.revoked.Has(r.app.who("test")))
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		if p, _ := store.Sync(t.Context(), upstream.Report{Replica: "another"}); len(p.Revoked) == 1 && p.Revoked[0] == "test" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the other replicas are not told")
		}
	}
}

// revoke refuses a key, as an operator on this machine.
func (r *rig) revoke(t *testing.T, key string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := r.app.operators("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/admin/keys/revoke", strings.NewReader(`{"key":"`+key+`"}`))
	req.RemoteAddr = "127.0.0.1:1"
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}
