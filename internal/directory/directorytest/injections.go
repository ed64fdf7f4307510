package directorytest

import (
	"fmt"
	"slices"
	"strings"
)

// Injections are 200 different texts that mean something to one program or another: databases, Redis, shells,
// log readers, browsers, path and URL parsers. Each is valid UTF-8 without NUL and line breaks.
func Injections() []string {
	seeds := []string{
		`' OR '1'='1`, `' OR 1=1 --`, `" OR ""="`, `'; DROP TABLE keys; --`, `'; DELETE FROM keys WHERE ''='`, `1; UPDATE keys SET spec='{}'`,
		`' UNION SELECT hash FROM keys --`, `') OR ('a'='a`, `\'; SELECT pg_sleep(0)--`, `'||(SELECT version())||'`, `$1`, `$$`, `?`, `:name`, `@p1`, `%s`, `%n%n`,
		`{{.}}`, `${HOME}`, `$(id)`, "`id`", `| cat /etc/passwd`, `../../etc/passwd`, `..\..\x`, `%2e%2e%2f`, `%00`, `/*`, `*/`, `--`, `#`, `;`, `\`, `\\`, `'`, `"`, `''`, `"""`,
		`FLUSHALL`, `*1 $8 FLUSHALL`, `{tag}`, `}{`, `[1]`, `<script>alert(1)</script>`, `"><img src=x>`, `javascript:0`, `null`, `true`, `0`, `-1`, `1e309`, `NaN`,
		`{"$gt":""}`, `{"disabled":false}`, `","models":["*"],"x":"`, `&disabled=false`, `?org=other`, `a=b&a=c`, `ＤＲＯＰ`, `ʼ OR 1=1`, "\u202egpj", "\ufeff", "é́́́", `İ`, `ß`, `🙂`, `CHAR(39)`, `0x27`,
	}
	var all []string
	for i := 0; len(all) < 200; i++ {
		s := seeds[i%len(seeds)]
		switch i / len(seeds) {
		case 1:
			s = "sk-slc-" + s
		case 2:
			s = strings.Repeat(s, 3)
		case 3:
			s = fmt.Sprintf("a%sb%s", s, strings.ToUpper(s))
		}
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
