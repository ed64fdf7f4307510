package pii

import (
	"strings"
	"testing"
)

// prose is English without anything to be found, of about n bytes.
func prose(n int) string {
	const text = `The committee met on Tuesday to talk about the plans for the new library, which had been put off twice. ` +
		`Nobody disagreed with the idea itself; what they could not settle was where it should stand - near the river, or up by the school. ` +
		"\n" + `A short walk along the water would do no harm, said one of them: "It has views, and the bus stops there."` + "\n\n"
	return strings.Repeat(text, n/len(text)+1)[:n]
}

// dense is text that is full of things to be found, of about n bytes.
func dense(n int) string {
	const text = `Jane (jane.doe@example.com, +44 7700 900123) paid with 4111 1111 1111 1111 from 203.0.113.7 on 12/03/2024; IBAN DE89 3704 0044 0532 0130 00. `
	return strings.Repeat(text, n/len(text)+1)[:n]
}

func TestCleanTextAllocatesNothing(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{
		"prose":   prose(2048),
		"numbers": "In 2024 we shipped 12,500 units at $19.99 each (page 7 of 12), ticket #88213, at 10:45:00, version 1.2.3.",
		"accents": "Le café d’à côté a fermé; naïve Menschen grüßen höflich, и всё хорошо. 日本語の文章です。",
		"code":    "for i := 0; i < len(items); i++ { total += items[i].Price } // see internal/guard/pii/scan.go\n",
	}
	for name, text := range texts {
		dst := make([]Finding, 0, 4)
		if found := s.Scan(text, dst); len(found) != 0 {
			t.Errorf("%s: found %+v", name, found)
		}
		if raceEnabled {
			continue
		}
		if n := testing.AllocsPerRun(100, func() { s.Scan(text, dst) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

// TestLinear counts the bytes that recognisers look at, not time: twice the text may cost twice as much and no more, in
// shapes that are meant to be worst.
func TestLinear(t *testing.T) {
	s, err := New(Options{Entities: Entities(), Deny: []List{{Name: "l", Entity: "L", Words: []string{"a a a a b"}}}})
	if err != nil {
		t.Fatal(err)
	}
	steps := func(text string) int {
		w := s.work.Get().(*work)
		defer w.done()
		w.collect(text, 0)
		w.resolve(nil)
		return w.steps
	}
	const size = 8 << 10
	for _, unit := range worst {
		once, twice := steps(strings.Repeat(unit, size/len(unit))), steps(strings.Repeat(unit, 2*size/len(unit)))
		if twice > 2*once+once/4+4096 {
			t.Errorf("%q: %d bytes looked at in %d bytes of text, %d in twice as many", unit, once, size, twice)
		}
		if once > 250*size {
			t.Errorf("%q: each byte is looked at %d times", unit, once/size)
		}
	}
}

// worst are the units of texts that make a careless recogniser read the same bytes again and again.
var worst = []string{"1", "1 ", "11 ", "4111 ", "1.", "1-", "(1) ", "+1 ", "a@", "a.b@", "@", "a.a.", "://", "a://", "a://b:c@", ":", "::", "1:", "a:b:", "=", "password=", "password is ", "token: ", "-", "-----", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY----- AAAAAAAAAAAAAAAA ", "sk-", "sk-a1", "eyJ", "eyJ.", "eyJhbGciOiJIUzI1NiJ9.", "A", "aaaa", "YWFh", "YWFhYWFhYWFhYWFh-", "%41", "%", "&", "&#", `\u0041`, `\`, "\u200b", "1\u200b", "\u00a0", "а1", "DE89", "DE89 ", "1A", "bc1q", "0x", "12 March ", "AB 12 34 56 C ", "請", "a ", "w", "ssw", "\xff", "é", "x1", "555-0100x"}

func BenchmarkScan(b *testing.B) {
	s, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct{ name, text string }{
		{"prose/2KB", prose(2 << 10)},
		{"prose/1MB", prose(1 << 20)},
		{"dense/2KB", dense(2 << 10)},
		{"french/64KB", strings.Repeat("Le comité s’est réuni mardi pour parler du projet, déjà repoussé à deux reprises – hélas. ", 700)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			dst := make([]Finding, 0, 256)
			b.SetBytes(int64(len(bb.text)))
			b.ReportAllocs()
			for b.Loop() {
				dst = s.Scan(bb.text, dst[:0])
			}
		})
	}
	b.Run("bytes/1MB", func(b *testing.B) { // what looking at every byte costs, for the ratio
		text := prose(1 << 20)
		b.SetBytes(int64(len(text)))
		n := 0
		for b.Loop() {
			for i := range len(text) {
				n += int(class[text[i]])
			}
		}
		if n == 0 {
			b.Fatal("prose without an anchor")
		}
	})
}
