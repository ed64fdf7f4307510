package pii

import (
	"strings"
)

// A secretShape is how the keys of one provider look: a prefix, then a body of some characters.
type secretShape struct {
	prefix   string
	set      secretSet
	min, max int // bytes of the body; no max if it is 0
	name     string
}

type secretSet int

const (
	alnums   secretSet = iota
	words              // and '_' and '-'
	dotted             // and '.'
	hexes              // of hexadecimal
	capitals           // capitals and digits
	base64s            // and '+', '/', '='
)

func (s secretSet) has(c byte) bool {
	switch s {
	case hexes:
		return isHex(c)
	case capitals:
		return isUpper(c) || isDigit(c)
	case words:
		return isAlnum(c) || c == '_' || c == '-'
	case dotted:
		return isAlnum(c) || c == '_' || c == '-' || c == '.'
	case base64s:
		return isAlnum(c) || c == '+' || c == '/' || c == '=' || c == '_' || c == '-'
	}
	return isAlnum(c)
}

// secretShapes are as the providers' documentation and their keys show. Of two prefixes the longer one stands first.
var secretShapes = byFirst([]secretShape{
	{"sk-slc-", words, 20, 0, "sluice"},
	{"sk-ant-", words, 20, 0, "anthropic"},
	{"sk-proj-", words, 20, 0, "openai"},
	{"sk-or-v1-", alnums, 32, 0, "openrouter"},
	{"sk-", words, 20, 0, "openai"},
	{"AIza", words, 35, 35, "google"},
	{"GOCSPX-", words, 28, 28, "google"},
	{"ya29.", words, 20, 0, "google"},
	{"AKIA", capitals, 16, 16, "aws"},
	{"ASIA", capitals, 16, 16, "aws"},
	{"ABIA", capitals, 16, 16, "aws"},
	{"ACCA", capitals, 16, 16, "aws"},
	{"ABSK", base64s, 60, 0, "aws"},
	{"ghp_", alnums, 36, 0, "github"},
	{"gho_", alnums, 36, 0, "github"},
	{"ghu_", alnums, 36, 0, "github"},
	{"ghs_", alnums, 36, 0, "github"},
	{"ghr_", alnums, 36, 0, "github"},
	{"github_pat_", words, 36, 0, "github"},
	{"glpat-", dotted, 20, 0, "gitlab"},
	{"gldt-", words, 20, 0, "gitlab"},
	{"glrt-", dotted, 20, 0, "gitlab"},
	{"glptt-", alnums, 40, 0, "gitlab"},
	{"glcbt-", words, 20, 0, "gitlab"},
	{"xoxb-", words, 20, 0, "slack"},
	{"xoxp-", words, 20, 0, "slack"},
	{"xoxa-", words, 20, 0, "slack"},
	{"xoxr-", words, 20, 0, "slack"},
	{"xoxs-", words, 20, 0, "slack"},
	{"xoxe-", words, 20, 0, "slack"},
	{"xoxe.xox", words, 20, 0, "slack"},
	{"xapp-", words, 20, 0, "slack"},
	{"sk_live_", alnums, 16, 0, "stripe"},
	{"sk_test_", alnums, 16, 0, "stripe"},
	{"rk_live_", alnums, 16, 0, "stripe"},
	{"rk_test_", alnums, 16, 0, "stripe"},
	{"whsec_", base64s, 24, 0, "stripe"},
	{"hf_", alnums, 30, 0, "huggingface"},
	{"api_org_", alnums, 30, 0, "huggingface"},
	{"gsk_", alnums, 40, 0, "groq"},
	{"xai-", alnums, 60, 0, "xai"},
	{"pplx-", alnums, 32, 0, "perplexity"},
	{"r8_", alnums, 30, 0, "replicate"},
	{"nvapi-", words, 40, 0, "nvidia"},
	{"csk-", alnums, 40, 0, "cerebras"},
	{"fw_", alnums, 20, 30, "fireworks"},
	{"tgp_v1_", words, 30, 0, "together"},
	{"dapi", hexes, 32, 34, "databricks"},
	{"npm_", alnums, 36, 0, "npm"},
	{"pypi-AgE", words, 50, 0, "pypi"},
	{"rubygems_", hexes, 48, 48, "rubygems"},
	{"dckr_pat_", words, 20, 0, "docker"},
	{"dop_v1_", hexes, 64, 64, "digitalocean"},
	{"doo_v1_", hexes, 64, 64, "digitalocean"},
	{"shpat_", hexes, 32, 32, "shopify"},
	{"shpss_", hexes, 32, 32, "shopify"},
	{"shpca_", hexes, 32, 32, "shopify"},
	{"SG.", dotted, 60, 0, "sendgrid"},
	{"key-", hexes, 32, 32, "mailgun"},
	{"AC", hexes, 32, 32, "twilio"},
	{"SK", hexes, 32, 32, "twilio"},
	{"sq0atp-", words, 22, 0, "square"},
	{"sq0csp-", words, 40, 0, "square"},
	{"EAAA", words, 56, 0, "square"},
	{"hvs.", words, 24, 0, "vault"},
	{"hvb.", words, 24, 0, "vault"},
	{"lin_api_", alnums, 32, 0, "linear"},
	{"ntn_", alnums, 40, 0, "notion"},
	{"figd_", words, 36, 0, "figma"},
	{"glsa_", words, 36, 0, "grafana"},
	{"glc_", base64s, 32, 0, "grafana"},
	{"phc_", words, 40, 0, "posthog"},
	{"sntrys_", base64s, 40, 0, "sentry"},
	{"PMAK-", words, 50, 0, "postman"},
	{"ATATT3", base64s, 60, 0, "atlassian"},
	{"lsv2_pt_", words, 32, 0, "langsmith"},
	{"AGE-SECRET-KEY-1", capitals, 58, 58, "age"},
})

// byFirst sorts shapes by the first byte of their prefixes.
func byFirst(all []secretShape) (t [128][]secretShape) {
	for _, s := range all {
		t[s.prefix[0]] = append(t[s.prefix[0]], s)
	}
	return t
}

// token runs what is looked for in long tokens on the one from from to to.
func (w *work) token(from, to int) {
	w.encoded(from, to)
	bearer := from >= 7 && hasFoldPrefix(w.view[from-7:], "bearer ")
	for i := from; i < to; {
		end := w.secretAt(i, to)
		if end == 0 && bearer {
			end, bearer = w.bearer(i, to), false
		}
		if end > 0 {
			i = end
			continue
		}
		end = i
		for end < to && isAlnum(w.view[end]) {
			end++
		}
		w.wallet(i, end)
		i = end + 1
	}
}

// secretAt is a key that begins at i; it gives its end, 0 if there is none.
func (w *work) secretAt(i, to int) int {
	v := w.view[i:to]
	if !w.wants(Secret) {
		return 0
	}
	if strings.HasPrefix(v, "eyJ") {
		return w.jwt(i, to)
	}
	for _, s := range secretShapes[v[0]] {
		if !strings.HasPrefix(v, s.prefix) {
			continue
		}
		n := len(s.prefix)
		for n < len(v) && s.set.has(v[n]) {
			n++
		}
		if s.max > 0 && n-len(s.prefix) > s.max {
			continue
		}
		for strings.IndexByte("-_.", v[n-1]) >= 0 {
			n--
		}
		if body := v[len(s.prefix):max(n, len(s.prefix))]; len(body) >= s.min && random(body) {
			w.add(Secret, i, i+n, 0.95, "secret/"+s.name, false)
			return i + n
		}
	}
	return 0
}

// random says whether a body looks as if nobody had thought of it: "sk-this-is-a-long-name-of-a-thing" is no key.
func random(body string) bool {
	var seen [256]bool
	kinds, digits, longest, run := 0, 0, 0, 0
	for i := range len(body) {
		c := body[i]
		if !seen[c] {
			seen[c] = true
			kinds++
		}
		switch {
		case isDigit(c):
			digits++
			run++
		case isLetter(c):
			run++
		default:
			run = 0
		}
		longest = max(longest, run)
	}
	return kinds >= 8 && longest >= 10 && (digits > 0 || strings.ToLower(body) != body && strings.ToUpper(body) != body)
}

// jwt is a JSON web token: two parts that are objects in base64, and a signature or none.
func (w *work) jwt(i, to int) int {
	v := w.view
	end, dots := i, 0
	for end < to && (isAlnum(v[end]) || v[end] == '_' || v[end] == '-' || v[end] == '.') {
		if v[end] == '.' {
			dots++
		}
		end++
	}
	for end > i && v[end-1] == '.' {
		end--
	}
	if n := strings.IndexByte(v[i:end], '.'); dots < 2 || n < 0 || !strings.HasPrefix(v[i+n:end], ".eyJ") {
		return 0
	}
	w.add(Secret, i, end, 0.95, "secret/jwt", false)
	return end
}

// bearer is a token after the word, which is a header's even without its name.
func (w *work) bearer(i, to int) int {
	for i < to && strings.IndexByte(".,", w.view[to-1]) >= 0 {
		to--
	}
	if body := w.view[i:to]; !random(body) || placeholder(body) {
		return 0
	}
	w.add(Secret, i, to, 0.85, "secret/bearer", false)
	return to
}

// privateKey is a private key in PEM (RFC 7468) whose first dash is at i; it gives where to go on. A key whose end is
// missing is found as well, up to where its base64 ends.
func (w *work) privateKey(i int) int {
	const begin, longest = "-----BEGIN ", 16 << 10
	v := w.view
	if !strings.HasPrefix(v[i:], begin) {
		for i < len(v) && v[i] == '-' && !strings.HasPrefix(v[i:], begin) {
			i++
		}
		return i
	}
	limit := min(len(v), i+longest)
	k := i + len(begin)
	for k < limit && (isUpper(v[k]) || isDigit(v[k]) || v[k] == ' ') {
		k++
	}
	switch {
	case k == len(v):
		w.unclosed(i)
		return k
	case !strings.Contains(v[i:k], "PRIVATE KEY") || !strings.HasPrefix(v[k:], "-----"):
		if len(v)-k < 5 && strings.Trim(v[k:], "-") == "" {
			w.unclosed(i)
		}
		return k
	}
	end, closed := pemBody(v[:limit], k+5)
	if !closed && limit == len(v) {
		w.unclosed(i)
	}
	if end > k+5 {
		w.add(Secret, i, end, 1, "secret/private_key", false)
	}
	return max(end, k)
}

// unclosed notes that a private key begins at i whose end is not there yet.
func (w *work) unclosed(i int) {
	if w.open < 0 && i >= w.from {
		w.open = i
	}
}

// pemBody gives where the key ends whose body begins at i: after its last dashes if they are there, else after the last
// line of base64. It is closed unless v ends before that is known.
func pemBody(v string, i int) (end int, closed bool) {
	gap := func(c byte) bool { return isSpace(c) || c == '"' || c == ',' || c == '\'' }
	end = i
	for k := i; ; {
		for k < len(v) && gap(v[k]) {
			k++
		}
		start := k
		for k < len(v) && !gap(v[k]) {
			k++
		}
		word := v[start:k]
		switch {
		case strings.HasPrefix(word, "-----"):
			n := strings.Index(v[start+5:min(len(v), start+80)], "-----")
			if n >= 0 {
				return start + n + 10, true
			}
			return min(len(v), start+80), start+80 <= len(v)
		case isBase64(word):
			if len(word) >= 16 || k == len(v) {
				end = k
			}
			if k == len(v) {
				return end, false
			}
		case !strings.HasSuffix(word, ":"): // a header: "DEK-Info:"
			return end, true
		}
	}
}

func isBase64(s string) bool {
	for i := range len(s) {
		if c := s[i]; sets[c]&inBase64 == 0 && c != '=' {
			return false
		}
	}
	return true
}
