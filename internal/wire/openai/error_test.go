package openai

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func TestReadError(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		header http.Header
		body   string
		want   llm.Error
	}{
		"openai 400": {
			400, nil, `{"error":{"message":"Unsupported value","type":"invalid_request_error","param":"messages[0].role","code":"unsupported_value"}}`,
			llm.Error{Kind: llm.KindInvalid, Status: 400, Msg: "Unsupported value", Param: "messages[0].role", Code: "unsupported_value"},
		},
		"openai context": {
			400, nil, `{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`,
			llm.Error{Kind: llm.KindContextLength, Msg: "This model's maximum context length is 8192 tokens.", Param: "messages", Code: "context_length_exceeded"},
		},
		"openai key": {
			401, nil, `{"error":{"message":"Incorrect API key provided: sk-abcd****wxyz.","code":"invalid_api_key"}}`,
			llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"},
		},
		"openai quota": {
			429, nil, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`,
			llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"},
		},
		"openai quota, by its type":       {429, nil, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":null}}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"openai billing":                  {429, nil, `{"error":{"message":"Your account is not active","type":"billing_not_active","code":"billing_not_active"}}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"openai billing as a bad request": {400, nil, `{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","code":"billing_hard_limit_reached"}}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"moonshot quota":                  {429, nil, `{"error":{"message":"Your account is suspended","type":"exceeded_current_quota_error"}}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"google quota":                    {429, nil, `[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED"}}]`, llm.Error{Kind: llm.KindRateLimited, Msg: "You exceeded your current quota, please check your plan and billing details."}},
		"openai rate": {
			429,
			http.Header{"Retry-After-Ms": {"1500"}, "Retry-After": {"2"}},
			`{"error":{"message":"Rate limit reached for gpt-4o in organization org-abcdefgh1234 on tokens per min","type":"tokens","code":"rate_limit_exceeded"}}`,
			llm.Error{Kind: llm.KindRateLimited, Msg: "Rate limit reached for gpt-4o in organization [removed] on tokens per min", Code: "rate_limit_exceeded", RetryAfter: 1500 * time.Millisecond},
		},
		"azure filter": {
			400, nil, `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}`,
			llm.Error{Kind: llm.KindContentFiltered, Msg: "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", Param: "prompt", Code: "content_filter"},
		},
		"azure code": {
			404, nil, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`,
			llm.Error{Kind: llm.KindInvalid, Status: 404, Msg: "The API deployment for this resource does not exist.", Code: "DeploymentNotFound"},
		},
		"groq model": {
			404, nil, `{"error":{"message":"The model x does not exist","type":"invalid_request_error","code":"model_not_found"}}`,
			llm.Error{Kind: llm.KindModelNotFound, Msg: "The model x does not exist", Code: "model_not_found"},
		},
		"mistral key":      {401, nil, `{"detail":"Invalid API Key"}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"mistral 422":      {422, nil, `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","store"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error","param":null,"code":null}`, llm.Error{Kind: llm.KindInvalid, Status: 422, Msg: "Extra inputs are not permitted"}},
		"xai string":       {400, nil, `{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***yz."}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"ollama string":    {404, nil, `{"error":"model 'x' not found"}`, llm.Error{Kind: llm.KindModelNotFound, Msg: "model 'x' not found"}},
		"google list":      {429, nil, `[{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"13.5s"}]}}]`, llm.Error{Kind: llm.KindRateLimited, Msg: "Quota exceeded", RetryAfter: 13500 * time.Millisecond}},
		"google key":       {400, nil, `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"openrouter raw":   {400, nil, `{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"bad schema\",\"param\":\"tools\"}}","provider_name":"X"}},"user_id":"user_1"}`, llm.Error{Kind: llm.KindInvalid, Status: 400, Msg: "bad schema", Param: "tools"}},
		"openrouter flag":  {403, nil, `{"error":{"message":"Your chosen model requires moderation and your input was flagged","code":403,"metadata":{"reasons":["violence"]}}}`, llm.Error{Kind: llm.KindContentFiltered, Msg: "Your chosen model requires moderation and your input was flagged", Code: "content_filter"}},
		"openrouter money": {402, nil, `{"error":{"message":"Insufficient credits","code":402}}`, llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}},
		"413":              {413, nil, `Request Entity Too Large`, llm.Error{Kind: llm.KindTooLarge, Msg: "Request Entity Too Large"}},
		"408":              {408, nil, ``, llm.Error{Kind: llm.KindUpstream, Msg: "the upstream answered with status 408"}},
		"500":              {500, nil, `{"error":{"message":"The server had an error","type":"server_error"}}`, llm.Error{Kind: llm.KindUpstream, Msg: "The server had an error"}},
		"502 html":         {502, nil, `<html><body>nginx</body></html>`, llm.Error{Kind: llm.KindUpstream, Msg: "the upstream answered with status 502"}},
		"503":              {503, http.Header{"Retry-After": {"3"}}, `{}`, llm.Error{Kind: llm.KindOverloaded, Msg: "the upstream answered with status 503", RetryAfter: 3 * time.Second}},
		"504":              {504, nil, `upstream request timeout`, llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "upstream request timeout"}},
		"529":              {529, nil, `null`, llm.Error{Kind: llm.KindOverloaded, Msg: "null"}},
		"garbage":          {400, nil, "{\"error\":{\"mess", llm.Error{Kind: llm.KindInvalid, Status: 400, Msg: "the upstream answered with status 400"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.header == nil {
				tc.header = http.Header{}
			}
			got := Chat.ReadError(tc.status, tc.header, []byte(tc.body))
			if d := cmp.Diff(&tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func FuzzReadError(f *testing.F) {
	f.Add(400, []byte(`[{"error":{"code":429,"message":{"detail":[{"msg":"x"}]},"metadata":{"raw":"{}","headers":{"Retry-After":1}}}}]`))
	f.Add(200, []byte(`{"error":"x","errors":[["y"]]}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := Chat.ReadError(status, http.Header{}, body)
		if e == nil || e.Kind == "" || e.Msg == "" {
			t.Errorf("%+v", e)
		}
	})
}

// The error inside a 200 is an error.
func TestAnswersThatFail(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want llm.Kind
	}{
		"error":         {`{"error":{"code":"429","message":"slow down"}}`, llm.KindRateLimited},
		"error text":    {`{"error":"something broke"}`, llm.KindUpstream},
		"quota":         {`{"error":{"type":"insufficient_quota","message":"no money"}}`, llm.KindUpstreamCreds},
		"words only":    {`{"error":{"type":"overloaded_error","message":"busy"}}`, llm.KindOverloaded},
		"in the choice": {`{"id":"1","choices":[{"index":0,"error":{"code":502,"message":"x"},"message":{"content":""},"finish_reason":"error"}]}`, llm.KindUpstream},
		"finish error":  {`{"id":"1","choices":[{"index":0,"message":{"content":"half"},"finish_reason":"error"}]}`, llm.KindUpstream},
		"no choices":    {`{"id":"1","choices":[]}`, llm.KindUpstream},
		"html":          {`<html>`, llm.KindUpstream},
		"cut":           {`{"id":"1","choices":[{"index":0,"message":{"content":"ha`, llm.KindUpstream},
		"another shape": {`{"choices":"none"}`, llm.KindUpstream},
		"empty":         {``, llm.KindUpstream},
	} {
		t.Run(name, func(t *testing.T) {
			for _, raw := range []bool{false, true} {
				ev, err := Chat.ReadAnswer([]byte(tc.body), raw)
				if kindOf(err) != tc.want || ev != nil {
					t.Errorf("raw %v: %v %v, want %s", raw, ev, err, tc.want)
				}
			}
		})
	}
}

func TestErrorBody(t *testing.T) {
	e := &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not valid", Problems: []llm.Problem{
		{At: "/messages/0/content", Msg: "is required"}, {At: "/n", Msg: "must be a whole number"},
	}}
	status, body := Chat.Error(e, "req_1")
	var got struct {
		Type, Title, Detail, Instance, Code string
		Status                              int
		Errors                              []struct{ Pointer, Detail string }
		Error                               struct{ Message, Type, Param, Code string }
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if status != 400 || got.Status != 400 || got.Instance != "req_1" || len(got.Errors) != 2 || got.Code != "invalid_request" {
		t.Errorf("%d %s", status, body)
	}
	if got.Error.Param != "messages[0].content" || got.Error.Type != "invalid_request_error" || got.Error.Code != "invalid_request" ||
		!strings.Contains(got.Error.Message, "/n must be a whole number") {
		t.Errorf("%+v", got.Error)
	}
	for kind, want := range map[llm.Kind]struct {
		status int
		typ    string
	}{
		llm.KindInvalidKey: {401, "authentication_error"}, llm.KindModelNotAllowed: {403, "permission_error"},
		llm.KindModelNotFound: {404, "invalid_request_error"}, llm.KindRateLimited: {429, "rate_limit_error"},
		llm.KindUpstream: {502, "server_error"}, llm.KindInternal: {500, "server_error"}, llm.KindTooLarge: {413, "invalid_request_error"},
	} {
		status, body := Chat.Error(&llm.Error{Kind: kind, Code: "own"}, "r")
		if status != want.status || !strings.Contains(string(body), `"type":"`+want.typ+`"`) || !strings.Contains(string(body), `"code":"own"`) {
			t.Errorf("%s: %d %s", kind, status, body)
		}
	}
}
