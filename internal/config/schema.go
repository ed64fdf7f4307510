package config

import (
	_ "embed" // config.schema.json
	"slices"
)

//go:embed config.schema.json
var schema []byte

// Schema is the JSON Schema of a document, for editors. It knows a document's form; Parse knows more.
func Schema() []byte { return slices.Clone(schema) }
