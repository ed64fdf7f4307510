package embed

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/internal/llm"
)

const wordPieceFile = `{"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
	"pre_tokenizer":{"type":"BertPreTokenizer"},
	"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":10,
	"vocab":{"[PAD]":0,"[UNK]":1,"cafe":2,"run":3,"##ning":4,"##s":5,"!":6,"日":7}}}`

const unigramFile = `{"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Lowercase"}]},
	"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"},
	"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁",-3],["▁run",-2],["ning",-2],["s",-4],["n",-9]]}}`

func TestTokenizer(t *testing.T) {
	tests := []struct {
		file, text string
		want       []int32
	}{
		{wordPieceFile, "Café running!", []int32{2, 3, 4, 6}},
		{wordPieceFile, "runs\tRUN  run", []int32{3, 5, 3, 3}},
		{wordPieceFile, "runx run", []int32{1, 3}},            // a word with an unknown part is unknown
		{wordPieceFile, "runningnings run", []int32{1, 3}},    // as is one that is too long
		{wordPieceFile, "日日 \x00\u200brun", []int32{7, 7, 3}}, // a Chinese character is a word; what does not print is nothing
		{wordPieceFile, "", nil},
		{unigramFile, "RUNNING runs", []int32{2, 3, 2, 4}},
		{unigramFile, "x run x", []int32{1, 0, 2, 1, 0}},
		{strings.Replace(unigramFile, `"prepend_scheme":"always"`, `"prepend_scheme":"never"`, 1), "nings", []int32{3, 4}},
		{strings.Replace(unigramFile, `{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}`,
			`{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Metaspace"}]}`, 1), "run  run", []int32{2, 2}},
	}
	for _, tt := range tests {
		k, err := readTokenizer([]byte(tt.file))
		if err != nil {
			t.Fatal(err)
		}
		if got := k.cut(tt.text); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %v, want %v", tt.text, got, tt.want)
		}
	}
	for name, file := range map[string]string{
		"no JSON":                  "{",
		"BPE":                      `{"model":{"type":"BPE"}}`,
		"a normalizer":             `{"normalizer":{"type":"Precompiled"},"model":{"type":"WordPiece","vocab":{}}}`,
		"a normalizer in another":  `{"normalizer":{"type":"Sequence","normalizers":[{"type":"Replace"}]},"model":{"type":"WordPiece","vocab":{}}}`,
		"a pre-tokenizer":          `{"pre_tokenizer":{"type":"Digits"},"model":{"type":"WordPiece","vocab":{}}}`,
		"a piece of no number":     `{"model":{"type":"WordPiece","vocab":{"a":-1}}}`,
		"a piece with a high one":  `{"model":{"type":"WordPiece","vocab":{"a":99999999}}}`,
		"an unknown piece outside": `{"model":{"type":"Unigram","unk_id":7,"vocab":[["a",0]]}}`,
		"bytes":                    `{"model":{"type":"Unigram","byte_fallback":true,"vocab":[["a",0]]}}`,
	} {
		if _, err := readTokenizer([]byte(file)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// tensors makes a file of tensors, each given by its kind, shape and bytes.
func tensors(t testing.TB, all map[string]tensor) []byte {
	t.Helper()
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for name, x := range all {
		header[name] = map[string]any{"dtype": x.kind, "shape": x.shape, "data_offsets": []int{len(data), len(data) + len(x.data)}}
		data = append(data, x.data...)
	}
	text, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, data)
}

// numbers are the bytes of numbers of one kind.
func numbers[T any](t testing.TB, all ...T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func staticDir(t testing.TB, tokenizer string, file []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{"tokenizer.json": []byte(tokenizer), "model.safetensors": file} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStatic(t *testing.T) {
	rows := []float32{0, 0, 9, 9, 3, 4, 1, 0, 0, 1, -1, 0, 0, -1, 5, 5} // two for each of eight pieces
	small := make([]int8, len(rows))
	for i, f := range rows {
		small[i] = int8(f)
	}
	halves := []uint16{0, 0, 0x4880, 0x4880, 0x4200, 0x4400, 0x3c00, 0, 0, 0x3c00, 0xbc00, 0, 0, 0xbc00, 0x4500, 0x4500}
	weights := tensor{"F64", []int{8}, numbers(t, 1.0, 1, 1, 1, 2, 1, 1, 1)}
	tests := []struct {
		name string
		all  map[string]tensor
		want map[string][]float32
	}{
		{"F32", map[string]tensor{"embeddings": {"F32", []int{8, 2}, numbers(t, rows...)}}, map[string][]float32{"cafe": {0.6, 0.8}, "running": {0.70711, 0.70711}}},
		{"F16", map[string]tensor{"embeddings": {"F16", []int{8, 2}, numbers(t, halves...)}}, map[string][]float32{"cafe": {0.6, 0.8}, "running": {0.70711, 0.70711}}},
		{"I8", map[string]tensor{"embeddings": {"I8", []int{8, 2}, numbers(t, small...)}}, map[string][]float32{"cafe": {0.6, 0.8}, "running": {0.70711, 0.70711}}},
		{"weights", map[string]tensor{"embeddings": {"F32", []int{8, 2}, numbers(t, rows...)}, "weights": weights}, map[string][]float32{"running": {0.44721, 0.89443}}},
		{
			"fewer rows than pieces", map[string]tensor{
				"embeddings": {"F32", []int{2, 2}, numbers[float32](t, 1, 0, 0, 2)}, "mapping": {"I64", []int{8}, numbers[int64](t, 0, 0, 1, 0, 0, 0, 0, 0)},
			}, map[string][]float32{"cafe": {0, 1}, "running": {1, 0}},
		},
	}
	ids := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Open(Options{Kind: Static, Dir: staticDir(t, wordPieceFile, tensors(t, tt.all))})
			if err != nil {
				t.Fatal(err)
			}
			if ids[m.ID()] || m.Dim() != 2 {
				t.Errorf("ID %s, %d dimensions", m.ID(), m.Dim())
			}
			ids[m.ID()] = true
			for text, want := range tt.want {
				got, err := m.Embed(t.Context(), text)
				if err != nil || len(got) != 2 || math.Abs(float64(got[0]-want[0])) > 1e-4 || math.Abs(float64(got[1]-want[1])) > 1e-4 {
					t.Errorf("%s: %v, %v, want %v", text, got, err, want)
				}
			}
			for _, text := range []string{"", "unheard", "run unheard", strings.Repeat("run ", 513), strings.Repeat("x", maxStaticText+1)} {
				_, err := m.Embed(t.Context(), text)
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.KindInvalid {
					t.Errorf("%.10q: %v, want %s", text, err, llm.KindInvalid)
				}
			}
		})
	}
}

func TestStaticFilesMustFit(t *testing.T) {
	table := tensor{"F32", []int{8, 2}, make([]byte, 64)}
	good := tensors(t, map[string]tensor{"embeddings": table})
	tests := map[string][]byte{
		"empty":           {},
		"a long header":   binary.LittleEndian.AppendUint64(nil, math.MaxUint64),
		"no header":       append(binary.LittleEndian.AppendUint64(nil, 2), "[]"...),
		"cut":             good[:len(good)-1],
		"no table":        tensors(t, map[string]tensor{"other": table}),
		"another kind":    tensors(t, map[string]tensor{"embeddings": {"BF16", []int{8, 4}, make([]byte, 64)}}),
		"another shape":   tensors(t, map[string]tensor{"embeddings": {"F32", []int{16}, make([]byte, 64)}}),
		"a negative one":  tensors(t, map[string]tensor{"embeddings": {"F32", []int{-8, -2}, make([]byte, 64)}}),
		"too few rows":    tensors(t, map[string]tensor{"embeddings": {"F32", []int{7, 2}, make([]byte, 56)}}),
		"too few weights": tensors(t, map[string]tensor{"embeddings": table, "weights": {"F32", []int{7}, make([]byte, 28)}}),
		"a row outside":   tensors(t, map[string]tensor{"embeddings": table, "mapping": {"I32", []int{8}, numbers[int32](t, 0, 1, 2, 3, 4, 5, 6, 8)}}),
	}
	for name, file := range tests {
		if _, err := Open(Options{Kind: Static, Dir: staticDir(t, wordPieceFile, file)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, o := range []Options{{}, {Kind: "best"}, {Kind: Static, Dir: t.TempDir()}} {
		if _, err := Open(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestHalf(t *testing.T) {
	for b, want := range map[uint16]float64{0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0001: math.Ldexp(1, -24), 0x8000: 0, 0x3555: 0.333251953125} {
		if got := half(b); got != want {
			t.Errorf("%#x: %v, want %v", b, got, want)
		}
	}
	if !math.IsInf(half(0x7c00), 1) || !math.IsInf(half(0xfc00), -1) || !math.IsNaN(half(0x7e00)) {
		t.Error("the numbers that are none")
	}
}

func FuzzTensors(f *testing.F) {
	f.Add(tensors(f, map[string]tensor{"embeddings": {"F16", []int{2, 2}, make([]byte, 8)}}))
	f.Add(append(binary.LittleEndian.AppendUint64(nil, 60), `{"a":{"dtype":"I8","shape":[1],"data_offsets":[18446744073709551615,0]}}`...))
	f.Fuzz(func(t *testing.T, file []byte) {
		all, err := readTensors(file)
		if err != nil {
			return
		}
		for _, x := range all {
			n, ok := size(x.shape, maxTensors)
			if !ok {
				t.Fatalf("shape %v", x.shape)
			}
			x.at(0)
			x.at(n - 1)
		}
		if k, err := readTokenizer([]byte(wordPieceFile)); err != nil {
			t.Fatal(err)
		} else if m, err := newStatic(k, all); err == nil {
			_, _ = m.Embed(t.Context(), "cafe running!")
		}
	})
}

func FuzzTokenizer(f *testing.F) {
	f.Add([]byte(wordPieceFile), "Café running! 日 x")
	f.Add([]byte(unigramFile), " run  RUNNING\xff x")
	f.Add([]byte(`{"pre_tokenizer":{"type":"Metaspace","replacement":"ab"},"model":{"type":"Unigram","vocab":[["a",1]]}}`), "ab a b")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		k, err := readTokenizer(file)
		if err != nil || len(text) > maxStaticText {
			return
		}
		for _, id := range k.cut(text) {
			if id != k.unknown && (id < 0 || int(id) >= k.size) {
				t.Fatalf("piece %d of %d", id, k.size)
			}
		}
	})
}

func BenchmarkStatic(b *testing.B) {
	m, err := openStatic(staticDir(b, wordPieceFile, tensors(b, map[string]tensor{"embeddings": {"F16", []int{8, 256}, bytes.Repeat([]byte{0, 0x3c}, 8*256)}})))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Embed(b.Context(), "Cafe running runs run! running runs cafe!"); err != nil {
			b.Fatal(err)
		}
	}
}
