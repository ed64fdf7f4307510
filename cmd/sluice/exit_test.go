package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refusing is a gateway that answers everything with one problem.
func refusing(t *testing.T, status int, body string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	t.Setenv("SLUICE_ADMIN_URL", s.URL)
	t.Setenv("SLUICE_CONFIG", "")
}

// TestRefusals: what a gateway refuses ends with a code of its own, and is told whole to programs.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		want   complaint
	}{
		{401, `{"code":"unauthorized","detail":"Send the token."}`, complaint{Status: 401, Title: "Unauthorized", Code: "unauthorized", Detail: "the gateway at URL does not know who you are: put a token (sluice tokens create) in SLUICE_ADMIN_TOKEN or name a file that holds one (--token-file)", Exit: exitRefused}},
		{403, `no JSON`, complaint{Status: 403, Title: "Forbidden", Code: "failed", Detail: "you may not do that: nothing more is told", Exit: exitRefused}},
		{400, `{"code":"invalid_request","detail":"No.","errors":[{"pointer":"/name","detail":"is empty"}]}`, complaint{
			Status: 400, Title: "Bad Request", Code: "invalid_request", Detail: "the gateway answered 400 Bad Request: No.", Exit: exitFailed,
			Errors: []fault{{Pointer: "/name", Detail: "is empty"}},
		}},
	} {
		refusing(t, tc.status, tc.body)
		tc.want.Detail = strings.Replace(tc.want.Detail, "URL", os.Getenv("SLUICE_ADMIN_URL"), 1)
		tc.want.Type = "urn:sluice:error:" + tc.want.Code
		for _, line := range []string{"keys list --json", "upstreams --json", "upstreams drain x --json", "usage --json", "ledger list --json", "config history --json", "config status --json", "config show --json", "config rollback 1 --yes --json", "secrets rotate --json", "audit list --json", "audit keys --json", "audit redact x --why y --yes --json"} {
			var out, err bytes.Buffer
			if code := run(strings.Fields(line), &out, &err); code != tc.want.Exit || out.Len() > 0 {
				t.Errorf("%s, %d: code %d, want %d; out: %s", line, tc.status, code, tc.want.Exit, out.String())
			}
			var got complaint
			if e := json.Unmarshal(err.Bytes(), &got); e != nil {
				t.Errorf("%s: %v: %s", line, e, err.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s, %d (-want +got):\n%s", line, tc.status, diff)
			}
		}
		var out, err bytes.Buffer
		if code := run([]string{"keys"}, &out, &err); code != tc.want.Exit || !strings.Contains(err.String(), tc.want.Detail) {
			t.Errorf("%d as text: code %d: %s", tc.status, code, err.String())
		}
	}
}
