package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/internal/auth"
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
		answer := httptest.NewRecorder()
		if err := r.app.postRevoke(answer, httptest.NewRequest(http.MethodPost, "/admin/keys/revoke", strings.NewReader(`{"key":"`+by+`"}`))); err != nil {
			t.Fatal(err)
		}
		if !r.app.revoked.Has(who) || !strings.Contains(answer.Body.String(), "public") {
			t.Errorf("revoked as %q: refused %t, answer %s", by, r.app.revoked.Has(who), answer.Body)
		}
	}
}
