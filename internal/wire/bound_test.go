package wire_test

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/wiretest"
)

var inputTokens = regexp.MustCompile(`"(prompt_tokens|input_tokens|cache_read_input_tokens|cache_creation_input_tokens|promptTokenCount|toolUsePromptTokenCount)" *: *([0-9]+)`)

// TestSizeOfRecordings holds the bound against what providers really counted.
func TestSizeOfRecordings(t *testing.T) {
	recordings := wiretest.Recordings(t)
	if len(recordings) == 0 {
		t.Skip("NOTICE: the bound is held against recordings only, and they are not here")
	}
	held, open := 0, 0
	for _, r := range recordings {
		if len(r.Ask) == 0 || r.Refused() {
			continue
		}
		most := map[string]int64{} // of each member: streams say it several times
		for _, m := range inputTokens.FindAllSubmatch(r.Answer, -1) {
			n, _ := strconv.ParseInt(string(m[2]), 10, 64)
			most[string(m[1])] = max(most[string(m[1])], n)
		}
		total := int64(0)
		for _, n := range most {
			total += n
		}
		s := sizeOf(t, r.Ask)
		switch {
		case total == 0:
		case s.Open:
			open++
		case total > s.Most:
			t.Errorf("%s: the provider read %d tokens, bound is %d (about %d) for %d bytes", r, total, s.Most, s.About, len(r.Ask))
		default:
			held++
		}
	}
	if held < 5 {
		t.Errorf("only %d exchanges were compared (%d open)", held, open)
	}
}

// sizeOf scans and measures a body.
func sizeOf(t *testing.T, body []byte) wire.Size {
	t.Helper()
	s, err := wire.Scan(nil, body)
	if err != nil {
		t.Fatalf("%.200s: %v", body, err)
	}
	return wire.SizeOf(body, s.Texts)
}

func file(head string, n int) string {
	return base64.StdEncoding.EncodeToString([]byte(head + strings.Repeat("\x00\xa5", n/2)))
}

func TestSizeOf(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name, body string
		least      int64 // what Most must be at least and,
		most       int64 // at most
		open       bool
	}{
		{"text", `{"messages":[{"content":"` + strings.Repeat("word ", 1000) + `"}]}`, 5000, 5100, false},
		{"text without blanks is text", `{"a":"` + strings.Repeat("\u4e2d", 1000) + `"}`, 3000, 3100, false},
		{"hidden in base64's alphabet it is text, too", `{"a":"` + strings.Repeat("a", 5000) + `"}`, 5000, 5100, false},
		{"image", `{"image_url":{"url":"data:image/png;base64,` + file("\x89PNG\r\n\x1a\n", mb) + `"}}`, 8192, 9000, true}, // "url" may be an address
		{"image, Anthropic", `{"source":{"type":"base64","data":"` + file("\xff\xd8\xff\xe0", mb) + `"}}`, 8192, 9000, false},
		{"webp", `{"data":"` + file("RIFF0000WEBPVP8 ", mb) + `"}`, 8192, 9000, false},
		{"sound", `{"data":"` + file("RIFF0000WAVEfmt ", mb) + `"}`, mb / 16, mb/16 + 100, false},
		{"film", `{"data":"` + file("\x00\x00\x00\x20ftypisom", mb) + `"}`, mb / 16, mb/16 + 100, false},
		{"paper", `{"data":"` + file("%PDF-1.7", mb) + `"}`, mb, mb + 100, false},
		{"unknown file", `{"data":"` + file("????????????", mb) + `"}`, mb * 4 / 3, mb*4/3 + 100, false},
		{"tools", `{"tools":[]}`, 1024, 1100, false},
		{"an address", `{"text":"https://x/y.png"}`, 8192, 8300, false},
		{"a file at the provider", `{"file_id":"file-1"}`, 0, 100, true},
		{"a search", `{"tools":[{"type":"web_search_20250305"}]}`, 0, 2000, true},
		{"kept there", `{"previous_response_id":"resp_1"}`, 0, 100, true},
		{"disguised", `{"file\u005fid":"file-1"}`, 0, 100, true},
		{"escapes that encoders write", `{"a":"\u00e9\u0026\u003d\u003c\u0022"}`, 0, 100, false},
		{"disguised by a colon", `{"type":"openrouter\u003aweb_search"}`, 0, 100, true},
		{"escapes for web pages", `{"a":"\u0060x\u0060 \u0027\u002B\u003E"}`, 0, 100, false},
		{"a backslash before u", `{"a":"\\u0061"}`, 0, 100, false},
		{"escapes of control characters", `{"a":"\u0000\u001f\u0026"}`, 0, 100, false},
		{"quotes within", `{"a":"\\\"","b":"\\"}`, 0, 30, false},
	} {
		s := sizeOf(t, []byte(c.body))
		s.Most -= 1024 // the vendor's own words
		if s.Most < c.least || s.Most > c.most || s.Open != c.open || s.About > s.Most {
			t.Errorf("%s: %+v, want from %d to %d, open %v", c.name, s, c.least, c.most, c.open)
		}
	}
}

// FuzzSizeOf: any bytes have a size, and no cut can make it negative.
func FuzzSizeOf(f *testing.F) {
	f.Add([]byte(`{"a":"\\\"https://` + strings.Repeat("A", 2000) + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := wire.SizeOf(b, llm.Texts{})
		if s.Most < 0 || s.About < 0 {
			t.Errorf("%+v", s)
		}
		scanned, err := wire.Scan(nil, b)
		if err != nil {
			return
		}
		// What the scan saw saves time and changes nothing.
		s.Open = s.Open || scanned.Texts.Disguised
		if got := wire.SizeOf(b, scanned.Texts); got != s {
			t.Errorf("%q: %+v, and without what the scan saw %+v", b, got, s)
		}
	})
}

func BenchmarkSizeOf(b *testing.B) {
	for name, body := range map[string]string{
		"short":   `{"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("word ", 100)+`"},`, 400) + `{}]}`,
		"long":    `{"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("word ", 3200)+`"},`, 13) + `{}]}`,
		"escaped": `{"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat(`two \"words\"\n`, 1000)+`"},`, 13) + `{}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			s, err := wire.Scan(nil, []byte(body))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				wire.SizeOf(s.Raw, s.Texts)
			}
		})
	}
}

// What makes a call dearer is seen where it is a word of its own, and not in a text.
func TestSizeOfWords(t *testing.T) {
	for _, c := range []struct {
		body       string
		hour, tier bool
	}{
		{`{"cache_control":{"type":"ephemeral","ttl":"1h"}}`, true, false},
		{`{"service_tier":"flex"}`, false, true},
		{`{"generationConfig":{"serviceTier" : "priority"}}`, false, true},
		{`{"content":"in \"1h\" the service_tier"}`, false, false},
	} {
		if s := sizeOf(t, []byte(c.body)); s.Hour != c.hour || s.Tier != c.tier {
			t.Errorf("%s: hour %v, tier %v", c.body, s.Hour, s.Tier)
		}
	}
}
