package gemini

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
)

func TestReadError(t *testing.T) {
	detail := func(kind, more string) string {
		return `"details":[{"@type":"type.googleapis.com/google.rpc.` + kind + `",` + more + `}]`
	}
	for _, test := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   llm.Error // Msg: a part of it
	}{
		{
			"bad request", 400, nil, `{"error":{"code":400,"message":"Please use a valid role: user, model.","status":"INVALID_ARGUMENT",` + detail("BadRequest", `"fieldViolations":[{"field":"contents[0].role"}]`) + `}}`,
			llm.Error{Kind: llm.KindInvalid, Status: 400, Code: "INVALID_ARGUMENT", Param: "contents[0].role", Msg: "Please use a valid role: user, model."},
		},
		{"in an array", 400, nil, `[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]`, llm.Error{Kind: llm.KindInvalid, Status: 400, Code: "INVALID_ARGUMENT", Msg: "no"}},
		{
			"a bad key", 400, nil, `{"error":{"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",` + detail("ErrorInfo", `"reason":"API_KEY_INVALID"`) + `}}`,
			llm.Error{Kind: llm.KindUpstreamCreds, Code: "INVALID_ARGUMENT", Msg: "credential"},
		},
		{"an expired key", 400, nil, `{"error":{"message":"API key expired. Please renew the API key."}}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "credential"}},
		{"unregistered", 403, nil, `{"error":{"status":"PERMISSION_DENIED","message":"Method doesn't allow unregistered callers"}}`, llm.Error{Kind: llm.KindUpstreamCreds, Code: "PERMISSION_DENIED", Msg: "credential"}},
		{"no model", 404, nil, `{"error":{"status":"NOT_FOUND","message":"models/x is not found for API version v1beta"}}`, llm.Error{Kind: llm.KindModelNotFound, Code: "NOT_FOUND", Msg: "models/x is not found"}},
		{
			"quota, told in the body", 429, nil, `{"error":{"status":"RESOURCE_EXHAUSTED","message":"Quota exceeded.\nPlease retry in 48.939935699s.",` + detail("RetryInfo", `"retryDelay":"48s"`) + `}}`,
			llm.Error{Kind: llm.KindRateLimited, Code: "RESOURCE_EXHAUSTED", Msg: "Quota exceeded.", RetryAfter: 48939935699},
		},
		{"quota, told in words", 429, nil, `{"error":{"message":"Please retry in 3.5s. Thanks"}}`, llm.Error{Kind: llm.KindRateLimited, Msg: "retry", RetryAfter: 3500 * time.Millisecond}},
		{"quota, told in a header", 429, http.Header{"Retry-After": {"7"}}, `{}`, llm.Error{Kind: llm.KindRateLimited, Msg: "status 429", RetryAfter: 7 * time.Second}},
		{"too long", 400, nil, `{"error":{"message":"The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."}}`, llm.Error{Kind: llm.KindContextLength, Msg: "token count"}},
		{"too large", 400, nil, `{"error":{"message":"Request payload size exceeds the limit: 20971520 bytes."}}`, llm.Error{Kind: llm.KindTooLarge, Msg: "payload"}},
		{"overloaded", 503, nil, `{"error":{"status":"UNAVAILABLE","message":"The model is overloaded."}}`, llm.Error{Kind: llm.KindOverloaded, Code: "UNAVAILABLE", Msg: "overloaded"}},
		{"timeout", 504, nil, `{"error":{"status":"DEADLINE_EXCEEDED"}}`, llm.Error{Kind: llm.KindUpstreamTimeout, Code: "DEADLINE_EXCEEDED", Msg: "504"}},
		{"cancelled", 499, nil, `{"error":{"status":"CANCELLED"}}`, llm.Error{Kind: llm.KindUpstream, Code: "CANCELLED", Msg: "499"}},
		{"html", 500, nil, `<html>`, llm.Error{Kind: llm.KindUpstream, Msg: "500"}},
		{"empty", 422, nil, ``, llm.Error{Kind: llm.KindInvalid, Status: 422, Msg: "422"}},
		{"odd types", 400, nil, `{"error":{"code":"400","message":"odd","status":5,"details":{}}}`, llm.Error{Kind: llm.KindInvalid, Status: 400, Msg: "odd"}},
		{"secrets", 400, nil, `{"error":{"message":"see https://internal.corp/x with key AIzaSyA1234567890abcdefghij"}}`, llm.Error{Kind: llm.KindInvalid, Status: 400, Msg: "[removed]"}},
	} {
		got := Generate.ReadError(test.status, test.header, []byte(test.body))
		if !strings.Contains(got.Msg, test.want.Msg) || strings.Contains(got.Msg, "AIza") || strings.Contains(got.Msg, "corp") {
			t.Errorf("%s: message %q", test.name, got.Msg)
		}
		g, w := *got, test.want
		g.Msg, w.Msg = "", ""
		if g.Kind != w.Kind || g.Status != w.Status || g.Code != w.Code || g.Param != w.Param || g.RetryAfter != w.RetryAfter {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.name, g, w)
		}
	}
}

func TestError(t *testing.T) {
	for kind, status := range map[llm.Kind]string{
		llm.KindInvalid: "INVALID_ARGUMENT", llm.KindInvalidKey: "UNAUTHENTICATED", llm.KindModelNotAllowed: "PERMISSION_DENIED", llm.KindModelNotFound: "NOT_FOUND",
		llm.KindTooLarge: "INVALID_ARGUMENT", llm.KindRateLimited: "RESOURCE_EXHAUSTED", llm.KindInternal: "INTERNAL", llm.KindUpstream: "UNAVAILABLE",
		llm.KindOverloaded: "UNAVAILABLE", llm.KindUpstreamTimeout: "DEADLINE_EXCEEDED", llm.KindMethodNotAllowed: "UNIMPLEMENTED",
	} {
		e := &llm.Error{Kind: kind, Msg: "what", RetryAfter: 1500 * time.Millisecond, Problems: []llm.Problem{{At: "/contents", Msg: "is required"}}}
		code, body := Generate.Error(e, "req_1")
		var got struct {
			Error struct {
				Code            int
				Message, Status string
				Details         []map[string]any
			}
			Type, Title, Detail, Instance, Code string
			Status                              int
			Errors                              []map[string]string
		}
		if err := json.Unmarshal(body, &got, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		if !strings.HasPrefix(string(body), `{"error":{"code":`) {
			t.Errorf("the Python SDK looks for the error at the start: %s", body)
		}
		if got.Error.Code != code || got.Status != code || got.Error.Status != status || got.Error.Message != "what: /contents is required" ||
			got.Detail != got.Error.Message || got.Instance != "req_1" || got.Code != string(kind) || len(got.Errors) != 1 || len(got.Error.Details) != 3 {
			t.Errorf("%s: %s", kind, body)
		}
		if again := Generate.ReadError(429, nil, body); again.RetryAfter != e.RetryAfter {
			t.Errorf("the wait is lost: %v", again.RetryAfter)
		}
	}
}

// An error object without a code is classified by its name.
func TestStatusCode(t *testing.T) {
	for name, kind := range map[string]llm.Kind{
		"INVALID_ARGUMENT": llm.KindInvalid, "FAILED_PRECONDITION": llm.KindInvalid, "UNAUTHENTICATED": llm.KindUpstreamCreds, "PERMISSION_DENIED": llm.KindUpstreamCreds,
		"NOT_FOUND": llm.KindModelNotFound, "RESOURCE_EXHAUSTED": llm.KindRateLimited, "UNAVAILABLE": llm.KindOverloaded, "DEADLINE_EXCEEDED": llm.KindUpstreamTimeout, "INTERNAL": llm.KindUpstream, "": llm.KindUpstream,
	} {
		if got := Generate.failure([]byte(`{"error":{"message":"m","status":"` + name + `"}}`)); got.Kind != kind {
			t.Errorf("%q: %s, want %s", name, got.Kind, kind)
		}
	}
}
