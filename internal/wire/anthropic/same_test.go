package anthropic

import (
	"encoding/json"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice/internal/llm"
)

// sameMeaning compares what requests and answers mean: JSON by value, without pointers into the document.
var sameMeaning = cmp.Options{
	cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".At" }, cmp.Ignore()),
	cmp.Transformer("raw", func(r llm.Raw) any { return value(r) }), // applies to every []byte
	cmpopts.IgnoreUnexported(llm.Choice{}),
}

func value(raw []byte) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	return v
}
