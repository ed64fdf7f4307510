package audit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
)

// An Anchor is what is kept of a checkpoint outside the store: enough to tell later whether the store still has it.
type Anchor struct {
	Number    uint64 `json:"number"`
	At        Time   `json:"at"`
	Hash      Hash   `json:"hash"`
	Key       string `json:"key"`
	Signature []byte `json:"signature"`
}

func (c *Checkpoint) anchor() Anchor { return Anchor{c.Number, c.At, c.Hash, c.Key, c.Signature} }

func (a *Anchor) line() []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic("audit: an anchor cannot be written: " + err.Error()) // it holds nothing but numbers and texts of ours
	}
	return append(b, '\n')
}

// ReadAnchors reads anchors from a file that has them as lines, or from a log of the gateway in JSON, whose other lines are passed
// over.
func ReadAnchors(r io.Reader) (list []Anchor, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, mostLine)
	for lines.Scan() {
		var a Anchor
		if !bytes.Contains(lines.Bytes(), []byte(`"signature"`)) {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &a); err == nil && a.Number > 0 && len(a.Signature) > 0 {
			list = append(list, a)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read anchors: %w", err)
	}
	return list, nil
}
