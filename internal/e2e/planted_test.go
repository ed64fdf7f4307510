package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"sluice/internal/redistest"
)

// plants are secrets and prompts that must appear nowhere but where they belong.
type plants struct {
	mu     sync.Mutex        // guards all that follows
	cores  map[string]string // by what they are: the part that nobody else has, which encodings leave as it is
	forms  map[string][][]byte
	found  map[string]string // PLACE: WHAT to where it is seen
	places map[string]int    // bytes that were looked at
}

func newPlants() *plants {
	return &plants{cores: map[string]string{}, forms: map[string][][]byte{}, found: map[string]string{}, places: map[string]int{}}
}

// core draws the part of a secret that is looked for: 32 letters and digits.
func (p *plants) core(what string) string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	core := strings.ReplaceAll(strings.ReplaceAll(base64.RawURLEncoding.EncodeToString(b[:]), "-", "q"), "_", "Z") + rand.Text()[:5]
	p.add(what, core)
	return core
}

// add makes a secret one that others drew.
func (p *plants) add(what, core string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cores[what], p.forms[what] = core, needles(core)
}

// needles are the forms in which a half of a secret would be seen: a text that was cut shows a half, too.
func needles(core string) (forms [][]byte) {
	var all []string
	for _, half := range []string{core[:len(core)/2], core[len(core)/2:]} {
		all = append(all, half, hex.EncodeToString([]byte(half)), strings.ToUpper(hex.EncodeToString([]byte(half))))
		for pad := range 3 { // wherever it begins in what was encoded; the ends depend on what is beside them
			text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", pad) + half))
			all = append(all, strings.NewReplacer("+", "-", "/", "_").Replace(text[pad+1:len(text)-2]), text[pad+1:len(text)-2])
		}
		escaped := ""
		for _, c := range []byte(half) {
			escaped += fmt.Sprintf("%%%02X", c)
		}
		all = append(all, escaped)
	}
	slices.Sort(all)
	for _, form := range slices.Compact(all) {
		forms = append(forms, []byte(form))
	}
	return forms
}

// look searches a place.
func (p *plants) look(place string, text []byte, but ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places[place] += len(text)
	for what, forms := range p.forms {
		if slices.ContainsFunc(but, func(b string) bool { return strings.HasPrefix(what, b) }) {
			continue
		}
		for _, n := range forms {
			if i := bytes.Index(text, n); i >= 0 {
				p.found[place+": "+what] = fmt.Sprintf("%q", text[max(0, i-80):min(len(text), i+60)])
				break
			}
		}
	}
}

// verdict tells what was found.
func (p *plants) verdict(t *testing.T) {
	t.Helper()
	total := 0
	for _, n := range p.places {
		total += n
	}
	t.Logf("%d secrets and prompts were looked for in %d places, %d bytes: %d hits", len(p.cores), len(p.places), total, len(p.found))
	for _, at := range slices.Sorted(maps.Keys(p.found)) {
		t.Errorf("%s: %s", at, p.found[at])
	}
}

// A secret in any of its forms, whole or half, is found; the test can fail.
func TestPlantsAreFound(t *testing.T) {
	for _, form := range []func(string) string{
		func(s string) string { return s }, func(s string) string { return "Bearer " + s[:22] }, func(s string) string { return "..." + s[15:] },
		func(s string) string { return hex.EncodeToString([]byte("ab" + s)) }, func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) },
		func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }, func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u:" + s + ":x")) },
		func(s string) string {
			out := ""
			for _, c := range []byte(s) {
				out += fmt.Sprintf("%%%02X", c)
			}
			return out
		},
	} {
		p := newPlants()
		core := p.core("one")
		p.look("here", []byte("before "+form("sk-"+core)+" after"))
		if len(p.found) != 1 {
			t.Errorf("%s is not found", form("sk-"+core))
		}
		p.found = map[string]string{}
		p.look("here", []byte("before "+form("sk-"+newPlants().core("other"))+" after"))
		if len(p.found) != 0 {
			t.Errorf("another is taken for it: %v", p.found)
		}
	}
}

// aParrot is an upstream that repeats all it was told, in every way in which one can fail.
func aParrot(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_ = r.Header.Write(&b)
		fmt.Fprintf(&b, " %s ", r.URL)
		_, _ = b.ReadFrom(http.MaxBytesReader(w, r.Body, 1<<20))
		all := b.String()
		for name, list := range r.Header { // in the answer's headers, too
			w.Header().Set("X-Echo-"+name, list[0])
		}
		w.Header().Set("Set-Cookie", "session="+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		refusal := fmt.Sprintf(`{"type":"error","error":{"type":"invalid_request_error","code":%q,"status":"INVALID_ARGUMENT","param":%q,"message":%q}}`, all, all, "Incorrect API key provided: "+all)
		kind := all[strings.Index(all, "parrot-")+len("parrot-"):]
		kind, _, _ = strings.Cut(kind, ".")
		switch kind {
		case "400", "401", "403", "404", "409", "413", "422", "429", "500", "503", "529":
			status := 0
			_, _ = fmt.Sscan(kind, &status)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(refusal))
		case "html":
			w.WriteHeader(http.StatusBadGateway)
			_, _ = fmt.Fprintf(w, "<html><body>%s</body></html>", all)
		case "stream":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprintf(w, "event: error\ndata: %s\n\n", refusal)
		case "garbage":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprintf(w, "data: {\"broken %q\n\n: %q\n\nevent: %q\ndata: x\n\n", all, all, all)
		case "body":
			_, _ = fmt.Fprintf(w, `{"id":%q,"broken":`, all)
		case "redirect":
			w.Header().Set("Location", "http://127.0.0.1:1/?all="+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			w.WriteHeader(http.StatusTemporaryRedirect)
		default:
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil { // no HTTP at all
				_, _ = fmt.Fprintf(conn, "WHAT? %s\r\n", all)
				_ = conn.Close()
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

var parrotWays = strings.Fields("400 401 403 404 409 413 422 429 500 503 529 html stream garbage body redirect nothttp")

// lookInFiles searches all files of a folder.
func (p *plants) lookInFiles(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		p.look("file "+filepath.Base(path), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lookInPostgres searches every table, copied out as text.
func (p *plants) lookInPostgres(t *testing.T, dsn string) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	rows, err := pool.Query(t.Context(), "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	rows.Close()
	if len(tables) < 20 {
		t.Errorf("only the tables %q are looked at", tables)
	}
	for _, name := range tables {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = conn.Conn().PgConn().CopyTo(t.Context(), &b, "COPY (SELECT * FROM "+name+") TO STDOUT")
		conn.Release()
		if err != nil {
			t.Fatal(err)
		}
		p.look("table "+name, b.Bytes())
	}
}

// lookInSQLite searches every table, too: a text that is spread over pages is whole there.
func (p *plants) lookInSQLite(t *testing.T, file string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	names := strings.Fields(string(dump(t, db, "sqlite_schema", "iif(type = 'table', name, '')")))
	if len(names) < 20 {
		t.Errorf("only the tables %q are looked at", names)
	}
	for _, name := range names {
		p.look("table "+name, dump(t, db, name, "*"))
	}
}

// dump is some columns of a table, as text.
func dump(t *testing.T, db *sql.DB, table, what string) []byte {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT "+what+` FROM "`+table+`"`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for rows.Next() {
		cells, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for _, c := range cells {
			b.Write(c)
			b.WriteByte('\t')
		}
		b.WriteByte('\n')
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// monitor writes down every command that a Redis is sent, until the test looks: what was there for a moment counts, too.
func monitor(t *testing.T, s *redistest.Server) (seen func() []byte) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards b
	var b bytes.Buffer
	var ended sync.WaitGroup
	ended.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			mu.Lock()
			b.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); ended.Wait() })
	return func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(b.Bytes())
	}
}

// lookInRedis searches all that is there now, in every type.
func (p *plants) lookInRedis(t *testing.T, s *redistest.Server) {
	t.Helper()
	for key := range strings.Lines(s.Do(t, "KEYS", "*")) {
		key = strings.TrimSuffix(key, "\n")
		read := map[string][]string{
			"string": {"GET", key}, "hash": {"HGETALL", key}, "zset": {"ZRANGE", key, "0", "-1", "WITHSCORES"}, "set": {"SMEMBERS", key}, "list": {"LRANGE", key, "0", "-1"},
			"stream": {"XRANGE", key, "-", "+"},
		}[s.Do(t, "TYPE", key)]
		if read != nil { // else it has ended meanwhile
			p.look("Redis", []byte(key+" "+s.Do(t, read...)))
		}
	}
}

// run runs a command of the binary and searches what it prints.
func (p *plants) run(ctx context.Context, t *testing.T, what string, g *gateway, env []string, args ...string) string {
	t.Helper()
	out := runBinary(ctx, t, g.dir, env, args...)
	p.look(what, []byte(out))
	return out
}
