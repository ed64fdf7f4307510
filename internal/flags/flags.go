// Package flags has what command-line flags of ours can beyond those of pflag: name files, and take their value from the
// environment. It refuses to know any command.
package flags

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// Path defines a flag that names a file, which need not exist. What p gets is what Absolute makes of it. short may be "".
func Path(f *pflag.FlagSet, p *string, name, short, usage string) {
	f.VarP(&file{at: p}, name, short, usage)
}

// File is Path for a file that must exist.
func File(f *pflag.FlagSet, p *string, name, short, usage string) {
	f.VarP(&file{at: p, exists: true}, name, short, usage)
}

// Env lets an environment variable say what the command line leaves out. An empty variable is none. The help names the
// variable and never shows its value: it may be a secret. The flag must take any text.
func Env(f *pflag.FlagSet, name, variable string) {
	flag := f.Lookup(name)
	flag.Usage += " ($" + variable + ")"
	if v := os.Getenv(variable); v != "" {
		_ = flag.Value.Set(v) // not f.Set: the command line has not said it
	}
}

// Absolute makes a path whole: ~/ is the home directory, and all else starts where the program was started. "-", which is
// standard input or output, stays.
func Absolute(path string) string {
	if path == "-" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// A file is the value of Path and File.
type file struct {
	at     *string
	exists bool
}

// Set implements pflag.Value.
func (v *file) Set(path string) error {
	path = Absolute(path)
	if v.exists && path != "-" {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a directory", path)
		}
	}
	*v.at = path
	return nil
}

// String implements pflag.Value.
func (v *file) String() string {
	if v.at == nil { // pflag asks a zero value what it is
		return ""
	}
	return *v.at
}

// Type implements pflag.Value.
func (*file) Type() string { return "FILE" }
