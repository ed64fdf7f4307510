package pii

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewRefuses(t *testing.T) {
	rule := Rule{Name: "r", Entity: "E", Pattern: "x+"}
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"entity", Options{Entities: []Entity{"PERSON"}}, `no entity "PERSON"`},
		{"threshold", Options{Threshold: 1.5}, "is not above 0 and at most 1"},
		{"negative threshold", Options{Thresholds: map[Entity]float32{IBAN: -1}}, "threshold of IBAN_CODE"},
		{"threshold of nothing", Options{Thresholds: map[Entity]float32{"OTHER": 0.5}}, `"OTHER"`},
		{"pattern", Options{Rules: []Rule{{Name: "r", Entity: "E", Pattern: "("}}}, `rule "r"`},
		{"backreference", Options{Rules: []Rule{{Name: "r", Entity: "E", Pattern: `(a)\1`}}}, `rule "r"`},
		{"empty match", Options{Rules: []Rule{{Name: "r", Entity: "E", Pattern: "a*|b"}}}, "matches the empty text"},
		{"score", Options{Rules: []Rule{{Name: "r", Entity: "E", Pattern: "a", Score: 2}}}, "score 2"},
		{"no name", Options{Rules: []Rule{{Entity: "E", Pattern: "a"}}}, "a name of its own"},
		{"name twice", Options{Rules: []Rule{rule}, Deny: []List{{Name: "r", Entity: "E", Words: []string{"a"}}}}, "a name of its own"},
		{"no entity", Options{Rules: []Rule{{Name: "r", Pattern: "a"}}}, "names no entity"},
		{"no letter", Options{Deny: []List{{Name: "l", Entity: "E", Words: []string{" - "}}}}, "no letter"},
		{"long phrase", Options{Deny: []List{{Name: "l", Entity: "E", Words: []string{strings.Repeat("a", 65)}}}}, "longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		o          Options
		want       []string
	}{
		{"only what is named", "a@example.com from 203.0.113.7, ssn 078-05-1120", Options{Entities: []Entity{IPAddress}}, []string{"IP_ADDRESS 203.0.113.7"}},
		{"URL is named", "see https://example.com/a.", Options{Entities: []Entity{URL}}, []string{"URL https://example.com/a"}},
		{"MAC is named", "00:1a:2b:3c:4d:5e and 00-1A-2B-3C-4D-5E", Options{Entities: []Entity{MACAddress}}, []string{"MAC_ADDRESS 00:1a:2b:3c:4d:5e", "MAC_ADDRESS 00-1A-2B-3C-4D-5E"}},
		{"a higher threshold", "212-555-0123, as it was said; phone 212-555-0123", Options{Threshold: 0.9}, []string{"PHONE_NUMBER 212-555-0123"}},
		{"a threshold of one entity", "AB123456C, 078-05-1120", Options{Thresholds: map[Entity]float32{UKNINO: 0.9}}, []string{"US_SSN 078-05-1120"}},
		{"allowed, whatever its case", "Support@Example.com, other@example.com", Options{Allow: []string{"support@example.com"}}, []string{"EMAIL_ADDRESS other@example.com"}},
		{"rule", "badge E-123456", Options{Rules: []Rule{{Name: "r", Entity: "EMPLOYEE", Pattern: `\bE-\d{6}\b`}}}, []string{"EMPLOYEE E-123456"}},
		{"rule that needs its word", "E-123456; badge E-123456", Options{Rules: []Rule{{Name: "r", Entity: "EMPLOYEE", Pattern: `\bE-\d{6}\b`, Score: 0.3, Context: []string{"Badge"}}}}, []string{"EMPLOYEE E-123456"}},
		{"rule on a disguise", "E‑１２３４５６", Options{Rules: []Rule{{Name: "r", Entity: "EMPLOYEE", Pattern: `\bE-\d{6}\b`}}}, []string{"EMPLOYEE E‑１２３４５６"}},
		{"rule within a line", "a b\nc", Options{Rules: []Rule{{Name: "r", Entity: "X", Pattern: `(?s)a.*`}}}, []string{"X a b"}},
		{"list", "Project BLUE  HERON, not blue herons; bluebird, naïve NAÏVE", Options{Deny: []List{{Name: "l", Entity: "PROJECT", Words: []string{"blue heron", "bird", "Naïve"}}}}, []string{"PROJECT BLUE  HERON", "PROJECT naïve", "PROJECT NAÏVE"}},
		{"list of ideographs", "关于北京项目的", Options{Deny: []List{{Name: "l", Entity: "PROJECT", Words: []string{"北京项目"}}}}, []string{"PROJECT 北京项目"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range s.Scan(tt.text, nil) {
				got = append(got, string(f.Entity)+" "+tt.text[f.Start:f.End])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tt.text, diff)
			}
		})
	}
}

// What is appended to stays, and goroutines do not see each other's texts.
func TestScanIsShared(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"jane@example.com", "4111 1111 1111 1111", "clean", "jane%40example.com and ssn 078-05-1120"}
	var want [][]Finding
	for _, text := range texts {
		want = append(want, s.Scan(text, []Finding{{Entity: "KEPT"}}))
	}
	var group sync.WaitGroup
	for k, text := range texts {
		group.Go(func() {
			for range 200 {
				if got := s.Scan(text, []Finding{{Entity: "KEPT"}}); !slices.Equal(got, want[k]) {
					t.Errorf("%q: %+v, want %+v", text, got, want[k])
					return
				}
			}
		})
	}
	group.Wait()
}

// A stream holds no more than it must: prose is given word by word.
func TestStreamHoldsLittle(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		want       int // held at its end
	}{
		{"a word", "The committee met on Tues", len("Tues")},
		{"white space", "The committee met on Tuesday ", 0},
		{"a number, and what may follow it", "It met in 2024, and ", len("2024, and ")},
		{"a number that is long gone", "It met in 2024, and " + strings.Repeat("talked ", 12), 0},
		{"no white space between words", "请发邮件到我们这里谢谢", 0},
		{"a private key", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n", len("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n")},
	} {
		stream := s.Stream()
		for _, c := range strings.Split(tt.text, "") {
			stream.Next(c)
		}
		if stream.Held() != tt.want {
			t.Errorf("%s: %d bytes of %q are held, want %d", tt.name, stream.Held(), tt.text, tt.want)
		}
	}
}
