package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/guard"
	"sluice/internal/guard/guardtest"
	"sluice/internal/llm"
)

// service is a transport to a service that knows ann and Jörg.
type service struct {
	status int
	err    error
	answer func(body []byte) string // nil: what is asked for
	hangs  bool

	mu     sync.Mutex // guards what follows: a detector is asked by many at a time
	asked  int
	header map[string][]string
}

var people = map[string]string{"ann": "PERSON", "Jörg": "PERSON", "Basel": "made up!"}

func (s *service) Send(ctx context.Context, r *llm.Request) (*llm.Response, error) {
	body := bytes.Join(r.Body, nil)
	s.mu.Lock()
	s.asked++
	s.header = r.Fields()
	s.mu.Unlock()
	if s.hangs {
		<-ctx.Done()
		return nil, &llm.Error{Kind: llm.KindUpstreamTimeout, Err: ctx.Err()}
	}
	if s.err != nil {
		return nil, s.err
	}
	answer := s.answer
	if answer == nil {
		answer = look
	}
	status := s.status
	if status == 0 {
		status = 200
	}
	return &llm.Response{Status: status, Body: io.NopCloser(strings.NewReader(answer(body)))}, nil
}

// look answers in the form that it is asked in.
func look(body []byte) string {
	var in struct {
		Texts []string `json:"texts"`
		Text  string   `json:"text"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		panic(err)
	}
	find := func(text, kind string) []map[string]any {
		out := []map[string]any{}
		for name, of := range people {
			for from := 0; ; {
				i := strings.Index(text[from:], name)
				if i < 0 {
					break
				}
				start := utf8.RuneCountInString(text[:from+i])
				out = append(out, map[string]any{kind: of, "start": start, "end": start + utf8.RuneCountInString(name), "score": 0.85})
				from += i + len(name)
			}
		}
		return out
	}
	if in.Texts == nil {
		b, _ := json.Marshal(find(in.Text, "entity_type"))
		return string(b)
	}
	all := [][]map[string]any{}
	for _, t := range in.Texts {
		all = append(all, find(t, "type"))
	}
	b, _ := json.Marshal(map[string]any{"findings": all})
	return string(b)
}

func detector(s *service, form Form) *Detector {
	return New(Options{
		URL: &url.URL{Scheme: "https", Host: "x"}, Form: form, Transport: s, Threshold: 0.5, Timeout: time.Minute,
		Sign: func(_ time.Time, body []byte) string { return "signed " + string(body[:1]) },
	})
}

func detect(t *testing.T, d *Detector, texts ...string) (out []string, err error) {
	t.Helper()
	err = d.Detect(t.Context(), texts, func(i int, f guard.Finding) { out = append(out, f.Type+" "+texts[i][f.Start:f.End]) })
	return out, err
}

func TestForms(t *testing.T) {
	for _, form := range []Form{Sluice, Presidio} {
		s := &service{}
		got, err := detect(t, detector(s, form), "ünd Jörg", "", "to Basel", "ann")
		want := []string{"PERSON Jörg", "OTHER Basel", "PERSON ann"}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", form, err, diff)
		}
		if s.asked != 1 || s.header["X-Sluice-Signature"][0] != "signed {" {
			t.Errorf("%s: %d requests, headers %v", form, s.asked, s.header)
		}
	}
}

func TestConformance(t *testing.T) {
	guardtest.Run(t, detector(&service{}, Sluice), []string{"ann and Jörg", "nobody"})
}

// A finding that reaches over two texts hides what is in each.
func TestPresidioOverTexts(t *testing.T) {
	s := &service{answer: func([]byte) string { return `[{"entity_type":"PERSON","start":1,"end":6,"score":1}]` }}
	got, err := detect(t, detector(s, Presidio), "ann", "bob")
	if diff := cmp.Diff([]string{"PERSON nn", "PERSON b"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestLongTextsAreSentApart(t *testing.T) {
	s := &service{}
	long := strings.Repeat("x", mostText/2)
	if got, err := detect(t, detector(s, Sluice), long+"ann", long, "ann"); err != nil || len(got) != 2 || s.asked != 2 {
		t.Errorf("%v, %v in %d requests", got, err, s.asked)
	}
	if _, err := detect(t, detector(s, Sluice), long+long+"x"); err == nil {
		t.Error("a text that is too long was taken for read")
	}
}

// Whatever a service does wrong is an error without a word of the text.
func TestFailures(t *testing.T) {
	says := func(s string) func([]byte) string { return func([]byte) string { return s } }
	for name, s := range map[string]*service{
		"refused":         {err: &llm.Error{Kind: llm.KindUpstream, Err: errors.New("dial ann")}},
		"status":          {status: 500},
		"redirect":        {status: 302},
		"no JSON":         {answer: says("ann")},
		"another form":    {answer: says(`[]`)},
		"too few":         {answer: says(`{"findings":[]}`)},
		"behind the text": {answer: says(`{"findings":[[{"type":"A","start":0,"end":4}]]}`)},
		"before the text": {answer: says(`{"findings":[[{"type":"A","start":-1,"end":2}]]}`)},
		"nothing":         {answer: says(`{"findings":[[{"type":"A","start":2,"end":2}]]}`)},
		"endless":         {answer: says(strings.Repeat(" ", mostAnswer+1))},
	} {
		if got, err := detect(t, detector(s, Sluice), "ann"); err == nil || got != nil || strings.Contains(err.Error(), "ann") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	s := &service{hangs: true}
	d := detector(s, Sluice)
	d.o.Timeout = time.Millisecond
	if _, err := detect(t, d, "ann"); err == nil {
		t.Error("a service that hangs was waited for")
	}
}

// After some failures in a row nobody asks for a while; then one does.
func TestBreaker(t *testing.T) {
	now := time.Unix(1000, 0)
	s := &service{status: 503}
	d := detector(s, Sluice)
	d.o.Now = func() time.Time { return now }
	for range mostFailures + 3 {
		if _, err := detect(t, d, "ann"); err == nil {
			t.Fatal("no error")
		}
	}
	if s.asked != mostFailures {
		t.Errorf("asked %d times, want %d", s.asked, mostFailures)
	}
	now, s.status = now.Add(openFor), 200
	if got, err := detect(t, d, "ann"); err != nil || len(got) != 1 {
		t.Errorf("after the time: %v, %v", got, err)
	}
	if _, err := detect(t, d, "ann"); err != nil || s.asked != mostFailures+2 {
		t.Errorf("%v, asked %d times", err, s.asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.err = &llm.Error{Kind: llm.KindClientGone, Err: context.Canceled}
	for range mostFailures {
		_ = d.Detect(ctx, []string{"ann"}, func(int, guard.Finding) {})
	}
	if _, err := detect(t, d, "ann"); errors.Is(err, errOpen) {
		t.Error("clients that left have opened the breaker")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(`{"findings":[[{"type":"A","start":0,"end":4,"score":0.5}]]}`, `[{"entity_type":"A","start":0,"end":4}]`, "öä x")
	f.Fuzz(func(t *testing.T, sluice, presidio, text string) {
		texts := []string{text, "", text}
		for form, answer := range map[Form]string{Sluice: sluice, Presidio: presidio} {
			list, err := detector(&service{}, form).read([]byte(answer), texts)
			if err != nil {
				continue
			}
			for _, p := range list {
				if p.Start < 0 || p.Start >= p.End || p.End > len(texts[p.text]) || p.Type == "" {
					t.Errorf("%s: %+v in %q", form, p, texts[p.text])
				}
			}
		}
	})
}
