package arch

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A licence is known by a sentence that no other has (here without commas). Only these are allowed: all of them let the binary be
// given on under any terms, as long as their text goes with it.
var licences = []struct{ name, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0 January 2004"},
	{"MIT", "Permission is hereby granted free of charge to any person obtaining a copy"},
	{"BSD", "Redistribution and use in source and binary forms with or without modification are permitted"},
	{"ISC", "Permission to use copy modify and distribute this software for any purpose"},
	{"ISC", "Permission to use copy modify and/or distribute this software for any purpose"},
	{"MPL-2.0", "Mozilla Public License Version 2.0"}, // by file, and only test code uses one
	{"Unlicense", "This is free and unencumbered software released into the public domain"},
	{"public domain", "All of the code and documentation in SQLite has been dedicated to the public domain by the authors"},
}

// Files that look like a licence and are none of the module's code.
var notLicences = map[string]string{
	"modernc.org/sqlite/LICENSE-3RD-PARTY.md": "a list of what it is made of and tested with; the modules among it stand in go.mod and are looked at here",
	"modernc.org/memory/LICENSE-LOGO":         "of a picture in its documentation",
}

var npmLicences = regexp.MustCompile(`^\(?(Apache-2\.0|MIT|BSD-[23]-Clause|ISC|0BSD|Unlicense|BlueOak-1\.0\.0|AFL-2\.1)( OR [A-Za-z0-9.-]+\)?)?$`)

// A licensed module is one line of what the go command knows.
type licensed struct{ Path, Version, Dir, Error string }

func TestModuleLicences(t *testing.T) {
	root := moduleRoot(t)
	// Every module of go.mod, also those that only tests use: the tree is given on, too.
	cmd := exec.Command("go", "mod", "download", "-json")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod download: %v\n%s", err, stderr.Bytes())
	}
	n := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; n++ {
		var m licensed
		if err := dec.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if m.Error != "" || m.Dir == "" {
			t.Errorf("%s %s: not to be had: %s", m.Path, m.Version, m.Error)
			continue
		}
		texts := licenceTexts(t, m.Dir)
		if len(texts) == 0 {
			t.Errorf("%s %s: no licence file", m.Path, m.Version)
		}
		for file, text := range texts {
			if licenceOf(text) == "" && notLicences[m.Path+"/"+file] == "" {
				t.Errorf("%s %s: %s is not a licence we know to be allowed", m.Path, m.Version, file)
			}
		}
	}
	if n == 0 {
		t.Error("no module was looked at")
	}
}

func TestPackageLicences(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(moduleRoot(t), "internal/e2e/sdk/package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Licence, License, Resolved, Integrity string }
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) < 8 {
		t.Errorf("only %d packages in the lock file", len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if !npmLicences.MatchString(p.License) {
			t.Errorf("%s %s: licence %q", name, p.Version, p.License)
		}
		if p.Resolved != "" {
			t.Errorf("%s %s: the lock file names a registry", name, p.Version)
		}
		if name != "" && !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s %s: not pinned by hash", name, p.Version)
		}
	}
}

// TestDependenciesAreExplained wants a line in docs/dependencies.md for every module we chose, and no line for
// one we left.
func TestDependenciesAreExplained(t *testing.T) {
	root := moduleRoot(t)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(root, "docs/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(doc, -1) {
		explained[string(m[1])] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:require)?\s+(\S+) v\S+(.*)$`).FindAllSubmatch(mod, -1) {
		name := string(m[1])
		if bytes.Contains(m[2], []byte("// indirect")) {
			continue
		}
		if !explained[name] {
			t.Errorf("%s has no line in docs/dependencies.md: why, size, who maintains it", name)
		}
		delete(explained, name)
	}
	for name := range explained {
		t.Errorf("docs/dependencies.md explains %s, which go.mod does not require directly", name)
	}
}

func TestLicenceOf(t *testing.T) {
	tests := map[string]string{
		"The MIT License\n\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy of":            "MIT",
		"                 Apache License\n           Version 2.0, January 2004\n":                                        "Apache-2.0",
		"// Redistribution and use in source and binary forms, with or without\n// modification, are permitted provided": "BSD",
		"GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007":                                                            "",
		"Business Source License 1.1": "",
		"All rights reserved.":        "",
		"Permission is hereby granted, free of charge, to any person obtaining a copy. \nGNU AFFERO GENERAL PUBLIC LICENSE": "",
	}
	for text, want := range tests {
		if got := licenceOf([]byte(text)); got != want {
			t.Errorf("licenceOf(%q) = %q, want %q", text, got, want)
		}
	}
}

// licenceTexts reads the files of a module that say under what terms it comes.
func licenceTexts(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string][]byte)
	for _, e := range entries {
		if name := strings.ToUpper(e.Name()); !e.IsDir() && regexp.MustCompile(`^(LICEN[CS]E|COPYING|UNLICENSE)(\.|-|$)`).MatchString(name) && !strings.HasSuffix(name, ".GO") {
			if texts[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return texts
}

var (
	notWords = regexp.MustCompile(`(?:[\s,*]|//)+`)
	copyleft = regexp.MustCompile(`(?i)GNU (AFFERO |LESSER )?GENERAL PUBLIC LICENSE Version|Server Side Public License|Business Source License|Commons Clause|GNU AFFERO`)
)

// licenceOf names the licence of a text, "" when it is none of those allowed.
func licenceOf(text []byte) string {
	flat := bytes.ToLower(notWords.ReplaceAll(text, []byte(" ")))
	if mpl := []byte("mozilla public license"); copyleft.Match(flat) && !bytes.HasPrefix(flat, mpl) { // the MPL speaks of others in its text
		return ""
	}
	for _, l := range licences {
		if bytes.Contains(flat, bytes.ToLower([]byte(l.sentence))) {
			return l.name
		}
	}
	return ""
}
