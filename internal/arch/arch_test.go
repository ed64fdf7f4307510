package arch

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A room is a package and what it may import.
type room struct {
	may     string // packages of ours, in words of the table; "a/*" is every package below a
	tests   string // what its tests may import beside that
	stdOnly bool   // nothing from outside the standard library, tests apart
}

// rooms is the drawing of the house (docs/architecture.md). A package that is not here does not compile, as far
// as this test is concerned, and a row without a package is stale.
var rooms = map[string]room{
	"cmd/sluice": {may: "admin app audit bench catalog config control flags llm mock quota route rules usage"}, // its subcommands
	"docs":       {tests: "app config control llm wire"},                                                       // pages are held against the code

	"llm": {stdOnly: true},
	"sse": {stdOnly: true},

	"wire":           {may: "llm sse", tests: "wire/wiretest"},
	"wire/openai":    {may: "llm sse wire", tests: "wire/*"},
	"wire/responses": {may: "llm sse wire wire/openai", tests: "wire/*"}, // OpenAI's errors have one form
	"wire/anthropic": {may: "llm sse wire", tests: "wire/*"},
	"wire/gemini":    {may: "llm sse wire", tests: "wire/*"},
	"wire/wiretest":  {may: "llm sse wire", tests: "wire/*"},

	"auth":     {may: "llm atomicfile"},
	"quota":    {may: "llm auth", tests: "quota/quotatest"},
	"catalog":  {may: "llm", tests: "wire wire/*"}, // that an answer costs the same however it is told
	"route":    {may: "llm auth catalog", tests: "wire wire/openai"},
	"upstream": {may: "llm upstream/h1", tests: "upstream/sharedtest"}, // h1 is nobody else's
	"usage":    {may: "llm auth catalog usage/wal"},

	"usage/usagetest": {may: "llm usage"},
	"usage/wal":       {}, // it keeps records; what they mean is decided above it

	"guard/pii": {}, // it finds; what is done about it is decided above it

	"alert":           {may: "llm", tests: "alert/alerttest"},
	"alert/alerttest": {may: "alert"},

	"idempotency":                 {may: "llm", tests: "idempotency/idempotencytest"},
	"idempotency/idempotencytest": {may: "idempotency"},
	"rules":                       {may: "llm"},
	"cache":                       {may: "llm auth cache/same circuit", tests: "cache/* embed embed/embedtest"},
	"cache/indextest":             {may: "cache"},
	"cache/cachetest":             {may: "cache"},
	"cache/same":                  {},
	"circuit":                     {stdOnly: true},
	"embed":                       {may: "llm", tests: "embed/embedtest"},
	"embed/embedtest":             {},
	"directory":                   {may: "llm auth rules", tests: "directory/directorytest"},

	"directory/directorytest": {may: "llm auth directory"},
	"account":                 {may: "llm audit auth directory", tests: "backend/sql"},
	"account/accounttest":     {may: "account directory"},
	"account/oidc":            {may: "llm auth account", tests: "directory"},
	"admin":                   {may: "llm account audit config directory rules control quota route telemetry upstream usage", tests: "auth directory/directorytest backend/sql seal pgtest"}, // of quota, route and upstream only what they tell
	"audit":                   {may: "llm", tests: "audit/audittest"},
	"audit/audittest":         {may: "audit"},
	"seal":                    {may: "llm atomicfile", tests: "seal/sealtest"},
	"seal/sealtest":           {may: "seal"},
	"vault":                   {},
	"atomicfile":              {stdOnly: true},
	"settings":                {tests: "settings/settingstest"},
	"settings/settingstest":   {may: "settings"},
	"control":                 {may: "llm account audit auth rules directory config seal settings", tests: "directory/directorytest backend/sql"},

	"upstream/sharedtest": {may: "upstream"},
	"backend/redis":       {may: "llm cache circuit idempotency quota upstream", tests: "auth cache/* idempotency/idempotencytest quota/quotatest upstream/sharedtest redistest faultproxy freeport"},
	"backend/sql":         {may: "llm account auth audit usage directory alert seal settings", tests: "account/accounttest audit/audittest usage/usagetest directory/directorytest alert/alerttest seal/sealtest settings/settingstest pgtest"},
	"quota/quotatest":     {may: "llm auth quota"},

	"guard":           {may: "llm auth guard/pii", tests: "guard/*"},
	"guard/guardtest": {may: "guard"},
	"guard/webhook":   {may: "llm circuit guard", tests: "guard/*"},

	"gateway": {may: "llm sse wire auth cache catalog guard idempotency quota route upstream usage", tests: "wire/* mock provider/openai"}, // its tokenizer

	"upstream/h1": {may: "llm", stdOnly: true},

	"provider":           {may: "llm wire", tests: "wire/*"},
	"provider/openai":    {may: "llm wire wire/openai wire/responses provider", tests: "sse mock upstream"},
	"provider/anthropic": {may: "llm wire wire/anthropic provider", tests: "sse mock upstream"},
	"provider/gemini":    {may: "llm wire wire/gemini provider", tests: "sse mock upstream"},

	"config":    {may: "llm rules"},
	"telemetry": {may: "llm usage"},
	"flags":     {},
	"mock":      {may: "flags", tests: "llm sse wire wire/*"},
	"bench":     {may: "freeport", tests: "mock"},
	"app":       {may: "*"},

	"faultproxy": {stdOnly: true},
	"freeport":   {stdOnly: true},
	"redistest":  {may: "freeport"},
	"pgtest":     {may: "freeport"},

	"arch": {stdOnly: true},
	"e2e":  {tests: "llm wire/wiretest redistest pgtest faultproxy freeport"}, // for recordings and faults; the product is only run
}

// laws hold for the table itself, so that no row can be widened past them. Each says that nothing that
// matches the first word may import what matches the second.
var laws = [][2]string{
	{"route", "upstream"},
	{"route", "usage"}, // policies never import one another
	{"upstream", "route"},
	{"upstream", "usage"},
	{"upstream", "auth"},
	{"upstream/h1", "upstream"}, // it carries bytes; what a failure means is decided above it
	{"cache", "usage"},
	{"cache", "route"},
	{"cache", "upstream"},
	{"cache", "catalog"},
	{"quota", "usage"},
	{"quota", "upstream"},
	{"quota", "catalog"}, // what a call may cost is told
	{"gateway", "upstream/h1"},
	{"provider", "upstream/h1"},
	{"provider/*", "upstream/h1"},
	{"usage", "route"},
	{"usage", "upstream"},
	{"gateway", "provider"},
	{"gateway", "provider/*"},
	{"gateway", "wire/*"},
	{"gateway", "config"},
	{"wire", "wire/*"},
	{"llm", "*"},
	{"sse", "*"},
	{"e2e", "*"},
	{"*", "app"},
	{"*", "arch"},
	{"*", "e2e"},
	{"*", "wire/wiretest"}, // what serves tests stays out of the binary
	{"*", "upstream/sharedtest"},
	{"*", "idempotency/idempotencytest"},
	{"*", "cache/indextest"},
	{"*", "embed/embedtest"},
	{"embed", "cache"}, // a model knows nothing of what it is used for
	{"*", "alert/alerttest"},
	{"*", "audit/audittest"},
	{"*", "seal/sealtest"},
	{"*", "settings/settingstest"},
	{"*", "directory/directorytest"},
	{"*", "account/accounttest"},
	{"*", "quota/quotatest"},
	{"*", "guard/guardtest"},
	{"*", "faultproxy"},
	{"*", "redistest"},
	{"*", "pgtest"},
	{"backend/*", "backend/*"},
	{"upstream", "backend/*"},
	{"gateway", "backend/*"},
}

func TestHouse(t *testing.T) {
	h := read(t, os.DirFS(moduleRoot(t)))
	for _, problem := range h.problems(rooms) {
		t.Error(problem)
	}
	if len(h.packages) < 5 {
		t.Errorf("only %d packages found: the walk is broken", len(h.packages))
	}
}

func TestTableKeepsLaws(t *testing.T) {
	for _, law := range laws {
		for name, r := range rooms {
			if !matches(law[0], name) || name == "app" || name == "cmd/sluice" {
				continue
			}
			for word := range strings.FieldsSeq(r.may) {
				if matches(law[1], word) || matches(word, law[1]) {
					t.Errorf("row %s allows %s, which the law %v forbids", name, word, law)
				}
			}
		}
	}
	for name := range rooms {
		if name != "cmd/sluice" && slices.Contains(strings.Fields(rooms[name].may), "app") {
			t.Errorf("row %s imports app: nobody does", name)
		}
	}
}

// TestHouseFindsFaults breaks every rule once, in a house of its own.
func TestHouseFindsFaults(t *testing.T) {
	plan := map[string]room{
		"llm":      {stdOnly: true},
		"route":    {may: "llm", tests: "upstream"},
		"upstream": {may: "llm", tests: "upstream/sharedtest"},
		"wire":     {},
		"wire/x":   {may: "wire/*"},
		"gone":     {},
	}
	const good = "// Package p is fine.\npackage p\n"
	tests := []struct {
		name, file, src string
		want            string // part of the one problem; "" for none
	}{
		{"clean", "internal/llm/a.go", good, ""},
		{"forbidden import", "internal/route/a.go", good + `import "sluice/internal/upstream"`, "internal/route/a.go:3: route may not import upstream"},
		{"forbidden import, renamed", "internal/route/a.go", good + "import (\n\t\"fmt\"\n\t_ \"sluice/internal/upstream\"\n)\nvar _ = fmt.Sprint", "internal/route/a.go:5: route may not import upstream"},
		{"forbidden import under a build tag", "internal/route/a.go", "//go:build never\n\n" + good + `import "sluice/internal/upstream"`, "route may not import upstream"},
		{"allowed import", "internal/route/a.go", good + `import _ "sluice/internal/llm"`, ""},
		{"allowed in tests only", "internal/route/a_test.go", good + `import _ "sluice/internal/upstream"`, ""},
		{"own package from an external test", "internal/route/a_test.go", "package p_test\n" + `import _ "sluice/internal/route"`, ""},
		{"wildcard", "internal/wire/x/a.go", good + `import _ "sluice/internal/wire/x"`, ""},
		{"wildcard does not reach its root", "internal/wire/x/a.go", good + `import _ "sluice/internal/wire"`, "wire/x may not import wire"},
		{"package without a row", "internal/nowhere/a.go", good, "package nowhere is not in the table"},
		{"module in a room of the standard library", "internal/llm/a.go", good + `import _ "example.com/x"`, "llm may import only the standard library"},
		{"package name", "internal/llm/a.go", "// Package util is.\npackage util", "package name util says nothing"},
		{"init", "internal/llm/a.go", good + "func init() {}", "internal/llm/a.go:3: init()"},
		{"method called init", "internal/llm/a.go", good + "type t struct{}\nfunc (t) init() {}", ""},
		{"long file", "internal/llm/a.go", good + strings.Repeat("\n", 600), "602 lines, more"},
		{"long test", "internal/llm/a_test.go", good + strings.Repeat("\n", 600), ""},
		{"no package comment", "internal/llm/a.go", "package p", "package llm has no package comment"},
		{"bare func", "internal/llm/a.go", good + "func F() {}", "internal/llm/a.go:3: F has no doc comment"},
		{"bare method", "internal/llm/a.go", good + "// T is.\ntype T struct{}\nfunc (t *T) M() {}", "T.M has no doc comment"},
		{"method of a hidden type", "internal/llm/a.go", good + "type t[K any] struct{}\nfunc (t *t[K]) M() {}", ""},
		{"method everybody knows", "internal/llm/a.go", good + "// T is.\ntype T struct{}\nfunc (T) Error() string { return \"\" }", ""},
		{"bare type", "internal/llm/a.go", good + "type T struct{}", "T has no doc comment"},
		{"bare const", "internal/llm/a.go", good + "const C = 1", "C has no doc comment"},
		{"const under a group's comment", "internal/llm/a.go", good + "// The words.\nconst (\n\tA = 1\n\tB = 2\n)", ""},
		{"const with a line comment", "internal/llm/a.go", good + "const (\n\tA = 1 // one\n)", ""},
		{"package variable assigned", "internal/llm/a.go", good + "var x int\nfunc f() { x = 1 }", "internal/llm/a.go:4: package variable x is changed"},
		{"package variable counted up", "internal/llm/a.go", good + "var x int\nfunc f() { x++ }", "package variable x is changed"},
		{"element of a package variable", "internal/llm/a.go", good + "var x = map[string]int{}\nfunc f() { x[\"a\"] = 1 }", "package variable x is changed"},
		{"field of a package variable", "internal/llm/a.go", good + "var x struct{ y int }\nfunc f() { x.y = 1 }", "package variable x is changed"},
		{"local that hides a package variable", "internal/llm/a.go", good + "var x int\nfunc f() { x := 0; x = 1; _ = x }", ""},
		{"module in a test of a room of the standard library", "internal/llm/a_test.go", good + `import _ "example.com/x"`, ""},
		{"sleep in a bubble", "internal/llm/a_test.go", good + "import (\n\t\"testing/synctest\"\n\t\"time\"\n)\nfunc f() { synctest.Wait(); time.Sleep(1) }", ""},
		{"sleeping test", "internal/llm/a_test.go", good + "import \"time\"\nfunc f() { time.Sleep(1) }", "internal/llm/a_test.go:4: time.Sleep in a test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{
				"internal/llm/doc.go": {}, "internal/route/doc.go": {}, "internal/upstream/doc.go": {},
				"internal/wire/doc.go": {}, "internal/wire/x/doc.go": {},
			}
			for name := range files {
				doc := "// Package p is fine.\npackage p"
				if path.Dir(name) == path.Dir(tt.file) && !strings.HasSuffix(tt.file, "_test.go") {
					delete(files, name)
					continue
				}
				files[name] = &fstest.MapFile{Data: []byte(doc)}
			}
			files[tt.file] = &fstest.MapFile{Data: []byte(tt.src)}
			got := read(t, files).problems(plan)
			const stale = "the table's row gone has no package"
			if !slices.Contains(got, stale) {
				t.Errorf("the stale row was not found: %q", got)
			}
			got = slices.DeleteFunc(got, func(s string) bool { return s == stale })
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("got %q, want none", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("got %q, want one with %q", got, tt.want)
			}
		})
	}
}

// moduleRoot is the folder of go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = up
	}
}

// goFiles lists the Go files of the module, as the go command would see them.
func goFiles(root fs.FS) (files []string, err error) {
	err = fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(p)
		if d.IsDir() && p != "." && (base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_') {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(p, ".go") {
			files = append(files, p)
		}
		return nil
	})
	return files, err
}
