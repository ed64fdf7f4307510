package embed

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/embed/embedtest"
	"sluice/internal/llm"
)

// loaded reads a model once for all tests: nothing of it changes.
var loaded sync.Map // of *useLite, by folder

func useModel(t testing.TB) *useLite {
	t.Helper()
	dir := embedtest.USELite(t)
	if m, ok := loaded.Load(dir); ok {
		return m.(*useLite)
	}
	m, err := openUSELite(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Store(dir, m)
	return m
}

// The pieces and the vectors are those that TensorFlow.js gives with the same files.
func TestUSELiteIsTheReference(t *testing.T) {
	m := useModel(t)
	tests := []struct {
		text string
		ids  []int32
		want []float32
	}{
		{"How do I reset my password?", []int32{728, 64, 16, 137, 1383, 69, 5969, 54}, []float32{-0.04846, -0.05457, 0.04023, -0.05394}},
		{"hello", []int32{2002, 102}, []float32{0.04168, -0.02236, -0.04761, -0.04928}},
	}
	for _, tt := range tests {
		ids, err := m.cut(tt.text)
		if diff := cmp.Diff(tt.ids, ids); diff != "" || err != nil {
			t.Errorf("%s: %v, pieces (-want +got):\n%s", tt.text, err, diff)
		}
		v, err := m.Embed(t.Context(), tt.text)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range tt.want {
			if math.Abs(float64(v[i]-w)) > 1e-5 {
				t.Errorf("%s: number %d is %v, want %v", tt.text, i, v[i], w)
			}
		}
		if length := dot(v, v); len(v) != useDim || math.Abs(float64(length)-1) > 1e-5 {
			t.Errorf("%s: %d numbers of length %v", tt.text, len(v), length)
		}
	}
}

func TestUSELiteUnderstands(t *testing.T) {
	m := useModel(t)
	var vectors [][]float32
	for _, s := range []string{"How do I reset my password?", "I forgot my password, how can I change it?", "What is the capital of France?"} {
		v, err := m.Embed(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, v)
	}
	if near, far := dot(vectors[0], vectors[1]), dot(vectors[0], vectors[2]); near < far+0.2 {
		t.Errorf("a paraphrase has %v, another question %v", near, far)
	}
}

func TestUSELiteRefuses(t *testing.T) {
	m := useModel(t)
	for name, text := range map[string]string{"nothing": "", "too many pieces": strings.Repeat("word ", 200), "too many bytes": strings.Repeat("a", maxUSEText+1), "unknown signs": "hello 日本語", "no text": "\xff\x00"} {
		_, err := m.Embed(t.Context(), text)
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.KindInvalid {
			t.Errorf("%s: %v, want %s", name, err, llm.KindInvalid)
		}
	}
}

// Its turns are few: who waits for one gives up with the caller.
func TestUSELiteTakesTurns(t *testing.T) {
	with := *useModel(t)
	m := &with
	m.turns = make(chan struct{}, 1)
	m.turns <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := m.Embed(ctx, "hello"); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
	})
	cancel()
	all.Wait()
	<-m.turns
	if _, err := m.Embed(t.Context(), "hello"); err != nil {
		t.Error(err)
	}
	if len(m.turns) != 0 {
		t.Error("a turn was not given back")
	}
}

func TestUSELiteFilesMustBeWhole(t *testing.T) {
	whole := embedtest.USELite(t)
	tests := []struct {
		name, file string
		change     func(b []byte) []byte
		want       string
	}{
		{"no file", "vocab.json", nil, "no such file"},
		{"a shard is cut", "group1-shard3of7", func(b []byte) []byte { return b[:len(b)-4] }, "the weights have"},
		{"no JSON", "model.json", func(b []byte) []byte { return b[:100] }, "model.json"},
		{"a shard outside", "model.json", func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `"group1-shard1of7"`, `"../etc/passwd"`, 1))
		}, "is not beside it"},
		{"another shape", "model.json", func(b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), "TimingSignal/ExpandDims_1", "TimingSignal/x"))
		}, "not the Universal Sentence Encoder lite"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			files, err := os.ReadDir(whole)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if f.Name() != tt.file {
					if err := os.Symlink(filepath.Join(whole, f.Name()), filepath.Join(dir, f.Name())); err != nil {
						t.Fatal(err)
					}
				} else if tt.change != nil {
					b, err := os.ReadFile(filepath.Join(whole, f.Name()))
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(dir, f.Name()), tt.change(b), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := Open(Options{Kind: USELite, Dir: dir}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestUnigram(t *testing.T) {
	u, err := newUnigram([]piece{{"?", 0}, {"a", -1}, {"b", -1}, {"ab", -1.5}, {"abc", -9}, {"c", -1}, {"é", -2}}, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{
		"": nil, "ab": {3}, "aab": {1, 3}, "abc": {3, 5}, "xyz": {0}, "axxb": {1, 0, 2}, "é": {6}, "aéx": {1, 6, 0}, "\xff\xffa": {0, 1}, "日本a": {0, 1},
	} {
		if got := u.split(nil, text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	for name, p := range map[string]piece{"long": {strings.Repeat("x", maxPiece+1), 0}, "nan": {"x", math.NaN()}, "inf": {"x", math.Inf(-1)}} {
		if _, err := newUnigram([]piece{p}, 0, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The blocks of a dense layer give what the plain sum gives, whatever the numbers of rows and columns.
func TestDense(t *testing.T) {
	for rows := 1; rows < 10; rows++ {
		for cols := 1; cols < 6; cols++ {
			const width = 7
			d := dense{newMatrix(cols, width), make([]float32, cols)}
			in, out := newMatrix(rows, width), newMatrix(rows, cols)
			for i := range in.data {
				in.data[i] = float32(i%5) - 2
			}
			for i := range d.weights.data {
				d.weights.data[i] = float32(i%7) - 3
			}
			for i := range d.bias {
				d.bias[i] = float32(i)
			}
			d.apply(in, out)
			for i := range rows {
				for j := range cols {
					want := d.bias[j]
					for k := range width {
						want += d.weights.row(j)[k] * in.row(i)[k]
					}
					if got := out.row(i)[j]; got != want {
						t.Fatalf("%dx%d: %v, want %v", rows, cols, got, want)
					}
				}
			}
		}
	}
}

func FuzzUSEVocabulary(f *testing.F) {
	f.Add([]byte(`[["a",0],["b",0],["c",0],["d",0],["e",0],["f",0],["▁g",-1],["h",null]]`), "g h")
	f.Add([]byte(`[[1,2],[],null,["a"]]`), "")
	f.Fuzz(func(t *testing.T, vocabulary []byte, text string) {
		u, n, err := readUSEVocabulary(vocabulary)
		if err != nil {
			return
		}
		for _, id := range u.split(nil, text) {
			if id < 0 || int(id) >= n {
				t.Fatalf("piece %d of %d", id, n)
			}
		}
	})
}

func FuzzGraph(f *testing.F) {
	f.Add([]byte(`{"weightsManifest":[{"paths":["a"],"weights":[{"name":"x","shape":[2,3],"dtype":"float32"}]}]}`))
	f.Add([]byte(`{"weightsManifest":[{"paths":["../a"],"weights":[{"name":"x","shape":[-1],"dtype":"int32"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		files, rows, err := readGraph(text)
		if err != nil {
			return
		}
		for _, name := range files {
			if strings.ContainsRune(name, filepath.Separator) {
				t.Fatalf("the file %q", name)
			}
		}
		total := 0
		for _, r := range rows {
			n, ok := size(r.Shape, maxModel)
			if total += 4 * n; !ok || total > maxModel {
				t.Fatalf("%v is taken, %d bytes in all", r.Shape, total)
			}
		}
	})
}

func BenchmarkUSELite(b *testing.B) {
	m := useModel(b)
	for _, text := range []string{"hello", "How do I reset my password?", "What is the best way to learn a foreign language when you have no time at all?"} {
		ids, err := m.cut(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			b.ReportMetric(float64(len(ids)), "pieces")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Embed(b.Context(), text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
