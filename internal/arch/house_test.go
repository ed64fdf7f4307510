package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "sluice"
	maxLines = 600
)

var emptyNames = strings.Fields("util utils common helper helpers base types models interfaces constants misc shared")

// A house is the source of a module.
type house struct {
	fset     *token.FileSet
	packages map[string][]file // by room: the folder without "internal/"
}

type file struct {
	name  string
	test  bool
	lines int
	tree  *ast.File
}

func read(t *testing.T, root fs.FS) *house {
	t.Helper()
	names, err := goFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{fset: token.NewFileSet(), packages: make(map[string][]file)}
	for _, name := range names {
		src, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := parser.ParseFile(h.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := strings.TrimPrefix(path.Dir(name), "internal/")
		h.packages[dir] = append(h.packages[dir], file{name, strings.HasSuffix(name, "_test.go"), bytes.Count(src, []byte("\n")), tree})
	}
	return h
}

// problems holds every package against its row and against the rules for all.
func (h *house) problems(rooms map[string]room) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(h.packages)) {
		files := h.packages[name]
		row, ok := rooms[name]
		if !ok {
			out = append(out, fmt.Sprintf("package %s is not in the table", name))
		}
		documented := false
		for _, f := range files {
			if ok {
				out = append(out, h.imports(name, row, f)...)
			}
			if f.test {
				out = append(out, h.sleeps(f)...)
				continue
			}
			documented = documented || f.tree.Doc != nil
			out = append(out, h.form(f)...)
			if f.tree.Name.Name != "main" {
				out = append(out, h.docs(f)...)
			}
		}
		if !documented && slices.ContainsFunc(files, func(f file) bool { return !f.test }) {
			out = append(out, fmt.Sprintf("package %s has no package comment", name))
		}
		out = append(out, h.changed(files)...)
	}
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		if len(h.packages[name]) == 0 {
			out = append(out, fmt.Sprintf("the table's row %s has no package", name))
		}
	}
	return out
}

func (h *house) at(n ast.Node) string {
	p := h.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// imports holds a file's import clauses against its package's row.
func (h *house) imports(name string, row room, f file) (out []string) {
	words := row.may
	if f.test {
		words += " " + row.tests + " " + name
	}
	for _, spec := range f.tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			out = append(out, h.at(spec)+": "+err.Error())
			continue
		}
		ours, ok := strings.CutPrefix(p, module+"/")
		if !ok {
			if row.stdOnly && !f.test && strings.Contains(strings.Split(p, "/")[0], ".") {
				out = append(out, fmt.Sprintf("%s: %s may import only the standard library, not %s", h.at(spec), name, p))
			}
			continue
		}
		ours = strings.TrimPrefix(ours, "internal/")
		if !slices.ContainsFunc(strings.Fields(words), func(w string) bool { return matches(w, ours) }) {
			out = append(out, fmt.Sprintf("%s: %s may not import %s", h.at(spec), name, ours))
		}
	}
	return out
}

// matches says whether a word of the table means a package.
func matches(word, name string) bool {
	if below, ok := strings.CutSuffix(word, "*"); ok {
		return strings.HasPrefix(name, below)
	}
	return word == name
}

// form checks a file's length, its package's name and that nothing runs before main.
func (h *house) form(f file) (out []string) {
	if f.lines > maxLines {
		out = append(out, fmt.Sprintf("%s has %d lines, more than %d: two ideas?", f.name, f.lines, maxLines))
	}
	if slices.Contains(emptyNames, f.tree.Name.Name) {
		out = append(out, fmt.Sprintf("%s: package name %s says nothing", f.name, f.tree.Name.Name))
	}
	for _, d := range f.tree.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			out = append(out, h.at(fn)+": init() hides what a program does at start")
		}
	}
	return out
}

// wellKnown are methods that say nothing more than the interface they are for.
var wellKnown = strings.Fields("Error Unwrap String GoString Close Read Write Len Less Swap ServeHTTP MarshalText UnmarshalText MarshalJSON UnmarshalJSON UnmarshalYAML")

// docs finds exported names without a comment.
func (h *house) docs(f file) (out []string) {
	bare := func(n ast.Node, name string) {
		out = append(out, fmt.Sprintf("%s: %s has no doc comment", h.at(n), name))
	}
	for _, d := range f.tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name, recv := d.Name.Name, receiver(d)
			switch {
			case d.Doc != nil || !ast.IsExported(name) || recv != "" && !ast.IsExported(recv):
			case recv == "":
				bare(d, name)
			case !slices.Contains(wellKnown, name):
				bare(d, recv+"."+name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if ast.IsExported(s.Name.Name) && s.Doc == nil && s.Comment == nil && (d.Doc == nil || d.Lparen.IsValid()) {
						bare(s, s.Name.Name)
					}
				case *ast.ValueSpec:
					if ast.IsExported(s.Names[0].Name) && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						bare(s, s.Names[0].Name)
					}
				}
			}
		}
	}
	return out
}

// receiver is the name of a method's type, "" for a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	for e := d.Recv.List[0].Type; ; {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return "?"
		}
	}
}

// sleeps finds tests that wait for time to pass. In a bubble of testing/synctest it passes by itself.
func (h *house) sleeps(f file) (out []string) {
	if slices.ContainsFunc(f.tree.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"testing/synctest"` }) {
		return nil
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				out = append(out, h.at(s)+": time.Sleep in a test: use testing/synctest, or wait for the event itself")
			}
		}
		return true
	})
	return out
}

// changed finds assignments to package variables: state that every caller shares without having asked for it.
func (h *house) changed(files []file) (out []string) {
	byName := make(map[string][]*ast.File)
	for _, f := range files {
		if !f.test {
			byName[f.tree.Name.Name] = append(byName[f.tree.Name.Name], f.tree)
		}
	}
	for name, trees := range byName {
		// Imports stay unresolved and are errors that nobody reads: scopes within the package are all that is asked.
		info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
		conf := types.Config{Error: func(error) {}, Importer: nowhere{}}
		pkg, _ := conf.Check(name, h.fset, trees, info)
		for _, tree := range trees {
			ast.Inspect(tree, func(n ast.Node) bool {
				var targets []ast.Expr
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						targets = n.Lhs
					}
				case *ast.IncDecStmt:
					targets = []ast.Expr{n.X}
				}
				for _, e := range targets {
					if id := root(e); id != nil {
						if v, ok := info.Uses[id].(*types.Var); ok && v.Parent() == pkg.Scope() {
							out = append(out, fmt.Sprintf("%s: package variable %s is changed", h.at(n), id.Name))
						}
					}
				}
				return true
			})
		}
	}
	slices.Sort(out)
	return out
}

// root is the variable that an assignment reaches into. A pointer's target is followed, too: x.f = 1 changes
// what x holds or points at, and both are shared.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

type nowhere struct{}

func (nowhere) Import(p string) (*types.Package, error) {
	return nil, fmt.Errorf("%s: imports are not followed", p)
}
