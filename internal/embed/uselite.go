package embed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"sluice/internal/llm"
)

// The shape of the Universal Sentence Encoder lite (tfhub.dev/google/universal-sentence-encoder-lite): two layers of a transformer over
// pieces of SentencePiece, their mean, and one dense layer.
const (
	useReserved = 6   // pieces that stand for something else than text
	useTokens   = 128 // pieces of a text that it sees
	useWidth    = 256 // of a piece's vector, and of the first layer's input
	useDim      = 512 // of all that comes after, and of the answer
	useInner    = 1536
	useHeads    = 4
	// maxUSEText is how long a text may be that is cut into pieces at all: 128 pieces of it are never more.
	maxUSEText = 4 << 10
)

// useLite is the model. Nothing of it changes, so any number may use it at once; turns bounds how many do.
type useLite struct {
	id     string
	pieces *unigram
	table  matrix // a vector for each piece, and a few more
	timing []float32
	layers [2]layer
	last   dense
	turns  chan struct{}
}

// A layer is one of the transformer's: attention over all pieces, then two dense layers for each piece alone. Both add to what came in.
type layer struct {
	before   normal
	qkv, out dense
	residual *dense // brings the input to the width of the output; nil: it has it
	middle   normal
	widen    dense
	narrow   dense
}

// openUSELite reads the files model.json, vocab.json and the shards that the first names.
func openUSELite(dir string, parallel int) (*useLite, error) {
	text, err := readFile(filepath.Join(dir, "model.json"), maxText)
	if err != nil {
		return nil, err
	}
	files, rows, err := readGraph(text)
	if err != nil {
		return nil, err
	}
	words, err := readFile(filepath.Join(dir, "vocab.json"), maxText)
	if err != nil {
		return nil, err
	}
	pieces, n, err := readUSEVocabulary(words)
	if err != nil {
		return nil, err
	}
	data, err := shards(dir, files)
	if err != nil {
		return nil, err
	}
	s, err := newShelf(rows, data)
	if err != nil {
		return nil, err
	}
	const extra = 2 // rows of the table past the vocabulary, which nobody names
	m := &useLite{
		pieces: pieces, table: matrix{n + extra, useWidth, s.take("module/Embeddings_en", n+extra, useWidth)},
		timing: s.take("AddTimingSignal/TimingSignal/ExpandDims_1", useWidth/2),
		layers: [2]layer{s.layer(0, useWidth), s.layer(1, useDim)},
		last:   s.dense("hidden_layers/tanh_layer_0/weights", "hidden_layers/tanh_layer_0/bias", useDim, useDim),
		turns:  make(chan struct{}, parallel),
	}
	if s.err != nil {
		return nil, s.err
	}
	m.id = fmt.Sprintf("use-lite/%s/f32/%d", revision(words, data), useDim)
	return m, nil
}

// revision tells files apart by what is in them.
func revision(files ...[]byte) string {
	h := sha256.New()
	for _, f := range files {
		sum := sha256.Sum256(f)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// ID implements cache.Embedder.
func (m *useLite) ID() string { return m.id }

// Dim implements cache.Embedder.
func (m *useLite) Dim() int { return useDim }

// Embed implements cache.Embedder. It takes one of the turns, of which there are few: it is the processor's work.
func (m *useLite) Embed(ctx context.Context, text string) ([]float32, error) {
	ids, err := m.cut(text)
	if err != nil {
		return nil, err
	}
	select {
	case m.turns <- struct{}{}:
		defer func() { <-m.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	x := m.start(ids)
	for i := range m.layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x = m.layers[i].apply(x)
	}
	mean := newMatrix(1, useDim)
	for i := range x.rows {
		for j, f := range x.row(i) {
			mean.data[j] += f / float32(x.rows)
		}
	}
	v := newMatrix(1, useDim)
	m.last.apply(mean, v)
	for i, f := range v.data {
		v.data[i] = float32(math.Tanh(float64(f)))
	}
	if !unit(v.data) {
		return nil, fmt.Errorf("%s: the vector has no direction", m.id)
	}
	return v.data, nil
}

// cut gives the pieces of a text: a blank is the sign ▁, and one stands before the whole.
func (m *useLite) cut(text string) ([]int32, error) {
	if text == "" || len(text) > maxUSEText {
		return nil, llm.Errorf(llm.KindInvalid, "a text of %d bytes is not embedded", len(text))
	}
	text = "▁" + strings.ReplaceAll(norm.NFKC.String(text), " ", "▁")
	ids := m.pieces.split(nil, text)
	if len(ids) > useTokens {
		return nil, llm.Errorf(llm.KindInvalid, "the text has %d pieces, and only %d would be seen", len(ids), useTokens)
	}
	if slices.Contains(ids, m.pieces.unknown) {
		return nil, errUnseen
	}
	return ids, nil
}

// start is the first layer's input: a piece's vector, twice as the graph has it, and its place as sines and cosines.
func (m *useLite) start(ids []int32) matrix {
	x := newMatrix(len(ids), useWidth)
	for i, id := range ids {
		row := x.row(i)
		for j, f := range m.table.row(int(id)) {
			row[j] = 2 * f
		}
		for j, f := range m.timing {
			sin, cos := math.Sincos(float64(i) * float64(f))
			row[j] += float32(sin)
			row[j+useWidth/2] += float32(cos)
		}
	}
	return x
}

func (l *layer) apply(x matrix) matrix {
	normed := newMatrix(x.rows, x.cols)
	l.before.apply(x, normed)
	qkv := newMatrix(x.rows, 3*x.cols)
	l.qkv.apply(normed, qkv)
	y := newMatrix(x.rows, useDim)
	l.out.apply(attend(qkv, normed), y)
	if l.residual != nil {
		wide := newMatrix(x.rows, useDim)
		l.residual.apply(x, wide)
		x = wide
	}
	y.add(x)

	normed = newMatrix(y.rows, y.cols)
	l.middle.apply(y, normed)
	inner := newMatrix(y.rows, useInner)
	l.widen.apply(normed, inner)
	for i, f := range inner.data {
		inner.data[i] = max(f, 0)
	}
	l.narrow.apply(inner, normed)
	y.add(normed)
	return y
}

// attend is attention by several heads: each row of qkv is a query, a key and a value, each as wide as out, which it writes and gives back.
func attend(qkv, out matrix) matrix {
	width := out.cols
	head := width / useHeads
	scale := 1 / math.Sqrt(float64(head))
	weights := make([]float64, qkv.rows)
	clear(out.data)
	for h := range useHeads {
		at := h * head
		for i := range qkv.rows {
			q := qkv.row(i)[at:][:head]
			top := math.Inf(-1)
			for j := range weights {
				weights[j] = float64(dot(q, qkv.row(j)[width+at:][:head])) * scale
				top = max(top, weights[j])
			}
			var sum float64
			for j, w := range weights {
				weights[j] = math.Exp(w - top)
				sum += weights[j]
			}
			y := out.row(i)[at:][:head]
			for j, w := range weights {
				w := float32(w / sum)
				for k, f := range qkv.row(j)[2*width+at:][:head] {
					y[k] += w * f
				}
			}
		}
	}
	return out
}
