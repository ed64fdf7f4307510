package anthropic

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// A recording is one exchange with the real API. They are third-party data, kept outside the project.
type recording struct {
	ID       string `json:"id"`
	Provider string `json:"provider"`
	Endpoint string `json:"endpoint"`
	Stream   bool   `json:"stream"`
	Features []string
	Request  struct{ Body recorded }
	Response struct {
		Status  int
		Headers map[string]string
		Body    recorded
	}
}

type recorded struct{ Encoding, Data string }

func (r recorded) bytes(t *testing.T) []byte {
	t.Helper()
	if r.Encoding != "base64" {
		return []byte(r.Data)
	}
	b, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recordings gives this vendor's exchanges out of the named files, or skips.
func recordings(t *testing.T, files ...string) []recording {
	t.Helper()
	dir := filepath.Join(shared(t), "recordings")
	var out []recording
	for _, name := range files {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Skipf("NOT TESTED AGAINST REAL TRAFFIC: no recordings (set SLUICE_SHARED): %v", err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var r recording
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if r.Provider == "anthropic" {
				out = append(out, r)
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if len(out) == 0 {
		t.Fatal("no recordings of this vendor")
	}
	return out
}

// shared is the folder of third-party data: SLUICE_SHARED, or the one beside the project.
func shared(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("SLUICE_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(filepath.Dir(dir), "shared")
		}
		if filepath.Dir(dir) == dir {
			t.Skip("NOT TESTED AGAINST REAL TRAFFIC: not inside the project")
		}
		dir = filepath.Dir(dir)
	}
}
