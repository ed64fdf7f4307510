package embed

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"sluice/internal/llm"
)

const (
	staticTokens  = 512     // pieces of a text; model2vec sees no more
	maxStaticText = 8 << 10 // bytes of a text that is cut into pieces at all
)

// static is a table of vectors for pieces of words; a text's vector is their mean. It is fast and knows no order of words.
type static struct {
	id      string
	dim     int
	pieces  *tokenizer
	table   tensor
	weights *tensor // of each piece; nil: all weigh the same
	rows    *tensor // of each piece in the table; nil: its own
}

// openStatic reads tokenizer.json and model.safetensors. config.json has only whether vectors are normalised, which here they always are.
func openStatic(dir string) (*static, error) {
	text, err := readFile(filepath.Join(dir, "tokenizer.json"), maxText)
	if err != nil {
		return nil, err
	}
	pieces, err := readTokenizer(text)
	if err != nil {
		return nil, err
	}
	file, err := readFile(filepath.Join(dir, "model.safetensors"), maxTensors)
	if err != nil {
		return nil, err
	}
	all, err := readTensors(file)
	if err != nil {
		return nil, err
	}
	m, err := newStatic(pieces, all)
	if err != nil {
		return nil, err
	}
	m.id = fmt.Sprintf("static/%s/%s/%d", revision(text, file), m.table.kind, m.dim)
	return m, nil
}

func newStatic(pieces *tokenizer, all map[string]tensor) (*static, error) {
	m := &static{pieces: pieces}
	var ok bool
	if m.table, ok = all["embeddings"]; !ok || len(m.table.shape) != 2 || m.table.shape[1] > maxDim {
		return nil, errors.New("model.safetensors: no table \"embeddings\"")
	}
	m.dim = m.table.shape[1]
	for name, to := range map[string]**tensor{"weights": &m.weights, "mapping": &m.rows} {
		t, ok := all[name]
		if !ok {
			continue
		}
		if len(t.shape) != 1 || t.shape[0] < pieces.size {
			return nil, fmt.Errorf("model.safetensors: %q has not one number for each of %d pieces", name, pieces.size)
		}
		*to = &t
	}
	for id := range pieces.size {
		if row := m.row(id); row < 0 || row >= m.table.shape[0] {
			return nil, fmt.Errorf("model.safetensors: piece %d has row %d of %d", id, row, m.table.shape[0])
		}
	}
	return m, nil
}

// row is where a piece stands in the table.
func (m *static) row(id int) int {
	if m.rows != nil {
		return int(m.rows.at(id))
	}
	return id
}

// ID implements cache.Embedder.
func (m *static) ID() string { return m.id }

// Dim implements cache.Embedder.
func (m *static) Dim() int { return m.dim }

// Embed implements cache.Embedder.
func (m *static) Embed(_ context.Context, text string) ([]float32, error) {
	if text == "" || len(text) > maxStaticText {
		return nil, llm.Errorf(llm.KindInvalid, "a text of %d bytes is not embedded", len(text))
	}
	ids := m.pieces.cut(text)
	if len(ids) > staticTokens {
		return nil, llm.Errorf(llm.KindInvalid, "the text has %d pieces, and only %d would be seen", len(ids), staticTokens)
	}
	if slices.Contains(ids, m.pieces.unknown) {
		return nil, errUnseen
	}
	v := make([]float32, m.dim)
	for _, id := range ids {
		weight := 1.0
		if m.weights != nil {
			weight = m.weights.at(int(id))
		}
		from := m.row(int(id)) * m.dim
		for i := range v {
			v[i] += float32(weight * m.table.at(from+i))
		}
	}
	if !unit(v) {
		return nil, llm.Errorf(llm.KindInvalid, "the text has no direction")
	}
	return v, nil
}
