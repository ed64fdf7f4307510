package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Options are what a document cannot know by itself. The zero Options work.
type Options struct {
	// Getenv gives the value of ${NAME}, "" when it is not set. Nil: os.Getenv.
	Getenv func(string) string
	// ReadFile reads ${file:path}, certificates and Load's own path. Nil: os.ReadFile.
	ReadFile func(string) ([]byte, error)
	// Kinds are the provider kinds that this build has. Nil: kinds are not checked.
	Kinds []string
	// Guard tells what is wrong with a guard that only its detectors know. Nil: nobody is asked.
	Guard func(*Guard) error
	// Settings are the objects that are kept in the store beside those of the document. Nil: there are none.
	Settings *Settings
	// Open lets the document lack what the store's objects may have, which are not known yet.
	Open bool
	// Sealed gives what ${sealed:ID} stands for. It may stand in Settings only, at this place, such as providers/openai/api_key.
	Sealed func(place, id string) (string, error)
	// Vault gives what ${vault:MOUNT/PATH#FIELD} stands for. Nil: there is no Vault.
	Vault func(ref string) (string, error)
}

// maxDocument bounds a document and each ${file:}, in bytes: past it somebody gave the wrong path.
const maxDocument = 4 << 20

// A Problem is one thing wrong with a document. Msg says what would be right, and never repeats a secret.
type Problem struct {
	File      string
	Line, Col int    // from 1; 0: the document as a whole
	Path      string // "providers[0].kind"; "" when the document cannot be read at all
	Msg       string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Msg)
	return b.String()
}

// An Error is everything wrong with a document, in the document's order.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a document from a file. What is wrong with it is an *Error.
func Load(path string, opts Options) (*Config, error) {
	opts = opts.orReal()
	data, err := opts.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, opts)
}

// ReadFile reads a document from a file, for Parse.
func ReadFile(path string) ([]byte, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// Parse reads a document; name stands for its file in errors. What is wrong with it is an *Error.
func Parse(name string, data []byte, opts Options) (*Config, error) {
	d := newDecoder(name, opts)
	return d.parse(d.read(data))
}

// parse makes a configuration of a document's tree, nil: an empty one, and the store's objects.
func (d *decoder) parse(root *yaml.Node) (*Config, error) {
	c := new(Config)
	if root = d.withSettings(root); root != nil {
		d.value(root, valueOf(c), "")
	}
	d.markStored(c)
	fill(c, defaults())
	// A document with mistakes of form is checked for mistakes of meaning, too: all are told at once.
	check(d, c)
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
		})
		return nil, &Error{Problems: d.problems}
	}
	return c, nil
}

// read parses the bytes into nodes. Nil: nothing said, or a problem was noted.
func (d *decoder) read(data []byte) *yaml.Node {
	if len(data) > maxDocument {
		d.note(nil, "", "the document has more than %d bytes", maxDocument)
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		d.note(nil, "", "not YAML: %s", err)
		return nil
	}
	var doc, more yaml.Node
	switch err := loader.Load(&doc); {
	case err == io.EOF:
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	switch err := loader.Load(&more); {
	case err == nil:
		d.note(&more, "", "a second document: put everything in one")
	case err != io.EOF:
		d.syntax(err)
		return nil
	}
	if doc.Kind == yaml.DocumentNode {
		if len(doc.Content) == 0 {
			return nil
		}
		return doc.Content[0]
	}
	return &doc
}

func (d *decoder) syntax(err error) {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		msg := e.Message
		if e.ContextMsg != "" {
			msg = e.ContextMsg + ": " + msg
		}
		d.problems = append(d.problems, Problem{File: d.file, Line: e.Mark.Line, Col: e.Mark.Column, Msg: "not YAML: " + msg})
		return
	}
	d.note(nil, "", "not YAML: %s", err)
}

func (o Options) orReal() Options {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	return o
}
