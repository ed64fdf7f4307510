package e2e

import (
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestH2Spec holds HTTP/2 on the data listener to the conformance suite. Go's own server fails a few of its cases; the gateway
// may fail no other.
func TestH2Spec(t *testing.T) {
	tool, err := filepath.Abs("../../.cache/bin/h2spec")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tool); err != nil {
		lacking(t, "h2spec is not in .cache/bin")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	floor := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("healthy"))
	})}
	floor.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = floor.Serve(l) }()
	t.Cleanup(func() { _ = floor.Close() })
	allowed, all := h2spec(t, tool, l.Addr().String())
	g := started(t, "h2c: true\nmock: {enabled: true}\n")
	failed, n := h2spec(t, tool, g.addr)
	if n != all || n < 140 {
		t.Errorf("%d cases ran, %d against Go's own server", n, all)
	}
	// Some cases race the answer of a path that is this quick, on either server: what fails must fail again.
	for range 2 {
		if worse(failed, allowed) == 0 {
			break
		}
		again, _ := h2spec(t, tool, g.addr)
		maps.DeleteFunc(failed, func(name string, _ bool) bool { return !again[name] })
	}
	for name := range failed {
		if !allowed[name] {
			t.Errorf("fails and Go's own server does not: %s", name)
		}
	}
	found.add("R40 h2spec", worse(failed, allowed) == 0, fmt.Sprintf("no case fails but for Go's own server's %d", len(allowed)), fmt.Sprintf("%d of %d", n-len(failed), n))
}

// worse counts the failures that are not allowed.
func worse(failed, allowed map[string]bool) (n int) {
	for name := range failed {
		if !allowed[name] {
			n++
		}
	}
	return n
}

// h2spec runs the suite and gives the cases that failed and how many there were.
func h2spec(t *testing.T, tool, addr string) (failed map[string]bool, n int) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	out, _ := exec.CommandContext(t.Context(), tool, "-h", host, "-p", port, "-P", "/health", "-o", "2", "-j", report).CombinedOutput() // fails when a case does
	raw, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("h2spec: %v\n%s", err, out)
	}
	var suites struct {
		Suite []struct {
			ID   string `xml:"id,attr"`
			Case []struct {
				Name    string    `xml:"classname,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(raw, &suites); err != nil {
		t.Fatal(err)
	}
	failed = make(map[string]bool)
	for _, s := range suites.Suite {
		for _, c := range s.Case {
			n++
			if c.Failure != nil || c.Error != nil {
				failed[s.ID+": "+c.Name] = true
			}
		}
	}
	return failed, n
}
