package guard

import (
	"context"
	"errors"
	"regexp"
	"strings"
)

// A stub finds addresses and what a pattern says, in words: text is settled up to its last blank.
type stub struct {
	name string
	re   *regexp.Regexp
	kind func(string) string
	err  error
	more func(texts []string) // told what was read
}

func addresses() *stub {
	return &stub{name: "stub", re: regexp.MustCompile(`[a-z0-9._]+@[a-z]+\.[a-z]+|K-\d+|\b\d{7}\b`), kind: func(s string) string {
		if strings.HasPrefix(s, "K-") {
			return "EMPLOYEE"
		}
		if !strings.Contains(s, "@") {
			return "BADGE"
		}
		return "EMAIL_ADDRESS"
	}}
}

var errStub = errors.New("the detector is broken")

func (s *stub) Name() string { return s.name }

func (s *stub) Detect(_ context.Context, texts []string, found func(int, Finding)) error {
	if s.more != nil {
		s.more(texts)
	}
	for i, text := range texts {
		for _, at := range s.re.FindAllStringIndex(text, -1) {
			found(i, Finding{s.kind(text[at[0]:at[1]]), at[0], at[1]})
		}
	}
	return s.err
}

func (s *stub) Follow() Follow { return &stubFollow{s: s} }

type stubFollow struct {
	s    *stub
	text string
}

func (f *stubFollow) Next(piece string) (int, []Finding, error) {
	f.text += piece
	return f.take(strings.LastIndexByte(f.text, ' ') + 1)
}

func (f *stubFollow) Close() (int, []Finding, error) { return f.take(len(f.text)) }

func (f *stubFollow) take(n int) (int, []Finding, error) {
	var list []Finding
	err := f.s.Detect(context.Background(), []string{f.text[:n]}, func(_ int, v Finding) { list = append(list, v) })
	f.text = f.text[n:]
	return n, list, err
}
