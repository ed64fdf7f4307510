package cache

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
)

// A keptAnswer is an answer as stores have it: the upstream's own bytes, and what is needed to read them again.
type keptAnswer struct {
	head
	body []byte
}

// head is what is known of a kept answer beside its bytes.
type head struct {
	Sum      []byte     `json:"sum"` // of its key: what is found under another name is nobody's
	Format   llm.Format `json:"format"`
	Streamed bool       `json:"stream,omitzero"`
	At       int64      `json:"at"`      // when the answer was whole, in Unix milliseconds
	Expires  int64      `json:"expires"` // the same
	Target   place      `json:"target"`
	Dropped  []string   `json:"dropped,omitzero"`
	Print    []byte     `json:"print,omitzero"` // of what the answer says
	// Where it may be found by its meaning:
	Space    string `json:"space,omitzero"`
	Question string `json:"question,omitzero"`
}

// place is who gave an answer.
type place struct {
	Provider   string `json:"provider"`
	Model      string `json:"model"`
	Credential string `json:"credential,omitzero"`
}

func (h *head) target() llm.Target {
	return llm.Target{Provider: h.Target.Provider, Model: h.Target.Model, Credential: h.Target.Credential}
}

func (h *head) age(now time.Time) time.Duration { return max(0, now.Sub(time.UnixMilli(h.At))) }

// encode is the form in which stores keep it: the length of the head, the head, the body.
func (e *keptAnswer) encode() ([]byte, error) {
	text, err := json.Marshal(&e.head)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 4+len(text)+len(e.body))
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(append(b, text...), e.body...), nil
}

var errEntry = errors.New("a kept answer is not in its form")

// decode reads what encode wrote. It keeps b.
func decode(b []byte) (*keptAnswer, error) {
	if len(b) < 4 {
		return nil, errEntry
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if b = b[4:]; n > uint64(len(b)) {
		return nil, errEntry
	}
	e := &keptAnswer{body: b[n:]}
	if err := json.Unmarshal(b[:n], &e.head); err != nil {
		return nil, errEntry
	}
	return e, nil
}
