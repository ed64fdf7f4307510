package flags

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for _, tc := range []struct{ arg, path, file string }{
		{"there", there, there},
		{"~/there", there, there},
		{there, there, there},
		{"-", "-", "-"},
		{"missing", missing, ""},
		{dir, dir, ""}, // no file, but a path
	} {
		var path, file string
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		Path(f, &path, "path", "p", "A path.")
		File(f, &file, "file", "", "A file.")
		if err := f.Parse([]string{"-p", tc.arg}); err != nil || path != tc.path {
			t.Errorf("--path %s: got %q, %v; want %q", tc.arg, path, err, tc.path)
		}
		if err := f.Parse([]string{"--file=" + tc.arg}); file != tc.file || (err == nil) != (tc.file != "") {
			t.Errorf("--file %s: got %q, %v; want %q", tc.arg, file, err, tc.file)
		}
	}
}

func TestEnv(t *testing.T) {
	for _, tc := range []struct {
		name, env string
		args      []string
		want      string
	}{
		{"neither", "", nil, "default"},
		{"environment", "of the environment", nil, "of the environment"},
		{"command line wins", "of the environment", []string{"--key=mine"}, "mine"},
		{"empty on the command line wins", "of the environment", []string{"--key="}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("SLUICE_TEST_FLAG", tc.env)
			var got, path string
			f := pflag.NewFlagSet("test", pflag.ContinueOnError)
			f.StringVar(&got, "key", "default", "A key.")
			Env(f, "key", "SLUICE_TEST_FLAG")
			Path(f, &path, "path", "", "A path.")
			Env(f, "path", "SLUICE_TEST_FLAG")
			if help := f.FlagUsages(); !strings.Contains(help, "($SLUICE_TEST_FLAG)") || strings.Contains(help, "of the environment") || strings.Contains(help, "(default )") {
				t.Errorf("help: %s", help)
			}
			if err := f.Parse(tc.args); err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
