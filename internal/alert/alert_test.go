package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/alert"
	"sluice/internal/alert/alerttest"
	"sluice/internal/llm"
)

func TestMemory(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	alerttest.Run(t, alerttest.Harness{
		Outboxes: func(*testing.T) (a, b alert.Outbox) {
			m := alert.NewMemory(func() time.Time { return now })
			return m, m
		},
		Pass: func(d time.Duration) { now = now.Add(d) },
	})
}

const secret llm.Secret = "k9Qz3vXw7LmT2pRb8NcY5hJd1FsG4aZx"

// receiver is a webhook's other side; answers are statuses, 0 for none at all.
type receiver struct {
	answers []int
	got     []string
	at      []time.Time
	wrong   []string
}

func (r *receiver) Send(_ context.Context, q *llm.Request) (*llm.Response, error) {
	status := 204
	if len(r.answers) > 0 {
		status, r.answers = r.answers[0], r.answers[1:]
	}
	body := slices.Concat(q.Body...)
	stamp, _, _ := strings.Cut(strings.TrimPrefix(q.Header.Get("X-Sluice-Signature"), "t="), ",")
	sent := time.Now()
	if want := alert.Sign(secret, sent, body); q.Header.Get("X-Sluice-Signature") != want {
		r.wrong = append(r.wrong, "signature of "+stamp)
	}
	var n alert.Notice
	if err := json.Unmarshal(body, &n); err != nil || n.ID != q.Header.Get("X-Sluice-Delivery") {
		r.wrong = append(r.wrong, string(body))
	}
	r.got, r.at = append(r.got, n.ID), append(r.at, sent)
	if status == 0 {
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "dial https://hooks.example.com/secret-path"}
	}
	return &llm.Response{Status: status, Body: io.NopCloser(bytes.NewReader(nil))}, nil
}

func hook(t *testing.T, r *receiver) alert.Hook {
	t.Helper()
	u, err := url.Parse("https://hooks.example.com/secret-path")
	if err != nil {
		t.Fatal(err)
	}
	return alert.Hook{URL: u, Secret: secret, Transport: r}
}

// TestDelivery fails twice and then arrives; nothing of the address is in the log.
func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := &receiver{answers: []int{0, 500, 200}}
		s := alert.New(alert.Options{Outbox: alert.NewMemory(nil), Log: slog.New(slog.NewTextHandler(&log, nil))}, []alert.Hook{hook(t, r)})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		for range 2 {
			if err := s.Tell(ctx, &alert.Notice{ID: "n", Type: "budget.threshold"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		stop()
		<-done
		if len(r.got) != 3 || len(r.wrong) > 0 {
			t.Errorf("sent %v; wrong: %v", r.got, r.wrong)
		}
		if strings.Contains(log.String(), "secret-path") || !strings.Contains(log.String(), "status 500") {
			t.Errorf("the log says:\n%s", log.String())
		}
	})
}

// TestGivesUp: a webhook that never answers does not fill the outbox for ever.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answers: make([]int, 1000)}
		var log bytes.Buffer
		s := alert.New(alert.Options{Outbox: alert.NewMemory(nil), Log: slog.New(slog.NewTextHandler(&log, nil))}, []alert.Hook{hook(t, r)})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		if err := s.Tell(ctx, &alert.Notice{ID: "n"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * 24 * time.Hour)
		stop()
		<-done
		if n := len(r.got); n != 100 || r.at[n-1].Sub(r.at[0]) < 72*time.Hour {
			t.Errorf("%d tries over %v", n, r.at[n-1].Sub(r.at[0]))
		}
		if !strings.Contains(log.String(), "alert.given_up") {
			t.Error("it is not in the log that a notice was given up")
		}
	})
}

func TestSign(t *testing.T) {
	// printf '1700000000.{}' | openssl dgst -sha256 -hmac k9Qz3vXw7LmT2pRb8NcY5hJd1FsG4aZx
	const want = "t=1700000000,v1=1fd2bfef5224869bf68d0cafe48a4bdde4939a7c9cae6083589f3e64e14f7758"
	if got := alert.Sign(secret, time.Unix(1700000000, 0), []byte("{}")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
