package embed

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds on the files of a model. The real ones have a quarter of them or less.
const (
	maxText  = 32 << 20  // bytes of a file of text, for all models
	maxShard = 64 << 20  // bytes of one file of numbers
	maxModel = 128 << 20 // bytes of them all
)

// A graph is the file model.json of TensorFlow.js, of which only the list of weights is of use here.
type graph struct {
	Manifest []struct {
		Paths   []string    `json:"paths"`
		Weights []tensorRow `json:"weights"`
	} `json:"weightsManifest"`
}

type tensorRow struct {
	Name         string          `json:"name"`
	Shape        []int           `json:"shape"`
	Type         string          `json:"dtype"`
	Quantization json.RawMessage `json:"quantization"`
}

// size is how many numbers a shape holds. False: none, or more than limit.
func size(shape []int, limit int) (int, bool) {
	n := 1
	for _, d := range shape {
		if d < 1 || d > limit {
			return 0, false
		}
		if n *= d; n > limit {
			return 0, false
		}
	}
	return n, true
}

// readGraph reads the list of weights: the files, in order, and what is in them.
func readGraph(text []byte) (files []string, rows []tensorRow, err error) {
	var g graph
	if err := json.Unmarshal(text, &g); err != nil {
		return nil, nil, fmt.Errorf("model.json: %w", err)
	}
	for _, m := range g.Manifest {
		files, rows = append(files, m.Paths...), append(rows, m.Weights...)
	}
	total := 0
	for _, r := range rows {
		n, ok := size(r.Shape, maxModel)
		if !ok || (r.Type != "float32" && r.Type != "int32") || len(r.Quantization) > 0 {
			return nil, nil, fmt.Errorf("model.json: the weights %q are of no form that is read here", r.Name)
		}
		if total += 4 * n; total > maxModel {
			return nil, nil, fmt.Errorf("model.json: more than %d bytes of weights", maxModel)
		}
	}
	for _, f := range files {
		if f != filepath.Base(f) || strings.HasPrefix(f, ".") || f == "" {
			return nil, nil, fmt.Errorf("model.json: the file %q is not beside it", f)
		}
	}
	return files, rows, nil
}

// readFile reads a file of up to limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}

// shards reads the files of numbers, which are one.
func shards(dir string, files []string) ([]byte, error) {
	var all []byte
	for _, f := range files {
		data, err := readFile(filepath.Join(dir, f), maxShard)
		if err != nil {
			return nil, err
		}
		if all = append(all, data...); len(all) > maxModel {
			return nil, fmt.Errorf("the weights have more than %d bytes", maxModel)
		}
	}
	return all, nil
}

// A shelf finds weights by the ends of their names. The first that is missing or of another shape is its error.
type shelf struct {
	rows []tensorRow
	data []byte
	at   []int // where each begins
	err  error
}

func newShelf(rows []tensorRow, data []byte) (*shelf, error) {
	s := &shelf{rows: rows, data: data}
	at := 0
	for _, r := range rows {
		s.at = append(s.at, at)
		n, _ := size(r.Shape, maxModel)
		at += 4 * n
	}
	if at != len(data) {
		return nil, fmt.Errorf("the weights have %d bytes, not the %d that model.json tells", len(data), at)
	}
	return s, nil
}

// take gives the numbers of the weights whose name ends so and whose shape is this one, but for dimensions of 1 before it.
func (s *shelf) take(suffix string, shape ...int) []float32 {
	want, _ := size(shape, maxModel)
	for i, r := range s.rows {
		if !strings.HasSuffix(r.Name, suffix) || r.Type != "float32" {
			continue
		}
		got := r.Shape
		for len(got) > len(shape) && got[0] == 1 {
			got = got[1:]
		}
		if !slices.Equal(got, shape) {
			break
		}
		out := make([]float32, want)
		for j := range out {
			out[j] = math.Float32frombits(binary.LittleEndian.Uint32(s.data[s.at[i]+4*j:]))
		}
		return out
	}
	if s.err == nil {
		s.err = fmt.Errorf("no weights %s of shape %v: this is not the Universal Sentence Encoder lite", suffix, shape)
	}
	return make([]float32, want)
}

// dense takes a layer with in inputs and out outputs.
func (s *shelf) dense(weights, bias string, in, out int) dense {
	return dense{matrix{in, out, s.take(weights, in, out)}.turned(), s.take(bias, out)}
}

func (s *shelf) normal(name string, width int) normal {
	return normal{s.take(name+"_scale/ConcatPartitions/concat", width), s.take(name+"_bias/ConcatPartitions/concat", width)}
}

// layer takes the i-th layer, whose input is width wide.
func (s *shelf) layer(i, width int) layer {
	const concat = "/ConcatPartitions/concat"
	at := fmt.Sprintf("Encode/Layer_%d/TransformerLayer/", i)
	stack := fmt.Sprintf("TransformerStack/Layer_%d/TransformerLayer/", i)
	l := layer{
		before: s.normal(at+"layer_prepostprocess/layer_norm/layer_norm", width),
		qkv:    s.dense(at+"MultiheadAttention/qkv_transform_single/kernel/part_0", at+"MultiheadAttention/qkv_transform_single/bias"+concat, width, 3*width),
		out:    s.dense(at+"MultiheadAttention/output_transform_single/kernel/part_0", at+"MultiheadAttention/output_transform_single/bias"+concat, width, useDim),
		middle: s.normal(at+"FFN/layer_prepostprocess/layer_norm/layer_norm", useDim),
		widen:  s.dense(stack+"FFN/conv1/Tensordot/Reshape_1", at+"FFN/conv1/bias"+concat, useDim, useInner),
		narrow: s.dense(stack+"FFN/conv2/Tensordot/Reshape_1", at+"FFN/conv2/bias"+concat, useInner, useDim),
	}
	if width != useDim {
		d := s.dense(at+"dense/kernel"+concat, at+"dense/bias"+concat, width, useDim)
		l.residual = &d
	}
	return l
}

// readUSEVocabulary reads vocab.json and says how many pieces it has.
func readUSEVocabulary(text []byte) (*unigram, int, error) {
	pieces, err := readPieces("vocab.json", text)
	if err != nil {
		return nil, 0, err
	}
	if len(pieces) <= useReserved {
		return nil, 0, fmt.Errorf("vocab.json: only %d entries", len(pieces))
	}
	u, err := newUnigram(pieces, useReserved, 0)
	return u, len(pieces), err
}
