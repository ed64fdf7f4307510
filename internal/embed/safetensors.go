package embed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

const (
	maxTensors = 512 << 20 // bytes of a file of tensors
	maxHeader  = 1 << 20   // of them for the list of what is in it
	maxDim     = 8192      // numbers of a vector
)

// A tensor is numbers as they lie in the file.
type tensor struct {
	kind  string // F32 ...
	shape []int
	data  []byte
}

// widths are the bytes of a number of each kind that is read here.
var widths = map[string]int{"F64": 8, "F32": 4, "F16": 2, "I8": 1, "I64": 8, "I32": 4}

// readTensors reads a file in the form of safetensors (github.com/huggingface/safetensors): the length of the header, the header in JSON, the
// numbers. The tensors share file's memory.
func readTensors(file []byte) (map[string]tensor, error) {
	if len(file) < 8 {
		return nil, errors.New("model.safetensors: no header")
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader || n > uint64(len(file)-8) {
		return nil, fmt.Errorf("model.safetensors: a header of %d bytes", n)
	}
	var rows map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+n], &rows); err != nil {
		return nil, fmt.Errorf("model.safetensors: %w", err)
	}
	data := file[8+n:]
	all := make(map[string]tensor)
	for name, text := range rows {
		if name == "__metadata__" {
			continue
		}
		var row struct {
			Kind  string    `json:"dtype"`
			Shape []int     `json:"shape"`
			At    [2]uint64 `json:"data_offsets"`
		}
		if err := json.Unmarshal(text, &row); err != nil {
			return nil, fmt.Errorf("model.safetensors: %q: %w", name, err)
		}
		count, ok := size(row.Shape, maxTensors)
		width := widths[row.Kind]
		if !ok || width == 0 {
			return nil, fmt.Errorf("model.safetensors: %q is of no kind or shape that is read here", name)
		}
		if row.At[0] > row.At[1] || row.At[1] > uint64(len(data)) || row.At[1]-row.At[0] != uint64(count*width) {
			return nil, fmt.Errorf("model.safetensors: %q does not lie where it says", name)
		}
		all[name] = tensor{row.Kind, row.Shape, data[row.At[0]:row.At[1]]}
	}
	return all, nil
}

// at is the i-th number.
func (t tensor) at(i int) float64 {
	switch t.kind {
	case "F64":
		return math.Float64frombits(binary.LittleEndian.Uint64(t.data[8*i:]))
	case "F32":
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(t.data[4*i:])))
	case "F16":
		return half(binary.LittleEndian.Uint16(t.data[2*i:]))
	case "I64":
		return float64(int64(binary.LittleEndian.Uint64(t.data[8*i:])))
	case "I32":
		return float64(int32(binary.LittleEndian.Uint32(t.data[4*i:])))
	}
	return float64(int8(t.data[i]))
}

// half is a number of 16 bits (IEEE 754): a sign, 5 bits of exponent, 10 of fraction.
func half(b uint16) float64 {
	sign := 1 - 2*float64(b>>15)
	exponent, fraction := int(b>>10&31), float64(b&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}
