package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Members finds top-level members of a JSON object in one pass, without decoding any: found[i] is the value
// of names[i] as it stands in doc, nil when absent. The whole of doc is checked to be JSON, as loosely as
// upstreams write it: names may repeat (the last counts) and characters may be cut.
func Members(doc []byte, names []string, found [][]byte) error {
	m := readers.Get().(*memberReader)
	defer m.release()
	m.src = *bytes.NewBuffer(doc)
	m.dec.Reset(&m.src, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := m.dec.ReadToken(); err != nil {
		return err
	} else if t.Kind() != '{' {
		return errNoObject
	}
	for m.dec.PeekKind() != '}' {
		name, err := m.dec.ReadValue()
		if err != nil {
			return err
		}
		at := -1
		for i, n := range names {
			if len(name) == len(n)+2 && string(name[1:len(name)-1]) == n {
				at = i
			}
		}
		value, err := m.dec.ReadValue()
		if err != nil {
			return err
		}
		if at >= 0 {
			end := int(m.dec.InputOffset())
			found[at] = doc[end-len(value) : end] //nolint:gosec // found has a place for each name
		}
	}
	if _, err := m.dec.ReadToken(); err != nil {
		return err
	}
	if _, err := m.dec.ReadToken(); err != io.EOF {
		return errTrailing
	}
	return nil
}

var (
	errNoObject = errors.New("not a JSON object")
	errTrailing = errors.New("data behind the JSON object")
)

type memberReader struct {
	src bytes.Buffer
	dec *jsontext.Decoder
}

var readers = sync.Pool{New: func() any { return &memberReader{dec: new(jsontext.Decoder)} }}

func (m *memberReader) release() {
	m.src = bytes.Buffer{}
	m.dec.Reset(&m.src) // a pooled reader must not pin a body
	readers.Put(m)
}
