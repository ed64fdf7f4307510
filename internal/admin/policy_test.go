package admin

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/internal/control"
)

const policyFile = "testdata/policy"

// policyHead explains the policy to whoever reviews it.
const policyHead = `# Who may do what: every route of the admin API, with every role. It is written by go test ./internal/admin -run TestPolicy -update, and read by people.
#
# A block is a call: the route, the path where that is another, and the body. {org}, {team}, {user}, {key}, {account}, {token}, {session} stand for
# an object, by its id, and {key_name} and so on by its name, of which there are three: one of their own (own), one of another team and
# user of the same organisation (sibling), and one of another organisation (other). Those whose realm is the whole gateway have all of them.
#
# Columns are who asks: owner, admin, operator, auditor of the whole gateway; of their organisation; of their team; a member, whose realm is a user;
# an owner of the whole gateway who asks with a token whose scopes are keys.read and credentials.create; and nobody. Each asks by cookie and by token.
#
#   y  it is done                       n  their role, realm or scopes do not allow it (403)
#   p  done, after a fresh proof of who they are; a token does it only if its scopes name the act itself
#   s  done by people who are signed in, not by tokens
#   -  what they name is not there for them (404)
#   x  they have not shown who they are (401)
#   b  the request itself makes no sense here (400), for them as for an owner
#   c  something else forbids it (409)
#   Of a/b the first is by cookie, the second by token.
`

// A call is a block of the policy.
type call struct {
	route, path, body string
	rows              map[string][]string // cells by place
}

func (c *call) text() string {
	text := c.route
	if _, path, _ := strings.Cut(c.route, " "); path != c.path {
		text += " " + c.path
	}
	if c.body != "" {
		text += " " + c.body
	}
	return text
}

// rowsOf are the places that a call is made of.
func (c *call) rowsOf() []int {
	if placeholder.MatchString(c.path + c.body) {
		return []int{own, sibling, other}
	}
	return []int{own}
}

var placeholder = regexp.MustCompile(`\{(org|team|user|key|account|email|person|token|session)(_name)?\}`)

func readPolicy(t testing.TB) (calls []*call) {
	t.Helper()
	text, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			cells := strings.Fields(line)
			calls[len(calls)-1].rows[cells[0]] = cells[1:]
		default:
			parts := strings.SplitN(line, " ", 3)
			c := &call{route: parts[0] + " " + parts[1], path: parts[1], rows: map[string][]string{}}
			if len(parts) > 2 {
				c.body = parts[2]
				if strings.HasPrefix(parts[2], "/") {
					c.path, c.body, _ = strings.Cut(parts[2], " ")
				}
			}
			calls = append(calls, c)
		}
	}
	return calls
}

// columns are who asks, in the order of the policy.
func (w *world) columns() (all []*person) {
	for _, realm := range realms[:3] {
		for _, role := range control.Roles[:4] {
			all = append(all, w.people[string(role)+" "+realm])
		}
	}
	return append(all, w.people["member user"], w.people["scoped gateway"], &person{name: "nobody"})
}

const heading = "\t%-8s gateway: o   a   p   u     organisation: o   a   p   u     team: o   a   p   u     member scoped nobody\n"

// row writes cells as the heading has them.
func row(place string, cells []string) string {
	text := fmt.Sprintf("\t%-8s         ", place)
	for i, cell := range cells {
		text += fmt.Sprintf("%*s%-3s", []int{1, 1, 1, 1, 17, 1, 1, 1, 9, 1, 1, 1, 3, 4, 4}[i], "", cell)
	}
	return strings.TrimRight(text, " ") + "\n"
}

// cell is what two answers to the same, one by cookie and one by token, are in the policy.
func cell(cookie, token *httptest.ResponseRecorder) string {
	a, b := mark(cookie), mark(token)
	switch {
	case a == b:
		return a
	case a == "y" && code(token) == control.CodeProof:
		return "p"
	case a == "y" && code(token) == "no_session":
		return "s"
	}
	return a + "/" + b
}

func mark(rec *httptest.ResponseRecorder) string {
	if rec.Code/100 == 2 {
		return "y"
	}
	if m := map[int]string{400: "b", 401: "x", 403: "n", 404: "-", 409: "c"}[rec.Code]; m != "" {
		return m
	}
	return fmt.Sprint(rec.Code)
}

// S5, S24: every route, with every role of every realm, on what is theirs and what is others', by cookie and by token.
func TestPolicy(t *testing.T) {
	w := newWorld(t, "")
	calls := readPolicy(t)
	routes := map[string]*Route{}
	for i := range w.handler.table {
		r := &w.handler.table[i]
		routes[r.pattern()] = r
		if !slices.ContainsFunc(calls, func(c *call) bool { return c.route == r.pattern() }) {
			t.Errorf("%s is not in %s", r.pattern(), policyFile)
		}
	}
	var out strings.Builder
	out.WriteString(policyHead)
	group := ""
	once := map[string]bool{}
	for _, c := range calls {
		if once[c.text()] {
			t.Errorf("%s is there twice", c.text())
		}
		once[c.text()] = true
		r := routes[c.route]
		if r == nil {
			t.Errorf("%s: there is no such route", c.route)
			continue
		}
		if g := strings.SplitN(r.Path+"///", "/", 4)[2]; g != group {
			group = g
			fmt.Fprintf(&out, "\n"+heading, "")
		}
		fmt.Fprintln(&out, c.text())
		for _, place := range c.rowsOf() {
			cells := w.walk(c, r, place)
			name := places[place]
			if len(c.rowsOf()) == 1 {
				name = "any"
			}
			if got, want := strings.Join(cells, " "), strings.Join(c.rows[name], " "); got != want && !*rewrite {
				t.Errorf("%s\n%s%swant%s", c.text(), fmt.Sprintf(heading, ""), row(name, cells), strings.TrimPrefix(row(name, pad(c.rows[name])), "\t"))
			}
			out.WriteString(row(name, cells))
		}
	}
	if *rewrite {
		if err := os.WriteFile(policyFile, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func pad(cells []string) []string { return append(slices.Clone(cells), make([]string, 15)...)[:15] }

// walk makes a call as everybody, and looks at each answer: what the table of acts says holds whatever the policy says, and nobody
// bounded is told of what is others'.
func (w *world) walk(c *call, r *Route, place int) (cells []string) {
	method, _, _ := strings.Cut(c.route, " ")
	path, body := w.fill(c.path, place), w.fill(c.body, place)
	for _, p := range w.columns() {
		ways := []way{byCookie, byToken}
		switch p.name {
		case "scoped gateway":
			ways = []way{byToken, byToken}
		case "nobody":
			ways = []way{byNothing, byNothing}
		}
		var answers [2]*httptest.ResponseRecorder
		for i, how := range ways {
			answers[i] = w.try(w.request(p, how, method, path, body))
			w.look(c, r, p, how, place, answers[i])
		}
		cells = append(cells, cell(answers[0], answers[1]))
		if cells[len(cells)-1] == "p" {
			if a := w.try(w.request(p.stale, byCookie, method, path, body)); code(a) != control.CodeProof {
				w.t.Errorf("%s by %s, who proved long ago that it is them: %d %s", c.text(), p.name, a.Code, a.Body)
			}
		}
	}
	return cells
}

// look judges an answer by what holds for all routes.
func (w *world) look(c *call, r *Route, p *person, how way, place int, a *httptest.ResponseRecorder) {
	w.t.Helper()
	wrong := func(format string, args ...any) {
		w.t.Errorf("%s (%s) by %s, %s: %d %.300s: %s", c.text(), places[place], p.name, how, a.Code, a.Body, fmt.Sprintf(format, args...))
	}
	done, text := a.Code/100 == 2, a.Body.String()
	switch {
	case r.Act == "" && r.For == ForAnybody:
	case p.name == "nobody":
		if a.Code != 401 {
			wrong("nobody may come here")
		}
	case r.Act != "":
		actor := p.actor
		if how == byToken {
			actor.Fresh, actor.Session = false, ""
			if p.name == "scoped gateway" {
				actor.Scopes = []string{"keys.read", "credentials.create"}
			}
		}
		if actor.May(r.Act) != nil && a.Code != 403 {
			wrong("their role does not allow %s", r.Act)
		}
	}
	if done && p.realm.Kind != "" && r.Act != "" {
		hidden := []int{other}
		if p.realm.Kind != "organisation" {
			hidden = append(hidden, sibling)
		}
		for _, at := range hidden {
			for what, v := range w.things[at] {
				if strings.Contains(text, v) && !(what == "org" && at == sibling) && !strings.HasSuffix(what, "_name") {
					wrong("it tells the %s of %s", what, places[at])
				}
			}
		}
	}
	if p.realm.Kind != "" && (strings.Contains(text, "planted") || done && r.Path == "/admin/ledger" && (strings.Contains(text, "main") || strings.Contains(text, `"replica"`))) {
		wrong("it tells how the gateway is built (S18)")
	}
	w.reveals(text, wrong)
}

// reveals finds planted secrets in an answer.
func (w *world) reveals(text string, wrong func(string, ...any)) {
	w.t.Helper()
	for what, secret := range w.planted {
		if strings.Contains(text, secret) {
			wrong("it tells the %s", what)
		}
	}
}
