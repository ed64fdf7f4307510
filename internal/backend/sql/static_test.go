package sql

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// No statement is made of strings: this package's functions take values of the type text, which only constants have unless
// somebody converts; the database's own functions are called in statement.go, prepared.go and pipe.go alone, which are given texts.
func TestStatementsAreConstants(t *testing.T) {
	for name, src := range sources(t) {
		for _, problem := range stringBuilt(t, name, src) {
			t.Error(problem)
		}
	}
}

// sources are the package's files without its tests.
func sources(t *testing.T) map[string]string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, f := range files {
		if name := f.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			list[name] = string(src)
		}
	}
	if len(list) < 8 {
		t.Errorf("only %d files were looked at", len(list))
	}
	return list
}

// No statement has a bare parameter behind LIMIT: (*statement).limit tells why.
func TestLimitsAreNotPlannedFor(t *testing.T) {
	for name, src := range sources(t) {
		if i := strings.Index(src, "LIMIT ?"); i >= 0 {
			t.Errorf("%s:%d: LIMIT ?: call limit", name, 1+strings.Count(src[:i], "\n"))
		}
	}
}

// The test finds what it is for.
func TestStringBuiltIsFound(t *testing.T) {
	for body, want := range map[string]bool{
		`say("SELECT 1")`:                                      false,
		`say(text(name))`:                                      true,
		`say(text("SELECT " + name))`:                          true,
		`var t text = "x"; say(t)`:                             false,
		`s.each(ctx, &statement{text: b}, nil)`:                true,
		`db.writer.ExecContext(ctx, "SELECT "+name)`:           true,
		`db.reader.QueryContext(ctx, fmt.Sprintf("%s", name))`: true,
		`tx.Prepare(name)`:                                     true,
		`var s statement; s.text.WriteString(name)`:            true,
	} {
		got := len(stringBuilt(t, "x.go", "package sql\nfunc f() { "+body+" }")) > 0
		if got != want {
			t.Errorf("%s: found %v, want %v", body, got, want)
		}
	}
}

// stringBuilt finds in a file what could make a statement of a string.
func stringBuilt(t *testing.T, name, src string) (problems []string) {
	t.Helper()
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	report := func(n ast.Node, what string) { problems = append(problems, fset.Position(n.Pos()).String()+": "+what) }
	theirs := map[string]bool{
		"Exec": true, "ExecContext": true, "Query": true, "QueryContext": true, "QueryRow": true, "QueryRowContext": true, "Prepare": true, "PrepareContext": true,
		"SendBatch": true, "Queue": true,
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "text" {
				report(n, "a string becomes a statement's text")
			}
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || name == "statement.go" || name == "prepared.go" || name == "pipe.go" {
				return true
			}
			if theirs[f.Sel.Name] && !constantText(n.Args) {
				report(n, f.Sel.Name+" is called beside statement.go")
			}
			if inner, ok := f.X.(*ast.SelectorExpr); ok && inner.Sel.Name == "text" && strings.HasPrefix(f.Sel.Name, "Write") {
				report(n, "a statement is written into")
			}
		case *ast.CompositeLit:
			if f, ok := n.Type.(*ast.Ident); ok && f.Name == "statement" && len(n.Elts) > 0 {
				report(n, "a statement is made past say")
			}
		}
		return true
	})
	return problems
}

// constantText tells whether a call's statement is a literal, or a prepared one's values are all it has.
func constantText(args []ast.Expr) bool {
	if len(args) < 2 {
		return false
	}
	switch second := args[1].(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return second.Name == "args" // of a prepared statement
	}
	return false
}
