package e2e

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOperationsFromElsewhere: without a token operations are taken from this machine only; with one from anywhere, but only with it.
func TestOperationsFromElsewhere(t *testing.T) {
	ip := ownAddress(t)
	const token = "0356540b228d03a32a9f71f65c6ccaa9823910c13de1792850fd8d20ce3f0301"
	for _, c := range []struct {
		name, token, sent string
		here, there       int
	}{
		{"no token", "", "", 200, 401},
		{"a token, not sent", token, "", 401, 401},
		{"a token", token, token, 200, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "sluice.yaml")
			doc := "listen: 127.0.0.1:0\nadmin: {listen: \"0.0.0.0:0\", token: \"" + c.token + "\"}\ndata: data\nmock: {enabled: true}\n"
			if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
				t.Fatal(err)
			}
			admin := regexp.MustCompile(`"admin":"[^"]*:(\d+)"`)
			p, err := launch(dir, nil, func(line string) bool { return admin.MatchString(line) }, "serve", "--config", file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.stop)
			port := admin.FindStringSubmatch(p.find(`"admin"`))[1]
			for host, want := range map[string]int{"127.0.0.1": c.here, ip: c.there} {
				for _, path := range []string{"GET /admin/upstreams", "POST /admin/upstreams", "POST /admin/explain", "POST /admin/keys/revoke"} {
					method, path, _ := strings.Cut(path, " ")
					req, _ := http.NewRequestWithContext(t.Context(), method, "http://"+net.JoinHostPort(host, port)+path, strings.NewReader("{}"))
					req.Header.Set("Content-Type", "application/json")
					if c.sent != "" {
						req.Header.Set("Authorization", "Bearer "+c.sent)
					}
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
					refused := resp.StatusCode == 401 || resp.StatusCode == 403
					if want == 200 && refused || want != 200 && resp.StatusCode != want {
						t.Errorf("%s %s at %s: %d, want %d", method, path, host, resp.StatusCode, want)
					}
				}
			}
		})
	}
}

// ownAddress is an address of this machine that is not the loopback's: what comes by it comes from elsewhere.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("NOTICE: not run: this machine has no address but the loopback's")
	return ""
}

// TestRoutingDocument: the configuration in docs/routing.md is one.
func TestRoutingDocument(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatal("docs/routing.md has no configuration")
	}
	for _, b := range blocks {
		file := filepath.Join(t.TempDir(), "sluice.yaml")
		if err := os.WriteFile(file, b[1], 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, "config", "check", file)
		cmd.Env = []string{"HOME=" + t.TempDir()}
		for _, name := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllSubmatch(b[1], -1) {
			cmd.Env = append(cmd.Env, string(name[1])+"=sk-an-example-0123456789-abcdefghijklmnop")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, b[1])
		}
		if err := os.WriteFile(file+".json", []byte(`{"model":"fast","messages":[{"role":"user","content":"ping"}]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		explain := exec.Command(bin, "explain", "--config", file, "--key", "ci", "--request", file+".json")
		explain.Env = cmd.Env
		out, err := explain.CombinedOutput()
		for _, want := range []string{"strategy latency", "openai/gpt-4o-mini", "azure-eu/gpt-4o-mini", "anthropic/claude"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%v: no %s in\n%s", err, want, out)
			}
		}
	}
}
