package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var okLine = regexp.MustCompile(`(?m)^\s*ok \d`)

// TestNodeSDKs runs the official JavaScript SDKs against the real binary, one file of sdk/ each.
func TestNodeSDKs(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		lacking(t, "there is no node on the path")
	}
	if _, err := os.Stat("sdk/node_modules/openai/package.json"); err != nil {
		lacking(t, "the JavaScript SDKs are not installed under internal/e2e/sdk")
	}
	files, err := filepath.Glob("sdk/*.test.mjs")
	if err != nil || len(files) < 4 {
		t.Fatalf("test files: %v, %v", files, err)
	}
	g := gatewayForAll(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test.mjs"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter=tap", file)
			cmd.Env = append(os.Environ(), "SLUICE_URL="+g.url, "SLUICE_KEY="+key, "SLUICE_STRANGERS_KEY="+strangersKey, "NODE_ENV=test")
			out, err := cmd.CombinedOutput()
			passed := len(okLine.FindAll(out, -1))
			if err != nil {
				t.Errorf("%v\n%s", err, failures(string(out)))
			}
			if passed < 5 {
				t.Errorf("only %d tests ran:\n%.4000s", passed, out)
			}
			t.Logf("%d tests", passed)
		})
	}
}

// failures are the lines of a TAP report that say what went wrong.
func failures(report string) string {
	var out []string
	left := 0
	for line := range strings.Lines(report) {
		if strings.HasPrefix(strings.TrimSpace(line), "not ok ") {
			left = 14
		}
		if left > 0 && strings.TrimSpace(line) != "" {
			out = append(out, line)
		}
		left--
	}
	return strings.Join(out, "")
}
