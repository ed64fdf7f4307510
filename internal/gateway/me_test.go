package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/usage"
)

func TestMe(t *testing.T) {
	h := till(
		&llm.Rule{Name: "pace", Requests: []llm.Pace{{N: 5, Per: time.Minute}}, Tokens: []llm.Pace{{N: 900, Per: 24 * time.Hour}}, Parallel: 3, Models: []string{"m*"}},
		&llm.Rule{Name: "month", Budgets: []llm.Budget{
			{Money: 2*llm.Dollar + llm.Dollar/2, Every: llm.Monthly, Mode: llm.Hard}, {Tokens: 1000, Every: llm.RollDay, Mode: llm.Soft},
		}},
	)
	down := false
	h.state.Totals = func(_ context.Context, who *auth.Who, since time.Time) (usage.Totals, error) {
		if down {
			return usage.Totals{}, errors.New("secret of the store")
		}
		return usage.Totals{Calls: int64(since.Day()), Input: 10, Output: 20, Cost: llm.Dollar / 4}, nil
	}
	get := func() *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/usage/me", nil))
		return rec
	}
	rec := get()
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	for _, b := range got["budgets"].([]any) {
		delete(b.(map[string]any), "from")
		delete(b.(map[string]any), "until")
	}
	want := map[string]any{
		"key": "ci", "name": "ci", "organisation": "default", "models": []any{"m*"},
		"limits": []any{
			map[string]any{"rule": "pace", "whose": "key", "models": []any{"m*"}, "kind": "requests", "limit": 5.0, "per": "minute"},
			map[string]any{"rule": "pace", "whose": "key", "models": []any{"m*"}, "kind": "tokens", "limit": 900.0, "per": "day"},
			map[string]any{"rule": "pace", "whose": "key", "models": []any{"m*"}, "kind": "parallel", "limit": 3.0},
		},
		"budgets": []any{
			map[string]any{"rule": "month", "whose": "key", "unit": "usd", "every": "month", "mode": "hard", "limit": "2.5", "spent": "0", "held": "0", "remaining": "2.5"},
			map[string]any{"rule": "month", "whose": "key", "unit": "tokens", "every": "rolling-day", "mode": "soft", "limit": "1000", "spent": "0", "held": "0", "remaining": "1000"},
		},
		"today": map[string]any{"requests": float64(time.Now().UTC().Day()), "input_tokens": 10.0, "output_tokens": 20.0, "cost_usd": "0.25"},
		"month": map[string]any{"requests": 1.0, "input_tokens": 10.0, "output_tokens": 20.0, "cost_usd": "0.25"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	down = true
	if rec := get(); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("without the store: %d %s", rec.Code, rec.Body)
	}
	h.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return nil, &llm.Error{Kind: llm.KindInvalidKey, Msg: "no"} })
	if rec := get(); rec.Code != http.StatusUnauthorized {
		t.Errorf("a stranger: %d", rec.Code)
	}
}
