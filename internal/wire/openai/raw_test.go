package openai

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"

	"sluice/internal/llm"
)

// chunks is a stream of n chunks of text.
func chunks(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}],"usage":null}` + "\n\n")
	for range n {
		b.WriteString(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" the \"usage\" of \"error\""},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"abc"}` + "\n\n")
	}
	b.WriteString(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}` + "\n\ndata: [DONE]\n\n")
	return b.Bytes()
}

func TestRawFramesDoNotAllocate(t *testing.T) {
	const frames = 500
	s := Chat.ReadStream(body(chunks(2*frames), 0), true)
	defer s.Close()
	for range 3 { // the opening, which is decoded, and the buffer's growth
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	allocs := testing.AllocsPerRun(frames, func() {
		ev, err := s.Next()
		if err != nil || !ev.Output || ev.Delta != nil {
			t.Fatalf("%+v %v", ev, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a raw frame", allocs)
	}
}

func BenchmarkStream(b *testing.B) {
	data := chunks(100)
	for name, raw := range map[string]bool{"raw": true, "decoded": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				s := Chat.ReadStream(body(data, 0), raw)
				for {
					if _, err := s.Next(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				s.Close()
			}
		})
	}
}

func BenchmarkTranslate(b *testing.B) {
	data := chunks(100)
	b.ReportAllocs()
	for b.Loop() {
		s := Chat.ReadStream(body(data, 0), false)
		w := Chat.Writer(&llm.Call{ID: "x", WantUsage: true})
		var out []byte
		for {
			ev, err := s.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			ev.Format = "another"
			if out, err = w.Event(out[:0], ev); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkRetarget(b *testing.B) {
	body := []byte(`{"model":"gpt","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("x", 200<<10) + `"}]}`)
	s := scan(b, Chat, body)
	b.ReportAllocs()
	for b.Loop() {
		Chat.Retarget(body, &s.Marks, &llm.Encoding{Model: "other", Stream: true})
	}
}

// Output is exact until the first real output: what is read ahead of it can still go elsewhere.
func TestOutput(t *testing.T) {
	const head = `data: {"id":"1","choices":[{"index":0,"delta":`
	for name, tc := range map[string]struct {
		delta string
		want  bool
	}{
		"role":             {`{"role":"assistant","content":""}`, false},
		"empty":            {`{}`, false},
		"null":             {`{"content":null,"reasoning":null,"tool_calls":null,"refusal":null}`, false},
		"text":             {`{"content":"a"}`, true},
		"reasoning":        {`{"reasoning_content":"a"}`, true},
		"details":          {`{"reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]}`, true},
		"empty details":    {`{"reasoning_details":[]}`, false},
		"call":             {`{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}`, true},
		"refusal":          {`{"refusal":"no"}`, true},
		"annotations only": {`{"annotations":[{"type":"url_citation"}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, raw := range []bool{false, true} {
				s := Chat.ReadStream(body([]byte(head+tc.delta+`,"finish_reason":null}]}`+"\n\n"), 0), raw)
				ev, err := s.Next()
				if err != nil || ev.Output != tc.want {
					t.Errorf("raw %v: output %v, %v", raw, ev != nil && ev.Output, err)
				}
				s.Close()
			}
		})
	}
}

// A source that breaks is classified where it is read.
func TestBrokenSource(t *testing.T) {
	own := &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "idle"}
	for name, tc := range map[string]struct {
		err  error
		want llm.Kind
	}{
		"reset": {errors.New("connection reset by peer"), llm.KindUpstream},
		"cut":   {io.ErrUnexpectedEOF, llm.KindUpstream},
		"ours":  {own, llm.KindUpstreamTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			for _, raw := range []bool{false, true} {
				// Even after the last reason to stop: a reset is not an end.
				data := chunks(2)
				data = data[:bytes.Index(data, []byte("data: [DONE]"))]
				got := listen(Chat.ReadStream(io.NopCloser(io.MultiReader(bytes.NewReader(data), failing{tc.err})), raw))
				if kindOf(got.Err) != tc.want {
					t.Errorf("raw %v: %v", raw, got.Err)
				}
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Close from elsewhere ends a Next that waits, and may come twice.
func TestCloseUnblocks(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	s := Chat.ReadStream(r, true)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Next(); kindOf(err) != llm.KindUpstream {
			t.Errorf("next: %v", err)
		}
	})
	s.Close()
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzStream(f *testing.F) {
	files, _ := filepath.Glob("testdata/stream/*.txtar")
	for i, name := range files {
		if a, err := txtar.ParseFile(name); err == nil {
			f.Add(a.Files[0].Data, uint8(i+1))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, n uint8) {
		want := listen(Chat.ReadStream(body(data, 0), false))
		got := listen(Chat.ReadStream(body(data, int(n)+1), false))
		if one(want.Answer) != one(got.Answer) || kindOf(want.Err) != kindOf(got.Err) {
			t.Errorf("pieces of %d bytes give another answer:\n%s %v\n%s %v", int(n)+1, one(want.Answer), want.Err, one(got.Answer), got.Err)
		}
		if want.Err != nil && kindOf(want.Err) == "" {
			t.Errorf("an error without meaning: %v", want.Err)
		}
		for _, isRaw := range []bool{true, false} {
			whole := listen(Chat.ReadStream(body(data, 0), isRaw))
			pieces := listen(Chat.ReadStream(body(data, int(n)+1), isRaw))
			if !bytes.Equal(bytes.TrimRight(whole.Raw, "\r\n"), bytes.TrimRight(pieces.Raw, "\r\n")) {
				t.Errorf("raw %v: the bytes differ:\n%q\n%q", isRaw, whole.Raw, pieces.Raw)
			}
		}
		w := Chat.Writer(&llm.Call{ID: "x", WantUsage: true})
		s := Chat.ReadStream(body(data, 0), false)
		defer s.Close()
		for ev, err := range llm.All(s) {
			if err != nil {
				break
			}
			if _, err := w.Event(nil, ev); err != nil {
				t.Errorf("write: %v", err)
			}
		}
	})
}
