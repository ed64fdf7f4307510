package pii

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// pieces are what texts for the properties are made of: things to be found, halves of them, and what stands between.
var pieces = []string{
	"jane.doe@example.com", "jane@", "example", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111", "1111", "+44 7700 900123", "(37) 788-063",
	"DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "078-05-1120", "SSN", "my ssn is", "10.0.0.12", "2001:db8::ff00:42:8329", "::",
	"phone", "office", "call me", "born on", "March", "12", "1985", "March 12, 1985", "12/03/1985", "AB 12 34 56 C", "AB", "AB123456C",
	"password:", "password is", "hunter22!", "api_key=", "Bearer ", "sk-ant-" + "k3Y0a1b2c3d4e5f6a7b8c9", "ghp_0123456789abcdefghijABCDEFGHIJ012345",
	"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123456", "amFuZS5kb2VAZXhhbXBsZS5jb20gaXMgbWU=", "-----BEGIN PRIVATE KEY-----",
	"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "-----END PRIVATE KEY-----", "-----BEGIN ", "-----", "postgres://u:s3cret@db/x", "https://", "u:p@h",
	"jane%40example.com", "jane&#64;example.com", `jane\u0040example.com`, "ｊａｎｅ＠example.com", "j\u200ba\u200bne@example.com", "４１１１ １１１１ １１１１ １１１１",
	"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "请发邮件到", "谢谢", "。", "—", "–", "\u00a0", "\u3000", "é", "naïve", "Привет", "а", "blue", "heron", "blue heron", "E-123456", "E-",
	"the", "a", "of", "is", "x", ".", ",", ":", "=", "-", "/", "(", ")", "@", "%", "%4", "&", "&#", `\`, `\u00`, "\"", "\n", " ", " ", " ", "\t", "00", "1", "23", "456", "7890",
	"\xff", "\xe2\x80",
}

func made(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(40) {
		b.WriteString(pieces[r.IntN(len(pieces))])
		if r.IntN(2) == 0 {
			b.WriteString(" ")
		}
	}
	return b.String()
}

// scanners are those that the properties hold for: what a Stream must hold back differs.
func scanners(t testing.TB) map[string]*Scanner {
	t.Helper()
	all := map[string]*Scanner{}
	for name, o := range map[string]Options{
		"default": {},
		"all":     {Entities: Entities(), Threshold: 0.2},
		"rules": {
			Entities: Entities(),
			Rules: []Rule{
				{Name: "employee", Entity: "EMPLOYEE", Pattern: `\bE-\d{6}\b`, Context: []string{"call"}},
				{Name: "line", Entity: "LINE", Pattern: `^the .*$`},
			},
			Deny: []List{{Name: "projects", Entity: "PROJECT", Words: []string{"Blue Heron", "naïve", "谢谢"}}},
		},
		"words": {
			Rules: []Rule{{Name: "employee", Entity: "EMPLOYEE", Pattern: `E-\d+`}},
			Deny:  []List{{Name: "projects", Entity: "PROJECT", Words: []string{"blue heron"}}},
		},
	} {
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = s
	}
	return all
}

// inPieces feeds text to a Stream in pieces of the lengths that next gives.
func inPieces(s *Scanner, text string, next func() int) (whole string, found []Finding) {
	stream := s.Stream()
	take := func(part string, more []Finding) {
		for _, f := range more {
			f.Start += len(whole)
			f.End += len(whole)
			found = append(found, f)
		}
		whole += part
	}
	for rest := text; rest != ""; {
		n := min(len(rest), max(1, next()))
		take(stream.Next(rest[:n]))
		rest = rest[n:]
	}
	take(stream.Close())
	return whole, found
}

// sound says what is wrong with the findings of a text, "" if nothing is.
func sound(text string, found []Finding) string {
	end := 0
	for _, f := range found {
		switch {
		case f.Start < end:
			return fmt.Sprintf("%+v overlaps the one before it", f)
		case f.End <= f.Start || f.End > len(text):
			return fmt.Sprintf("%+v is empty or outside of the text", f)
		case utf8.ValidString(text) && (!utf8.RuneStart(text[f.Start]) || f.End < len(text) && !utf8.RuneStart(text[f.End])):
			return fmt.Sprintf("%+v cuts a character", f)
		case !(f.Score > 0 && f.Score <= 1) || f.Entity == "" || f.Recognizer == "":
			return fmt.Sprintf("%+v is not whole", f)
		}
		end = f.End
	}
	return ""
}

func TestAnyChunking(t *testing.T) {
	all := scanners(t)
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 1))
		text := made(r)
		for name, s := range all {
			want := s.Scan(text, nil)
			if problem := sound(text, want); problem != "" {
				t.Fatalf("%s, seed %d, %q: %s", name, seed, text, problem)
			}
			for _, longest := range []int{1, 30} {
				whole, got := inPieces(s, text, func() int { return 1 + r.IntN(longest) })
				if whole != text {
					t.Fatalf("%s, seed %d: pieces of %d: the text is %q, want %q", name, seed, longest, whole, text)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s, seed %d: pieces of %d of %q (-whole +pieces):\n%s", name, seed, longest, text, diff)
				}
			}
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, p := range pieces {
		f.Add(p, uint8(3))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(made(r), uint8(r.IntN(40)))
	}
	all := scanners(f)
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		for name, s := range all {
			want := s.Scan(text, nil)
			if problem := sound(text, want); problem != "" {
				t.Fatalf("%s: %q: %s", name, text, problem)
			}
			whole, got := inPieces(s, text, func() int { return int(size) })
			if whole != text {
				t.Fatalf("%s: the text is %q, want %q", name, whole, text)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s: %q in pieces of %d (-whole +pieces):\n%s", name, text, size, diff)
			}
		}
	})
}
