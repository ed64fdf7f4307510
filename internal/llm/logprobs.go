package llm

import "encoding/json"

// joinLogprobs adds the lists of two logprobs objects in OpenAI chat's shape. A value of another shape
// replaces what was there.
func joinLogprobs(a, b Raw) Raw {
	if a == nil {
		return append(Raw(nil), b...)
	}
	var x, y map[string][]Raw
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil || x == nil {
		return append(Raw(nil), b...)
	}
	for k, list := range y {
		x[k] = append(x[k], list...)
	}
	out, err := json.Marshal(x)
	if err != nil {
		return append(Raw(nil), b...)
	}
	return out
}
