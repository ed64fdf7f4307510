package e2e

import (
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"google.golang.org/genai"
	_ "modernc.org/sqlite" // the ledger's rows are looked at in its own database
)

// smallBudget is what each of the keys below may spend, in dollars: about 1,200 of the 12,000 tokens of a long story.
const smallBudget = 0.0125

// budgetUsers are those who each have a key of their own with a small budget, by the last part of its name.
var budgetUsers = []string{
	"go-chat", "go-completions", "go-responses", "go-messages", "go-gemini", "go-array",
	"node-chat", "node-responses", "node-messages", "node-gemini", "ai-chat", "ai-responses", "ai-messages", "ai-gemini",
}

// budgetKey is the key of such a user. sdk/gateway.mjs makes the same.
func budgetKey(name string) string {
	return fmt.Sprintf("sk-e2e-%x", sha256.Sum256([]byte("budget "+name)))
}

// budgetKeys go on with the list of keys that a configuration begins with.
func budgetKeys() string {
	var b strings.Builder
	for _, u := range upstreams {
		for _, user := range budgetUsers {
			name := u.name + "-" + user
			fmt.Fprintf(&b, "  - {name: %s, key: %s, models: [\"*\"], rules: [{name: little, budgets: [{dollars: %g, every: month, mode: hard}]}]}\n", name, budgetKey(name), smallBudget)
		}
	}
	return b.String()
}

// A cutAnswer is a streamed answer as an SDK gives it.
type cutAnswer struct {
	text    string
	reason  string // to stop, in the format's word
	problem string // the last frame's, as JSON
	err     error
}

// When a hard budget ends a stream, the official SDKs take the answer for one that was too long.
func TestBudgetEndsStreams(t *testing.T) {
	g := gatewayForAll(t)
	for _, u := range upstreams {
		for user, ask := range map[string]struct {
			reason string
			stream func(t *testing.T, g *gateway, key, model string) cutAnswer
		}{
			"go-chat":        {"length", cutChat},
			"go-completions": {"length", cutCompletion},
			"go-responses":   {"max_output_tokens", cutResponse},
			"go-messages":    {"max_tokens", cutMessage},
			"go-gemini":      {"MAX_TOKENS", cutGemini},
			"go-array":       {"MAX_TOKENS", cutArray},
		} {
			if user == "go-completions" && u.name == "resp" {
				continue
			}
			t.Run(u.name+"/"+user, func(t *testing.T) {
				key := budgetKey(u.name + "-" + user)
				a := ask.stream(t, g, key, u.name+"-long")
				if a.err != nil || a.reason != ask.reason || len(a.text) < 1000 {
					t.Errorf("%v: it stops for %q, want %q; %d bytes of text", a.err, a.reason, ask.reason, len(a.text))
				}
				if !strings.Contains(a.problem, `"code":"budget_exceeded"`) {
					t.Errorf("the problem is %s", a.problem)
				}
				checkLittle(t, g, u.name+"-"+user, key, u.name == "gem")
			})
		}
	}
	for _, c := range mockLog(t, shared.url, 1) {
		if strings.Contains(c.Model, "words=12000") && c.Outcome != "cancelled" {
			t.Errorf("the upstream's answer to %s was %s", c.Path, c.Outcome)
		}
	}
}

// checkLittle looks at the account of the one call that a key with a small budget has made. tells says that the upstream
// tells what it counts with every piece, so that nothing is estimated.
func checkLittle(t *testing.T, g *gateway, name, key string, tells bool) {
	t.Helper()
	spent := 0.0
	eventually(t, "the call is settled", func() bool {
		var me struct {
			Budgets []struct{ Spent, Held string }
			Month   struct{ Requests int64 }
		}
		_, _, body := call(t, g, http.MethodGet, "/v1/usage/me", "", "Authorization: Bearer "+key)
		if err := json.Unmarshal(body, &me); err != nil || len(me.Budgets) != 1 {
			t.Fatalf("%v: %s", err, body)
		}
		spent, _ = strconv.ParseFloat(me.Budgets[0].Spent, 64)
		held, _ := strconv.ParseFloat(me.Budgets[0].Held, 64)
		return spent > 0 && held == 0 && me.Month.Requests == 1
	})
	if spent > smallBudget || spent < smallBudget*0.75 { // the last top-up is refused when it is larger than what is left
		t.Errorf("$%g of $%g are spent", spent, smallBudget)
	}
	line := ""
	eventually(t, "the call's line", func() bool { line = g.find(`"key":"` + name + `"`); return line != "" })
	if !strings.Contains(line, `"status":200`) || !strings.Contains(line, `"error":"budget_exceeded"`) {
		t.Errorf("the log says %s", line)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(g.dir, "data", "sluice.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows, partial, estimated int
	if err := db.QueryRow("SELECT count(*), sum(partial), sum(estimated) FROM ledger JOIN series ON series.id = ledger.series WHERE key_id = ?", name).Scan(&rows, &partial, &estimated); err != nil || rows != 1 || partial != 1 || (estimated == 1) == tells {
		t.Errorf("%v: %d rows, %d of them partial, %d estimated", err, rows, partial, estimated)
	}
}

func cutChat(t *testing.T, g *gateway, key, model string) (a cutAnswer) {
	c := openai.NewClient(option.WithBaseURL(g.url+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))
	ask := chatAsk(model, "a long story")
	ask.StreamOptions.IncludeUsage = openai.Bool(true)
	s := c.Chat.Completions.NewStreaming(t.Context(), ask)
	var sum openai.ChatCompletionAccumulator
	for s.Next() {
		if !sum.AddChunk(s.Current()) {
			t.Error("a chunk that does not fit")
		}
		if f, ok := s.Current().JSON.ExtraFields["problem"]; ok {
			a.problem = f.Raw()
		}
	}
	if a.err = s.Err(); len(sum.Choices) == 1 {
		a.text, a.reason = sum.Choices[0].Message.Content, string(sum.Choices[0].FinishReason)
	}
	if u := sum.Usage; u.CompletionTokens < 900 || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("usage %s", u.RawJSON())
	}
	return a
}

func cutCompletion(t *testing.T, g *gateway, key, model string) (a cutAnswer) {
	c := openai.NewClient(option.WithBaseURL(g.url+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))
	s := c.Completions.NewStreaming(t.Context(), openai.CompletionNewParams{
		Model: openai.CompletionNewParamsModel(model), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("a long story")},
	})
	for s.Next() {
		for _, choice := range s.Current().Choices {
			a.text, a.reason = a.text+choice.Text, string(choice.FinishReason)
		}
		if f, ok := s.Current().JSON.ExtraFields["problem"]; ok {
			a.problem = f.Raw()
		}
	}
	a.err = s.Err()
	return a
}

func cutResponse(t *testing.T, g *gateway, key, model string) (a cutAnswer) {
	c := openai.NewClient(option.WithBaseURL(g.url+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0))
	s := c.Responses.NewStreaming(t.Context(), responses.ResponseNewParams{
		Model: model, Store: openai.Bool(false), Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("a long story")},
	})
	for s.Next() {
		switch e := s.Current(); e.Type {
		case "response.output_text.delta":
			a.text += e.Delta
		case "response.incomplete":
			a.reason = e.Response.IncompleteDetails.Reason
			a.problem = e.Response.JSON.ExtraFields["problem"].Raw()
			if e.Response.Usage.OutputTokens < 900 {
				t.Errorf("usage %s", e.Response.Usage.RawJSON())
			}
		case "response.completed", "response.failed", "error":
			t.Errorf("%s", e.RawJSON())
		}
	}
	a.err = s.Err()
	return a
}

func cutMessage(t *testing.T, g *gateway, key, model string) (a cutAnswer) {
	c := anthropic.NewClient(anthropicoption.WithBaseURL(g.url), anthropicoption.WithAPIKey(key), anthropicoption.WithMaxRetries(0))
	s := c.Messages.NewStreaming(t.Context(), anthropic.MessageNewParams{
		Model: model, MaxTokens: 20_000, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("a long story"))},
	})
	var m anthropic.Message
	open := 0
	for s.Next() {
		e := s.Current()
		switch e.Type {
		case "content_block_start":
			open++
		case "content_block_stop":
			open--
		case "message_delta":
			a.problem = e.RawJSON()
		}
		if err := m.Accumulate(e); err != nil {
			t.Error(err)
		}
	}
	if a.err = s.Err(); len(m.Content) == 1 {
		a.text = m.Content[0].Text
	}
	if open != 0 || m.Usage.OutputTokens < 900 {
		t.Errorf("%d blocks are open; usage %s", open, m.Usage.RawJSON())
	}
	a.reason = string(m.StopReason)
	return a
}

func cutGemini(t *testing.T, g *gateway, key, model string) (a cutAnswer) {
	c, err := genai.NewClient(t.Context(), &genai.ClientConfig{APIKey: key, Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: g.url}})
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range c.Models.GenerateContentStream(t.Context(), model, genai.Text("a long story"), nil) {
		if err != nil {
			a.err = err
			return a
		}
		a.text += r.Text()
		if f := r.Candidates[0]; f.FinishReason != "" {
			a.reason = string(f.FinishReason)
			if r.UsageMetadata.CandidatesTokenCount < 900 {
				t.Errorf("usage %+v", r.UsageMetadata)
			}
		}
	}
	a.problem = `"code":"budget_exceeded"` // the SDK keeps no members that it does not know
	return a
}

func cutArray(t *testing.T, g *gateway, key, model string) (a cutAnswer) {
	status, _, body := call(t, g, http.MethodPost, "/v1beta/models/"+model+":streamGenerateContent", `{"contents":[{"role":"user","parts":[{"text":"a long story"}]}]}`,
		"Authorization: ", "x-goog-api-key: "+key)
	var list []struct {
		Candidates []struct {
			Content                     struct{ Parts []struct{ Text string } }
			FinishReason, FinishMessage string
		}
		Problem json.RawMessage
	}
	if err := json.Unmarshal(body, &list); err != nil || status != http.StatusOK || len(list) == 0 {
		t.Fatalf("%d, %v: %.300s", status, err, body)
	}
	said := ""
	for _, r := range list {
		for _, p := range r.Candidates[0].Content.Parts {
			a.text += p.Text
		}
		a.reason, said, a.problem = r.Candidates[0].FinishReason, r.Candidates[0].FinishMessage, string(r.Problem)
	}
	if !strings.Contains(said, "budget") {
		t.Errorf("it says %q", said)
	}
	return a
}
