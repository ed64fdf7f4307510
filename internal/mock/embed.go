package mock

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
)

const defaultDims = 1536

// embed answers with unit vectors that depend on the text alone.
func embed(k *ask, s *Script) *rendering {
	dims := defaultDims
	for _, d := range []int{k.dims, s.dims} {
		if d > 0 {
			dims = min(d, 10_000)
		}
	}
	c := counts{input: 1 + int64(k.size)/4}
	if s.tokens.input != unset {
		c.input = s.tokens.input
	}
	var vectors list
	for i, text := range k.inputs {
		v := vector(text, dims, s.seed)
		switch {
		case k.api != openaiEmbeddings:
			vectors = append(vectors, obj{"values", v})
		case k.base64:
			vectors = append(vectors, obj{"object", "embedding", "embedding", packed(v), "index", i})
		default:
			vectors = append(vectors, obj{"object", "embedding", "embedding", v, "index", i})
		}
	}
	switch k.api {
	case geminiEmbed:
		return plain(obj{"embedding", vectors[0]}, c, indented...)
	case geminiEmbedBatch:
		return plain(obj{"embeddings", vectors}, c, indented...)
	default:
		return plain(obj{
			"object", "list", "data", vectors, "model", k.model, "usage", obj{"prompt_tokens", c.input, "total_tokens", c.input},
		}, c)
	}
}

func vector(text string, dims int, seed uint64) []float32 {
	h := fnv.New64a()
	h.Write([]byte(text))
	r := rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // the same for the same text is the point
	v := make([]float32, dims)
	sum := 0.0
	for i := range v {
		x := r.NormFloat64()
		v[i], sum = float32(x), sum+x*x
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// packed is the vendor's base64 form: little-endian 32-bit floats.
func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
