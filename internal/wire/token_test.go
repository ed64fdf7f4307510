package wire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// What RFC 8259 allows, and we do, too.
var goodJSON = []string{
	// structure
	`[]`, `{}`, `[[]]`, `[{}]`, `{"a":[]}`, `[[],[]]`, `[[]   ]`, `[ ]`, `{ }`, ` [] `, "[1\n]", "\t\n\r [1] \t\n\r", `[""]`, `["a"]`, `[1,2]`,
	`[1 , 2]`, `[null, 1, "1", {}]`, `{"a":1,"b":2}`, `{"a" : 1 , "b" : 2}`, "{\n\"a\"\n:\n1\n}", `{"":0}`, `{"a":{"b":{"c":[{"d":1}]}}}`,
	`[[[[[[[[[[]]]]]]]]]]`, `{"a":{"a":1},"b":{"a":1}}`, `[{"a":1},{"a":1}]`, `{"a":1,"A":2}`, `{"min":-1.0e+28,"max":1.0e+28}`,
	`{"x":[{"id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}],"id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`,
	// alone
	`1`, `-0`, `"x"`, `""`, `true`, `false`, `null`, ` null `, `-1.5e3`, `0`, `"\u0061"`,
	// literals
	`[true]`, `[false]`, `[null]`, `[true,false,null]`, "[null\n]", `{"a":null}`,
	// numbers
	`[0]`, `[-0]`, `[0.0]`, `[-0.0]`, `[0e0]`, `[0e+1]`, `[0E1]`, `[1]`, `[-1]`, `[-123]`, `[123]`, `[20e1]`, `[123e65]`, `[123e45]`, `[123.456e78]`,
	`[1E22]`, `[1E-2]`, `[1E+2]`, `[1e-2]`, `[123.456789]`, `[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]`,
	`[1.5]`, `[0.5]`, `[1e-10000]`, `[0e400]`, `[123456789012345]`, `[1234567890123456]`, `[100000000000000000000]`, `[-9223372036854775808]`,
	`[18446744073709551616]`, `[1.7976931348623157e308]`, `[5e-324]`, `[1e00007]`, `[1 ]`, "[1\t]",
	// escapes
	`["\""]`, `["\\"]`, `["\/"]`, `["\b"]`, `["\f"]`, `["\n"]`, `["\r"]`, `["\t"]`, `["\"\\\/\b\f\n\r\t"]`, `["\\u0000"]`, `["\\\\"]`, `["\\\""]`, `["\\n"]`,
	`["\u0000"]`, `["\u001f"]`, `["\u0022"]`, `["\u005C"]`, `["\u0060\u012a\u12AB"]`, `["\uaBcD"]`, `["\u007f"]`, `["\u00e9"]`, `["\uFFFF"]`, `["\uFFFE"]`,
	`["\uFDD0"]`, `["\uFFFD"]`, `["\uD7FF"]`, `["\uE000"]`, `["\uD801\uDC37"]`, `["\ud83d\ude39\ud83d\udc8d"]`, `["\uDBFF\uDFFF"]`, `["\uD800\uDC00"]`,
	`["\uD834\uDd1e"]`, `["\u0821"]`, `["\u200B"]`, `["\u2028\u2029"]`, `["\uA66D"]`, `["\u0012"]`, `["a\u0000b"]`, `["\uDBFF\uDFFE"]`,
	// UTF-8
	`["é"]`, `["€"]`, `["𝄞"]`, `["日本語のテキスト"]`, `["asd "]`, "[\"\x7f\"]", "[\"a\x7fa\"]", "[\"\u2028\u2029\"]", "[\"\u0080\"]", "[\"\u07ff\"]", "[\"\u0800\"]",
	"[\"\ud7ff\"]", "[\"\ue000\"]", "[\"\uffff\"]", "[\"\ufffd\"]", "[\"\U00010000\"]", "[\"\U0010ffff\"]", "[\"\ufeff\"]", "[\"⍂㈴⍂\"]", `["/* */"]`, `[" "]`,
	`["new\u00A0line"]`, `{"é":1,"è":2}`, `{"日":1,"本":2}`, `{"\u0061":1,"b":2}`, `{"a\u0000b":1,"a\u0000":2}`, `{"\ud83d\ude39":1}`, `{"a\\u0062":1,"ab":2}`,
	`{"a\"":1,"a":2}`, `{"x~/y":1}`,
}

// What RFC 8259 forbids or, of names, characters and numbers, leaves to us to refuse.
var badJSON = []string{
	// structure
	``, ` `, "\n", `[`, `]`, `{`, `}`, `[[`, `[]]`, `{}}`, `[1`, `[1,`, `[,`, `[,1]`, `[1,]`, `[1,,2]`, `[1,,]`, `["",]`, `[1 2]`, `["a" "b"]`, `[1:2]`, `["a",`, `[""`,
	`["x"]]`, `[}`, `{]`, `[1}`, `{"a":1]`, `{"a"}`, `{"a":}`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a":1,,"b":2}`, `{,"a":1}`, `{"a":1 "b":2}`, `{"a" 1}`,
	`{"a"::1}`, `{"a",1}`, `{:1}`, `{"a":1 2}`, `{1:1}`, `{null:null}`, `{a:1}`, `{'a':1}`, `{[]:1}`, `{"a":1}{"b":2}`, `{"a":1}#`, `[1]x`, `[] []`, `1 2`, `"a" "b"`, `{"a":1}/**/`,
	`[/**/1]`, `[1]//`, `*`, `<null>`, `[*]`, `a`, `[a]`, `,`, `:`, `[""],`, `{"a":"b"}null`, "[1]\x00", "\x00", "[\x00]", "\x00[1]", "[1]\v", "[\v1]", "[\f]", "\u00a0[]", "[\u00a0]", "\u2060[]",
	"\ufeff", "\ufeff[]", "\ufeff{}", "[\ufeff]", "[]\ufeff", "\xef\xbb{}", "\xff\xfe[\x00]\x00", "\x00[\x00]", "[\x85]", `[<x>]`, `[☃]`, `{"a":"b"`, `{{"a":1}}`, `["a"`, `[{}`,
	`{"a":/*comment*/"b"}`, `{"a":"a" 123}`, `{"x", null}`, `{"x"::"b"}`, `{🇨🇭}`, `{"a":"a`, `{"a":1}}`, `[1]]`, `[","],`, `()`, "`a`", `;`, `[1;2]`,
	// literals
	`tru`, `t`, `nul`, `n`, `fals`, `[tru]`, `[nul]`, `[fals]`, `[True]`, `[TRUE]`, `[NULL]`, `[nil]`, `[truex]`, `[nulll]`, `truefalse`, `[undefined]`, `[NaN]`, `NaN`, `[Infinity]`, `[-Infinity]`,
	`[Inf]`, `[+Inf]`, `[-NaN]`, `[tr ue]`, "[tr\x00ue]", `[trUe]`,
	// numbers
	`-`, `[-]`, `[+1]`, `[+0]`, `[++1]`, `[--1]`, `[-+1]`, `[.5]`, `[-.5]`, `[.]`, `[1.]`, `[-1.]`, `[0.]`, `[0.e1]`, `[1.e1]`, `[2.e+3]`, `[1e]`, `[1e+]`, `[1e-]`, `[0e]`, `[0E+]`, `[1.0e]`, `[1.0e+]`,
	`[1eE2]`, `[1e2.5]`, `[01]`, `[-01]`, `[00]`, `[-00]`, `[012]`, `[-012.5]`, `[0x1]`, `[0x42]`, `[1x]`, `[1_000]`, `[1 000]`, `[0 1]`, `[1.2.3]`, `[- 1]`, `[1e1e1]`, `[-a]`, `[1a]`, `[1.8011670033376514H-308]`,
	`[0.1.2]`, `[9.e+]`, `[1+2]`, `[.-1]`, `[.2e-3]`, `[1ea]`, "[1\x00]", "[１]", "[1\xe5]", `[1e1️]`, `[-2.]`, `[2.e3]`, `[0.3e]`, `[0.3e+]`, `1.`, `1e`, `1e+`, `-x`,
	// strings
	`"`, `"a`, `"\`, `"\"`, `["`, `["a]`, `['a']`, `["a'`, `["\"]`, `["\\\"]`, `["\a"]`, `["\x41"]`, `["\x00"]`, `["\v"]`, `["\0"]`, `["\e"]`, `["\'"]`, `["\ "]`, `["\U0041"]`, `["\🌀"]`, "[\"\\\x00\"]", "[\"\\\n\"]",
	"[\"\\\t\"]", "[\"\\\xe5\"]", "[\"a\nb\"]", "[\"a\tb\"]", "[\"a\rb\"]", "[\"a\x00b\"]", "[\"\x1f\"]", "[\"\x01\"]", "\"\n\"", `["\u"]`, `["\u1"]`, `["\u12"]`, `["\u123"]`, `["\u00A"]`, `["\u123g"]`, `["\uqqqq"]`, `["\u 123"]`,
	`["\u-123"]`, `["\u+123"]`, `["\u00`, `"\u`, `"\u1234`, `[\n]`, `[\u0020"a"]`, `["a"\n]`, "[\"\\u\xe5\"]", `[“a”]`, `["\u{41}"]`, `["\u0x41"]`,
	// surrogates
	`["\ud800"]`, `["\uD800\u0041"]`, `["\uD800a"]`, `["\uD800\n"]`, `["\uD800\\"]`, `["\uD800\"]`, `["\uDC00"]`, `["\uDFFF"]`, `["\uDC00\uD800"]`, `["\uD800\uD800"]`, `["\uD800\uD800\uDC00"]`, `["\uD800\uDBFF"]`,
	`["\uD800\uE000"]`, `["\uD800\u"]`, `["\uD800\u1"]`, `["\uD800\u1x"]`, `["\uD834\uDd"]`, `["\uDd1ea"]`, `["\uD888\u1234"]`, `["\uD800`, `["\uD800\`, `["\uD800\u`, `["\uD800\uDC0`, `{"\ud800":1}`,
	// UTF-8
	"[\"\xff\"]", "[\"\x80\"]", "[\"\xbf\"]", "[\"\xc0\x80\"]", "[\"\xc0\xaf\"]", "[\"\xc1\xbf\"]", "[\"\xc2\"]", "[\"\xc3\x28\"]", "[\"\xc3a\"]", "[\"\xe0\x80\x80\"]", "[\"\xe0\x9f\xbf\"]", "[\"\xe2\x82\"]", "[\"\xe2(\xa1\"]",
	"[\"\xed\xa0\x80\"]", "[\"\xed\xbf\xbf\"]", "[\"\xed\xa0\xbd\xed\xb8\x80\"]", "[\"\xf0\x80\x80\x80\"]", "[\"\xf0\x8f\xbf\xbf\"]", "[\"\xf0\x90\x80\"]", "[\"\xf4\x90\x80\x80\"]", "[\"\xf5\x80\x80\x80\"]", "[\"\xf8\x88\x80\x80\x80\"]",
	"[\"\xfc\x83\xbf\xbf\xbf\xbf\"]", "[\"\xfe\"]", "[\"\xe9\"]", "[\"a\x80\"]", "[\"é\xa9\"]", "[\"日\xe6\"]", "[\"日\x97\"]", "\"\xc3", "\"\xe6\x97", "\"\xf0\x9f\x98", "{\"\xff\":1}", "[\xff]", "\xff",
	// names that stand twice
	`{"a":1,"a":2}`, `{"a":1,"b":2,"a":1}`, `{"a":1,"\u0061":2}`, `{"\u0061":1,"a":2}`, `{"\u0061":1,"\u0061":2}`, `{"":1,"":2}`, `[{"x":{"a":1,"a":1}}]`, `{"é":1,"\u00e9":2}`, `{"\ud83d\ude39":1,"😹":2}`, `{"/":1,"\/":2}`,
	`{"a\nb":1,"a\u000ab":2}`, `{"a\"b":1,"a\u0022b":2}`, `{"a":{"a":1},"a":1}`, `{"a\u0000":1,"a\u0000":2}`,
}

// Numbers no double holds, and nesting: there jsontext is laxer.
var badToUs = []string{
	`[1e309]`, `[-1e309]`, `[1e400]`, `1e999999999999`, `[123123e100000]`, `[0.4e00669999999999999999999999999999999999999999999999999999999999999999999999969999999006]`,
	`[1` + strings.Repeat("0", 309) + `]`, `[-1` + strings.Repeat("0", 400) + `]`, `[1` + strings.Repeat("0", 400) + `.5e-1]`,
	strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
}

func TestLexerVerdicts(t *testing.T) {
	if n := len(goodJSON) + len(badJSON) + len(badToUs); n < 150 {
		t.Errorf("only %d cases", n)
	}
	check := func(doc string, want, wantOracle bool) {
		t.Helper()
		if _, err := Scan(nil, []byte(doc)); (err == nil) != want {
			t.Errorf("%.80q: accepted %t, want %t (%v)", doc, err == nil, want, problemsOf(err))
		} else if err != nil {
			for _, p := range problemsOf(err) {
				if strings.HasSuffix(p, ": ") {
					t.Errorf("%.80q: a problem without words: %q", doc, p)
				}
			}
		}
		if jsontext.Value(doc).IsValid() != wantOracle {
			t.Errorf("%.80q: jsontext does not say %t", doc, wantOracle)
		}
	}
	for _, doc := range goodJSON {
		check(doc, true, true)
	}
	for _, doc := range badJSON {
		check(doc, false, false)
	}
	for _, doc := range badToUs {
		check(doc, false, true)
	}
	check(strings.Repeat("[", 64)+strings.Repeat("]", 64), true, true)
	check(`[`+strings.Repeat("9", 308)+`]`, true, true)
	check(`[1`+strings.Repeat("0", 308)+`]`, true, true)
}

// Strings are read in blocks and words: whatever they hold must be seen at every place in those.
func TestLexerStringsAtEveryOffset(t *testing.T) {
	for _, special := range []string{
		`"`, `\`, `\"`, `\n`, `\\`, `\x`, `\u00e9`, `\u00e`, `\ud800`, `\udc00`, `\ud83d\ude39`, `\ud83d\n`, "é", "\u07ff", "日", "\U0001f639", "\xc3", "\xc3é", "é\xa9", "\xe6\x97", "\xed\xa0\x80", "\xf0\x9f\x98",
		"\x80", "\xff", "\x00", "\x1f", "\n", "\x7f", " ", `\"é\n`, `é\\"`, `\\\"`, `éé日é`, `\né"`, "\\é", "\\\xff",
		"日本", "\U0001f639\U0001f44d", "日\xe6\x97", "日\xe6\x97z", "\U0001f639\xf0\x9f\x98", "\xf0\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xe0\xa0\x80", "\xe0\x9f\xbf", "\xed\x9f\xbf",
		`\u00e9\u65e5`, `\u00e9\n`, `\u00e9\ud83d\ude39\u0041`, `\u00e9\ud83d`, `\u00e9\u65eg`, `\u00e9\`, `\u00e9\u`, `\u00e9\q`,
	} {
		for before := range 150 {
			for _, after := range []int{0, 1, 5, 7, 8, 9, 62, 63, 64, 65, 66, 140} {
				// Blocks begin where a long string turns out not to be plain ASCII.
				for _, first := range []string{"", "a text that is not ASCII: é"} {
					doc := `"` + first + strings.Repeat("a", before) + special + strings.Repeat("b", after) + `"`
					_, err := Scan(nil, []byte(doc))
					if want := jsontext.Value(doc).IsValid(); (err == nil) != want {
						t.Fatalf("%q with %q and %d before and %d behind: accepted %t, want %t", special, first, before, after, err == nil, want)
					}
				}
			}
		}
	}
}

func TestLexerProblems(t *testing.T) {
	shape := small()
	for _, c := range []struct{ doc, want string }{
		{` `, ": is empty; a JSON object is needed"},
		{"\ufeff{}", ": is not valid JSON: it begins with a byte order mark, at byte 0"},
		{`{"free":{"a~/b":[1,2,x]}}`, "/free/a~0~1b/2: is not valid JSON: a value is needed, not 'x', at byte 21"},
		{`{"free":[1 2]}`, "/free: is not valid JSON: a comma or ] behind an item is needed, not '2', at byte 11"},
		{`{"free":1 "n":2}`, ": is not valid JSON: a comma or } behind a member is needed, not '\"', at byte 10"},
		{`{"free":1,}`, ": is not valid JSON: a name in double quotes is needed, not '}', at byte 10"},
		{`{"free" 1}`, "/free: is not valid JSON: a colon behind a name is needed, not '1', at byte 8"},
		{`{"free":"\x"}`, `/free: is not valid JSON: one of "\/bfnrtu behind a backslash is needed, not 'x', at byte 10`},
		{`{"free":"\u12x4"}`, "/free: is not valid JSON: a hexadecimal digit is needed, not 'x', at byte 13"},
		{`{"free":"\ud800!"}`, `/free: is not valid JSON: \ud800 is half a surrogate pair, at byte 9`},
		{"{\"free\":\"a\nb\"}", "/free: is not valid JSON: a string holds the control character U+000A; write it as an escape, at byte 10"},
		{"{\"free\":\"a\xffb\"}", "/free: is not valid JSON: a string is not UTF-8 (byte 0xff), at byte 10"},
		{"{\"free\":\xff}", "/free: is not valid JSON: a value is needed, not the byte 0xff, at byte 8"},
		{`{"free":01}`, "/free: is not valid JSON: a number may not begin with a needless 0, at byte 8"},
		{`{"free":1.}`, "/free: is not valid JSON: a digit is needed, not '}', at byte 10"},
		{`{"free":nil}`, "/free: is not valid JSON: only true, false and null may stand without quotes, at byte 8"},
		{`{"free":"\ud800\`, "/free: ends too early, at byte 16"},
		{`{"free":nul`, "/free: ends too early, at byte 11"},
		{`{"free":[1,{"a":1},{"\u0061":1,"a":2}]}`, "/free/2/a: stands twice; parsers disagree on which one counts"},
		{`{"free":` + strings.Repeat("[", 62) + `1,[[`, "/free" + strings.Repeat("/0", 61) + "/1: is nested deeper than 64 levels"},
	} {
		_, err := Scan(shape, []byte(c.doc))
		if got := problemsOf(err); len(got) != 1 || got[0] != c.want {
			t.Errorf("%q:\ngot  %q\nwant %q", c.doc, got, c.want)
		}
	}
}

func TestLexerUnescapes(t *testing.T) {
	shape := Object(Opt("x", Enum("a/\"\\\b\f\n\r\té日😹z")), Opt("type", Str()), Opt("text", Str())).ByOpenTag("type", Variants{"te\"xt": {"text"}})
	for _, c := range []struct{ doc, want string }{
		{`{"type":"other","x":"\u0061\/\"\\\b\f\n\r\t\u00e9\u65e5\ud83d\ude39z"}`, ""},
		{`{"type":"other","x":"\u0061"}`, `/x: must be one of "a/\"\\\b\f\n\r\té日😹z", not "\u0061"`},
		{`{"type":"te\u0022xt"}`, `/text: is required where type is te"xt`},
		{`{"type":"te\"xt"}`, `/text: is required where type is te"xt`},
		{`{"type":"\"te"}`, ""},
	} {
		_, err := Scan(shape, []byte(c.doc))
		got := strings.Join(problemsOf(err), "; ")
		if got != strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\b`, "\b", `\f`, "\f", `\n`, "\n", `\r`, "\r", `\t`, "\t").Replace(c.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", c.doc, got, c.want)
		}
	}
}

// Beyond a few names a hash table takes over; objects nest while it is in use.
func TestNamesOfManyMembers(t *testing.T) {
	object := func(n int, extra string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"name%d":%d,`, i, i)
		}
		return "{" + b.String() + extra + "}"
	}
	for _, n := range []int{0, 1, fewNames - 1, fewNames, fewNames + 1, 31, 32, 33, 100, 1000, 5000} {
		inner := object(n, `"last":0`)
		if _, err := Scan(nil, []byte(object(n, `"in":`+inner+`,"more":`+inner+`,"name":0`))); err != nil {
			t.Errorf("%d distinct names: %v", n, problemsOf(err))
		}
		for _, twice := range []string{`"in":` + inner + `,"in":0`, `"in":` + inner + `,"\u0069n":0`, `"\u0069n":` + inner + `,"in":0`} {
			doc := object(n, twice)
			if _, err := Scan(nil, []byte(doc)); len(problemsOf(err)) != 1 || !strings.HasPrefix(problemsOf(err)[0], "/in: stands twice") {
				t.Errorf("%d names and then %s: %v", n, twice[len(twice)-10:], problemsOf(err))
			}
		}
		long := strings.Repeat("x", 20) + "é" + strings.Repeat("x", 200) + "/" + strings.Repeat("y", 100)
		for _, twice := range []string{`"%[1]s":0,"%[2]s":0`, `"%[2]s":0,"%[1]s":0`, `"%[2]s":0,"%[2]s":0,"%[1]s":0`} {
			doc := object(n, fmt.Sprintf(twice, long, strings.Replace(long, "/", `\/`, 1)))
			if _, err := Scan(nil, []byte(doc)); len(problemsOf(err)) != 1 || !strings.Contains(problemsOf(err)[0], ": stands twice") {
				t.Errorf("a long name with an escape stands twice behind %d and was let through", n)
			}
		}
		for _, i := range []int{0, n / 2, n - 1} {
			doc := object(n, fmt.Sprintf(`"in":%s,"name%d":1`, inner, i))
			if _, err := Scan(nil, []byte(doc)); n > 0 && err == nil {
				t.Errorf("name%d of %d stands twice and was let through", i, n)
			}
		}
	}
}

// Names with one hash are rare, and must still be told apart.
func TestNamesOfOneHash(t *testing.T) {
	src := []byte(`{"ab":0,"a\u0062":0}`)
	var n names
	for _, s := range []seenName{{at: 1}, {at: 8, escaped: true}} {
		for text, want := range map[string]bool{"ab": true, "a": false, "": false, "abc": false, "ac": false, `a\u0062`: false, `ab":0`: false, `ab":0,"a\u0062":0}`: false, `ab":0,"a\u0062":0}and more`: false} {
			if got := n.same(src, s, []byte(text)); got != want {
				t.Errorf("the name at %d is the same as %s: %t, want %t", s.at, text, got, want)
			}
		}
	}
}

// Sixteen times the input may take some sixteen times the time, whatever is sent, and not its square.
func TestScanIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	join := func(n int, item func(i int) string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = item(i)
		}
		return strings.Join(items, ",")
	}
	prefix := strings.Repeat("p", 60)
	for name, doc := range map[string]func(n int) string{
		"nested arrays": func(n int) string { return strings.Repeat("[", 20*n) },
		"arrays in turn": func(n int) string {
			return "[" + join(n/10, func(int) string { return strings.Repeat("[", 60) + strings.Repeat("]", 60) }) + "]"
		},
		"names": func(n int) string { return "{" + join(n, func(i int) string { return fmt.Sprintf(`"%d":0`, i) }) + "}" },
		"names with one prefix": func(n int) string {
			return "{" + join(n, func(i int) string { return fmt.Sprintf(`"%s%d":0`, prefix, i) }) + "}"
		},
		"names with escapes": func(n int) string {
			return "{" + join(n, func(i int) string { return fmt.Sprintf(`"\u0061\n%d":0`, i) }) + "}"
		},
		"objects of many names": func(n int) string {
			one := "{" + join(40, func(i int) string { return fmt.Sprintf(`"%d":0`, i) }) + "}"
			return "[" + join(n/40, func(int) string { return one }) + "]"
		},
		"objects of many names in each other": func(n int) string {
			one := "{" + join(n/64, func(i int) string { return fmt.Sprintf(`"%d":0`, i) }) + `,"in":`
			return strings.Repeat(one, 64) + "0" + strings.Repeat("}", 64)
		},
		"escapes":       func(n int) string { return `"` + strings.Repeat(`\n`, 10*n) + `"` },
		"long escapes":  func(n int) string { return `"` + strings.Repeat(`\ud83d\ude39`, 10*n) + `"` },
		"letters":       func(n int) string { return `"` + strings.Repeat("日é😹", 4*n) + `"` },
		"tiny strings":  func(n int) string { return "[" + join(5*n, func(int) string { return `"a"` }) + "]" },
		"long number":   func(n int) string { return strings.Repeat("9", n) + "." + strings.Repeat("9", 10*n) + "e-1" },
		"large numbers": func(n int) string { return "[" + join(n, func(int) string { return "1.7976931348623157e308" }) + "]" },
		"whitespace":    func(n int) string { return strings.Repeat(" \n", 10*n) + "1" },
	} {
		t.Run(name, func(t *testing.T) {
			const n = 6_250
			small, large := []byte(doc(n)), []byte(doc(16*n))
			// The thread's own processor time: what else the machine does is not in it.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			took := func(body []byte) time.Duration {
				best := time.Hour
				for range 5 {
					start := threadTime(t)
					_, _ = Scan(nil, body)
					best = min(best, threadTime(t)-start)
				}
				return best
			}
			// Linear is 16, quadratic 256; what lies between is for caches, page faults and the neighbours.
			few, many := took(small), took(large)
			if many > 100*few && many > 5*time.Millisecond {
				t.Errorf("%d bytes take %v, %d bytes take %v", len(small), few, len(large), many)
			}
			if perByte := many / time.Duration(len(large)); perByte > time.Microsecond {
				t.Errorf("%v per byte", perByte)
			}
		})
	}
}

// A scanner must not keep the body it has read, nor what it needed for a huge one.
func TestScannerForgets(t *testing.T) {
	for _, size := range []int{1, 20_000} {
		var doc strings.Builder
		doc.WriteString(`{"messages":[` + strings.Repeat(`{"role":"user","content":""},`, size) + `{"role":1,"content":""}],"free":{`)
		for i := range 5 * size {
			fmt.Fprintf(&doc, `"%d":0,`, i)
		}
		last := fmt.Sprintf(`"\u0061%s":0`, strings.Repeat("x", 5*size))
		doc.WriteString(last + "," + last + "}}")
		body := []byte(doc.String())
		collected := make(chan struct{})
		runtime.AddCleanup(&body[0], func(c chan struct{}) { close(c) }, collected)
		s := scanners.New().(*scanner)
		s.lex, s.out = lexer{src: body}, Scanned{Raw: body}
		if err := s.document(small()); !errors.Is(err, errRepeated) || len(s.notes) != size || cap(s.names.seen) < 5*size || cap(s.names.scratch) < 5*size {
			t.Fatalf("%v; %d notes, %d names, %d bytes of a name: the scan went otherwise", err, len(s.notes), cap(s.names.seen), cap(s.names.scratch))
		}
		s.release()
		body = nil
		for range 10 {
			runtime.GC()
		}
		select {
		case <-collected:
		case <-time.After(time.Minute):
			t.Error("the body is still reachable")
		}
		if n := cap(s.names.seen) + cap(s.names.slots) + cap(s.names.scratch) + cap(s.notes) + cap(s.text); n > 1<<16 {
			t.Errorf("%d places are kept", n)
		}
		runtime.KeepAlive(s)
	}
}

// FuzzLexer holds our reading against that of jsontext: we accept what it accepts, but for depth and numbers.
func FuzzLexer(f *testing.F) {
	for _, docs := range [][]string{goodJSON, badJSON, badToUs} {
		for _, doc := range docs {
			f.Add([]byte(doc))
		}
	}
	f.Add(chat(1000, true))
	any := Any()
	f.Fuzz(func(t *testing.T, doc []byte) {
		want := jsontext.Value(doc).IsValid()
		for _, shape := range []*Shape{nil, any} {
			_, err := Scan(shape, doc)
			switch {
			case err == nil && !want:
				t.Fatalf("%q is let through", doc)
			case err != nil && want && !stricter(err):
				t.Fatalf("%q is refused: %q", doc, problemsOf(err))
			}
		}
	})
}

// stricter is whether all problems are those that only we have.
func stricter(err error) bool {
	var e *llm.Error
	if !errors.As(err, &e) || len(e.Problems) == 0 {
		return false
	}
	for _, p := range e.Problems {
		if p.Msg != errDepth.Error() && !strings.HasPrefix(p.Msg, "is a number too large") {
			return false
		}
	}
	return true
}

func TestTransposed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		x := rnd.Uint64() & rnd.Uint64()
		var want uint64
		for row := range 8 {
			for column := range 8 {
				want |= x >> (8*row + column) & 1 << (8*column + row)
			}
		}
		if got := transposed(x); got != want {
			t.Fatalf("%016x: got %016x, want %016x", x, got, want)
		}
	}
}
