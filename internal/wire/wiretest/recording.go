// Package wiretest is the conformance suite of the wire formats: what a provider really sent, and what every
// format must make of it. It reads recordings and fixtures with plain code of its own, never with the
// formats it tests, so that a mistake in a codec cannot hide in the expectation.
//
// Recordings of real traffic are third party and stand beside the project, not in it; the fixtures under
// testdata are our own and cover the same features.
package wiretest

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
)

//go:embed testdata
var testdata embed.FS

// A Recording is one exchange with a provider.
type Recording struct {
	ID       string // unique; a fixture's path
	Slot     string // what it is there for, in a word
	Provider string
	Endpoint string
	Stream   bool
	Method   string
	URL      *url.URL
	Ask      []byte // the request's body; empty when only the answer is known
	Status   int
	Header   http.Header // of the answer
	Answer   []byte      // the answer's body
}

func (r *Recording) String() string { return r.Slot + "/" + r.ID }

// Format is the wire format of the exchange, "" when this build has none for it.
func (r *Recording) Format() llm.Format {
	switch r.Endpoint {
	case "chat.completions":
		return llm.OpenAIChat
	case "completions":
		return llm.OpenAICompletions
	case "responses":
		return llm.OpenAIResponses
	case "embeddings":
		return llm.OpenAIEmbeddings
	case "messages":
		return llm.AnthropicMessages
	case "generateContent", "streamGenerateContent":
		return llm.GeminiGenerate
	}
	return ""
}

// Refused says that the provider answered with an error.
func (r *Recording) Refused() bool { return r.Status/100 != 2 }

// Request is the request's head, as a client of ours would send it.
func (r *Recording) Request() *http.Request {
	return &http.Request{Method: http.MethodPost, URL: r.URL, Header: http.Header{"Content-Type": {"application/json"}}}
}

// All gives the recordings and the fixtures. Without the recordings it says so and gives the fixtures alone.
func All(t testing.TB) []*Recording {
	t.Helper()
	return append(Recordings(t), Fixtures(t)...)
}

// Recordings loads the recorded traffic, nothing when it is not there.
func Recordings(t testing.TB) []*Recording {
	t.Helper()
	dir := recordingsDir(t)
	var all []*Recording
	for _, name := range []string{"recordings.jsonl", "response_only.jsonl"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Logf("NOTICE: the recordings of real traffic are not here (%v): only the fixtures are used. Put them at ../shared/recordings, or name their folder's parent in SLUICE_SHARED.", err)
			return nil
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			all = append(all, parseRecording(t, lines.Bytes()))
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 80 {
		t.Fatalf("only %d recordings: the folder is not whole", len(all))
	}
	return all
}

// recordingsDir is ../shared/recordings beside the project, or under SLUICE_SHARED.
func recordingsDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("SLUICE_SHARED"); dir != "" {
		return filepath.Join(dir, "recordings")
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for filepath.Dir(dir) != dir {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, "..", "shared", "recordings")
}

func parseRecording(t testing.TB, line []byte) *Recording {
	t.Helper()
	type body struct{ Encoding, Data string }
	var in struct {
		ID, Slot, Provider, Endpoint string
		Stream                       bool
		Request                      struct {
			URL  string
			Body body
		}
		Response struct {
			Status  int
			Headers map[string]string
			Body    body
		}
	}
	if err := json.Unmarshal(line, &in); err != nil {
		t.Fatal(err)
	}
	bytesOf := func(b body) []byte {
		if b.Encoding != "base64" {
			return []byte(b.Data)
		}
		raw, err := base64.StdEncoding.DecodeString(b.Data)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	u, err := url.Parse(in.Request.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recording{
		ID: in.ID, Slot: in.Slot, Provider: in.Provider, Endpoint: in.Endpoint, Stream: in.Stream, URL: u,
		Ask: bytesOf(in.Request.Body), Status: in.Response.Status, Header: http.Header{}, Answer: bytesOf(in.Response.Body),
	}
	if r.Status == 0 { // only the answer was kept
		r.Status = http.StatusOK
	}
	for name, value := range in.Response.Headers {
		r.Header.Set(name, value)
	}
	return r
}

// endpoints are the fixtures' folders and the paths that a client would call.
var endpoints = map[string]struct{ endpoint, path, streamPath string }{
	"chat":       {"chat.completions", "/v1/chat/completions", ""},
	"responses":  {"responses", "/v1/responses", ""},
	"messages":   {"messages", "/v1/messages", ""},
	"gemini":     {"generateContent", "/v1beta/models/gemini-test:generateContent", "/v1beta/models/gemini-test:streamGenerateContent?alt=sse"},
	"embeddings": {"embeddings", "/v1/embeddings", ""},
}

// Fixtures loads our own exchanges: testdata/ENDPOINT/NAME.txtar with the files request.json and one of
// answer.json, answer.sse and answer.STATUS.json; the comment holds headers of the answer, one a line.
// "stream: true" there says that the request line asks for a stream; "crlf: true" that lines end so.
func Fixtures(t testing.TB) []*Recording {
	t.Helper()
	var all []*Recording
	err := fs.WalkDir(testdata, "testdata", func(p string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(p) != ".txtar" {
			return err
		}
		raw, err := testdata.ReadFile(p)
		if err != nil {
			return err
		}
		all = append(all, parseFixture(t, p, txtar.Parse(raw)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no fixtures")
	}
	return all
}

func parseFixture(t testing.TB, p string, a *txtar.Archive) *Recording {
	t.Helper()
	name := strings.TrimSuffix(strings.TrimPrefix(p, "testdata/"), ".txtar")
	e, ok := endpoints[path.Dir(name)]
	if !ok {
		t.Fatalf("%s: no such endpoint", p)
	}
	r := &Recording{
		ID: name, Slot: "fixture", Provider: "fixture", Endpoint: e.endpoint, Status: http.StatusOK, Header: http.Header{},
	}
	for line := range strings.Lines(string(a.Comment)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(k, "#") {
			r.Header.Set(k, v)
		}
	}
	for _, f := range a.Files {
		data := bytes.TrimSuffix(f.Data, []byte("\n"))
		switch stem, ext := strings.TrimSuffix(f.Name, path.Ext(f.Name)), path.Ext(f.Name); {
		case f.Name == "request.json":
			r.Ask = data
		case ext == ".sse":
			r.Stream, r.Answer = true, f.Data
		case stem == "answer":
			r.Answer = data
		default:
			status, err := strconv.Atoi(strings.TrimPrefix(stem, "answer."))
			if err != nil {
				t.Fatalf("%s: file %s", p, f.Name)
			}
			r.Status, r.Answer = status, data
		}
	}
	if r.Header.Get("Crlf") != "" {
		r.Answer = bytes.ReplaceAll(r.Answer, []byte("\n"), []byte("\r\n"))
	}
	r.Stream = r.Stream || r.Header.Get("Stream") == "true"
	where := e.path
	if r.Stream && e.streamPath != "" {
		where = e.streamPath
	}
	if r.Header.Get("Array") != "" {
		where = strings.TrimSuffix(where, "?alt=sse")
	}
	var err error
	if r.URL, err = url.Parse("https://fixture.invalid" + where); err != nil {
		t.Fatal(err)
	}
	return r
}
