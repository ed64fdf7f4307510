package arch

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// labels are all purposes that a key is derived for, with what the key does. A new one is written down here; two uses of one label are two
// purposes with one key, which this test does not let pass.
var labels = map[string]string{
	// of the pepper, by auth.Hasher.Derive
	"session":                             "hash of a session's cookie",
	"csrf":                                "what unsafe requests of a session carry",
	"automation token":                    "hash of a token",
	"one-time link":                       "hash of a link that sets a password",
	"recovery code":                       "hash of a recovery code",
	"sign-in tries":                       "names under which failures are counted",
	"password":                            "what a password is mixed with before argon2id",
	"one-time code secret":                "seals the secret of an authenticator",
	"enrolment ticket":                    "seals an authenticator's secret that is not in force",
	"sign-in at a provider of identities": "seals the cookie that binds a sign-in to its browser",
	"idempotency answers":                 "seals answers kept for twins of a request",
	"cache answers":                       "seals kept answers in Redis",
	"cache partitions":                    "names of kept answers",
	"audit data keys":                     "seals the keys of the audit log's sealed parts",
	"admin":                               "what the admin listener derives its own from",
	"admin prints of requests":            "prints of named creates, and of who makes them",
	"sluice audit part v1":                "one sealed part of one entry of the audit log",
	"sluice audit seal v1":                "the cipher of such a part, and the commitment to it",
	"sluice secrets: key-encryption key":  "wraps the keyset that seals credentials of the store",
	"sluice secrets: name of the key-encryption key": "tells two key-encryption keys apart",
}

// S9: every derived key has a label of its own, and the labels are in one list.
func TestLabels(t *testing.T) {
	found, problems := readLabels(read(t, os.DirFS(moduleRoot(t))))
	for _, p := range problems {
		t.Error(p)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if at := found[name]; len(at) > 1 {
			t.Errorf("the label %q is used %d times: %s", name, len(at), strings.Join(at, ", "))
		}
		if labels[name] == "" {
			t.Errorf("%s: the label %q is not in the list", found[name][0], name)
		}
	}
	for name := range labels {
		if found[name] == nil {
			t.Errorf("the list has the label %q, which nothing uses", name)
		}
	}
}

// Each way to break the rule is found.
func TestLabelsFindsFaults(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"twice", `func f(h H) { h.Derive("session"); h.Derive("session") }`, "twice"},
		{"in a loop", `func f(h H) { for purpose := range map[string]int{"a": 1, "b": 2} { h.Derive(purpose) } }`, ""},
		{"in a loop, twice", `func f(h H) { h.Derive("a"); for purpose := range map[string]int{"a": 1} { h.Derive(purpose) } }`, "twice"},
		{"unreadable", `func f(h H, p string) { h.Derive(p + "x") }`, "unreadable"},
		{"a box of its own", `func f(h H) { Box(h, "a"); account.Box(h, "a") }`, "twice"},
		{"hkdf without a label", `func f() { hkdf.Key(n, s, nil, "other", 32) }`, "unreadable"},
		{"hkdf twice", `func f() { hkdf.Key(n, s, nil, "sluice x", 32) }
func g() { hkdf.Expand(n, s, "sluice x", 32) }`, "twice"},
	} {
		h := read(t, fstest.MapFS{"internal/p/a.go": {Data: []byte("// Package p is.\npackage p\n" + tt.src)}})
		found, problems := readLabels(h)
		got := ""
		for _, at := range found {
			if len(at) > 1 {
				got = "twice"
			}
		}
		if len(problems) > 0 {
			got = "unreadable"
		}
		if got != tt.want {
			t.Errorf("%s: found %q, want %q (%v)", tt.name, got, tt.want, problems)
		}
	}
}

// readLabels finds the labels of all derivations, and where they stand.
func readLabels(h *house) (found map[string][]string, problems []string) {
	found = map[string][]string{}
	for _, files := range h.packages {
		for _, f := range files {
			if f.test {
				continue
			}
			for _, d := range f.tree.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				list, bad := labelsOf(fn)
				for pos, names := range list {
					for _, name := range names {
						found[name] = append(found[name], h.fset.Position(pos).String())
					}
				}
				for _, pos := range bad {
					problems = append(problems, h.fset.Position(pos).String()+": the label cannot be read: write it as a text, or as the key of a map that is ranged over")
				}
			}
		}
	}
	return found, problems
}

// labelsOf finds the labels that a function derives with. The functions that derive, and are told for what, have none of their own.
func labelsOf(fn *ast.FuncDecl) (found map[token.Pos][]string, bad []token.Pos) {
	found = map[token.Pos][]string{}
	if slices.Contains([]string{"Derive", "derive", "Box"}, fn.Name.Name) {
		return nil, nil
	}
	ranged := map[string][]string{} // variables of loops over a map of texts
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		if r, ok := n.(*ast.RangeStmt); ok {
			if lit, ok := r.X.(*ast.CompositeLit); ok {
				if v, ok := r.Key.(*ast.Ident); ok {
					ranged[v.Name] = keysOf(lit)
				}
			}
		}
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		var names []string
		switch on, name := called(call); {
		case on == "hkdf":
			names = textsIn(fn.Body, "sluice ")
		case name == "Derive" || name == "derive":
			names = labelIn(call.Args[0], ranged)
		case name == "Box" && len(call.Args) == 2:
			names = labelIn(call.Args[1], ranged)
		default:
			return true
		}
		if names == nil {
			bad = append(bad, call.Pos())
		}
		if on, _ := called(call); on == "hkdf" { // several calls of one function are told apart by their texts
			found[fn.Pos()] = names
		} else {
			found[call.Pos()] = names
		}
		return true
	})
	return found, bad
}

// called is the name of what is called, and of the package or value that it is of.
func called(call *ast.CallExpr) (on, name string) {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return "", f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			on = x.Name
		}
		return on, f.Sel.Name
	}
	return "", ""
}

func labelIn(e ast.Expr, ranged map[string][]string) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return []string{s}
		}
	case *ast.Ident:
		return ranged[e.Name]
	}
	return nil
}

func keysOf(lit *ast.CompositeLit) (names []string) {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if k, ok := kv.Key.(*ast.BasicLit); ok {
				if s, err := strconv.Unquote(k.Value); err == nil {
					names = append(names, s)
				}
			}
		}
	}
	return names
}

// textsIn are the texts of a function that begin so.
func textsIn(body ast.Node, begin string) (texts []string) {
	ast.Inspect(body, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && strings.HasPrefix(s, begin) {
				texts = append(texts, s)
			}
		}
		return true
	})
	return texts
}
