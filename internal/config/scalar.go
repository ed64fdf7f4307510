package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sluice/internal/llm"
	"sluice/internal/rules"
)

// A Size is a number of bytes, or of bytes a second.
type Size int64

// Off is the value of a size or duration that was switched off.
const Off = -1

var units = []struct {
	name string
	n    int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// ParseSize reads "32MiB", "1.5GiB", "64kB", a plain number of bytes, or "off".
func ParseSize(s string) (Size, error) {
	if s == "off" {
		return Off, nil
	}
	num, unit := s, int64(1)
	for _, u := range units {
		if cut, ok := strings.CutSuffix(s, u.name); ok {
			num, unit = strings.TrimRight(cut, " "), u.n
			break
		}
	}
	if n, err := strconv.ParseUint(num, 10, 63); err == nil && n <= uint64(math.MaxInt64/unit) {
		return Size(n) * Size(unit), nil
	}
	f, err := strconv.ParseFloat(num, 64)
	n := f * float64(unit)
	if err != nil || !strings.Contains(num, ".") || strings.ContainsAny(num, "eExX_+-") || n >= math.MaxInt64 || n != math.Trunc(n) {
		return 0, errors.New("must be a size in whole bytes such as 65536, 64KiB, 32MiB or 1.5GiB")
	}
	return Size(n), nil
}

// String writes the size with the largest unit that leaves a whole number.
func (s Size) String() string {
	if s < 0 {
		return "off"
	}
	for _, u := range units[:3] {
		if s != 0 && int64(s)%u.n == 0 {
			return strconv.FormatInt(int64(s)/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText writes String, for encoders.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func parseDuration(s string) (time.Duration, error) {
	if s == "off" {
		return Off, nil
	}
	n, err := time.ParseDuration(s)
	switch {
	case err != nil && isNumber(s):
		return 0, errors.New("a duration needs a unit: write 30s, 5m or 1h")
	case err != nil || n < 0:
		return 0, errors.New("must be a duration such as 500ms, 30s or 1m30s")
	}
	return n, nil
}

// durationText writes what parseDuration reads.
func durationText(d time.Duration) string {
	if d < 0 {
		return "off"
	}
	return rules.FormatDuration(d)
}

// parseRate reads US dollars for a million tokens.
func parseRate(s string) (llm.Rate, error) {
	n, err := llm.ParseNano(s)
	if err != nil || n < 0 || n > 1e6*llm.Dollar {
		return 0, errors.New("must be US dollars for a million tokens, such as 0.15, at most 1000000 and with at most nine decimals")
	}
	return llm.Rate(n), nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && !t.IsZero() {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("must be a date such as 2030-01-31 or a time such as 2030-01-31T12:00:00Z")
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME}, ${NAME:-default}, ${file:path} and ${vault:path#field} in a text and tells whether there were any;
// $${ stands for a plain ${. What a reference gives is not looked at again.
func (d *decoder) expand(n *yaml.Node, t reflect.Type, path string) (text string, expanded bool, err error) {
	if n.ShortTag() != "!!str" || !strings.Contains(n.Value, "${") {
		return n.Value, false, nil
	}
	if _, _, stored := d.inStore(path); stored {
		text, err = d.storedReference(n.Value, t, path)
		return text, true, err
	}
	var out strings.Builder
	for rest := n.Value; ; {
		i := strings.Index(rest, "${")
		if i < 0 {
			out.WriteString(rest)
			return out.String(), expanded, nil
		}
		if i > 0 && rest[i-1] == '$' {
			out.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		out.WriteString(rest[:i])
		ref, after, closed := strings.Cut(rest[i+2:], "}")
		if !closed {
			return "", false, errors.New("${ without its }: close it, or write $${ for a plain ${")
		}
		val, err := d.reference(ref)
		if err != nil {
			return "", false, err
		}
		out.WriteString(val)
		rest, expanded = after, true
	}
}

func (d *decoder) reference(ref string) (string, error) {
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		data, err := d.opts.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("${file:}: %w", err)
		}
		if len(data) > maxDocument {
			return "", fmt.Errorf("${file:%s}: the file has more than %d bytes", clip(path), maxDocument)
		}
		// Editors and echo end a file with a line break that is no part of a secret.
		text := strings.TrimRight(string(data), "\r\n")
		if text == "" { // a secret that was mounted wrongly must not turn off what it is for
			return "", fmt.Errorf("${file:%s}: the file is empty", clip(path))
		}
		return text, nil
	}
	if path, ok := strings.CutPrefix(ref, "vault:"); ok {
		if d.opts.Vault == nil {
			return "", errors.New("${vault:}: no Vault can be asked here")
		}
		val, err := d.opts.Vault(path)
		if err != nil {
			return "", fmt.Errorf("${vault:}: %w", err)
		}
		if val == "" {
			return "", fmt.Errorf("${vault:%s}: the value is empty", clip(path))
		}
		return val, nil
	}
	name, def, hasDefault := strings.Cut(ref, ":-")
	if !envName.MatchString(name) {
		// Not repeated: people write secrets between the braces, too.
		return "", errors.New("what stands in ${} is no reference: write ${NAME}, ${NAME:-default}, ${file:/path} or ${vault:MOUNT/PATH#FIELD}")
	}
	val := d.opts.Getenv(name)
	if val == "" && !hasDefault {
		return "", fmt.Errorf("the environment variable %s is not set: set it, or write ${%s:-default}", name, name)
	}
	if val == "" {
		return def, nil
	}
	return val, nil
}
