package redis

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

// The log has a line for each time that Redis comes or goes, however many calls find out.
func TestLogOncePerChange(t *testing.T) {
	down := errors.New("down")
	for name, tt := range map[string]struct {
		calls []error
		want  string
	}{
		"up from the start":       {[]error{nil, nil, nil, nil}, "up"},
		"down from the start":     {[]error{down, down, down}, "down"},
		"one failure, then up":    {[]error{down, nil, nil, nil}, "down up"},
		"an outage":               {[]error{nil, nil, down, down, down, nil, nil}, "up down up"},
		"up, and one that failed": {[]error{nil, down, nil, nil}, "up down up"},
	} {
		var b bytes.Buffer
		s := &Store{opts: Options{Log: slog.New(slog.NewTextHandler(&b, nil))}}
		for _, err := range tt.calls {
			s.note(err)
		}
		var got []string
		for _, m := range regexp.MustCompile(`msg=redis\.(\w+)`).FindAllStringSubmatch(b.String(), -1) {
			got = append(got, m[1])
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
}
