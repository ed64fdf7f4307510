package embed

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// maxPiece is how many bytes a piece of a vocabulary may have: a search looks that far ahead.
const maxPiece = 256

// A piece is an entry of a vocabulary of unigrams: a text and how likely it is, as a logarithm.
type piece struct {
	text  string
	score float64
}

// readPieces reads a list of pairs of a piece and its score, null for 0, of the file name.
func readPieces(name string, text []byte) ([]piece, error) {
	var rows [][]json.RawMessage
	if err := json.Unmarshal(text, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) > maxPieces {
		return nil, fmt.Errorf("%s: %d pieces", name, len(rows))
	}
	pieces := make([]piece, len(rows))
	for i, r := range rows {
		if len(r) != 2 {
			return nil, fmt.Errorf("%s: entry %d is no pair", name, i)
		}
		if err := json.Unmarshal(r[0], &pieces[i].text); err != nil {
			return nil, fmt.Errorf("%s: entry %d: %w", name, i, err)
		}
		if err := json.Unmarshal(r[1], &pieces[i].score); err != nil { // null leaves 0
			return nil, fmt.Errorf("%s: entry %d: %w", name, i, err)
		}
	}
	return pieces, nil
}

// unigram splits a text into the pieces that are the most likely together (the Viterbi path over all ways to cut it). A character
// that no piece begins with is unknown by itself.
type unigram struct {
	next    map[edge]int32 // a trie of bytes: node 0 is the root
	ids     []int32        // of the piece that ends at a node; -1: none does
	scores  []float64      // of pieces
	unknown int32
	penalty float64 // of an unknown character
}

// An edge leads from a node to another by a byte.
type edge struct {
	from int32
	by   byte
}

var errPiece = errors.New("the vocabulary has a piece that is too long, or a score that is no number")

// newUnigram makes one of a vocabulary. Pieces before first never match a text: they stand for something else. What is unknown gets that id.
func newUnigram(pieces []piece, first, unknown int) (*unigram, error) {
	u := &unigram{next: make(map[edge]int32, 4*len(pieces)), ids: []int32{-1}, scores: make([]float64, len(pieces)), unknown: int32(unknown)}
	low := 0.0
	for id, p := range pieces {
		if len(p.text) > maxPiece || math.IsNaN(p.score) || math.IsInf(p.score, 0) {
			return nil, errPiece
		}
		u.scores[id] = p.score
		low = min(low, p.score)
		if id >= first && id != unknown && p.text != "" {
			u.put(p.text, int32(id))
		}
	}
	u.penalty = low - 10
	return u, nil
}

// put adds a piece. Of two with one text the first counts.
func (u *unigram) put(text string, id int32) {
	at := int32(0)
	for i := range len(text) {
		e := edge{at, text[i]}
		to, ok := u.next[e]
		if !ok {
			to = int32(len(u.ids))
			u.next[e] = to
			u.ids = append(u.ids, -1)
		}
		at = to
	}
	if u.ids[at] < 0 {
		u.ids[at] = id
	}
}

// A step is the best way to a place in the text.
type step struct {
	score float64
	from  int32
	id    int32
}

// split appends the ids of text's pieces to out. Unknown characters in a row are one.
func (u *unigram) split(out []int32, text string) []int32 {
	steps := make([]step, len(text)+1)
	for i := 1; i < len(steps); i++ {
		steps[i].score = math.Inf(-1)
	}
	for i := 0; i < len(text); {
		_, size := utf8.DecodeRuneInString(text[i:])
		alone := false
		at, best := int32(0), steps[i].score
		for j := i; j < len(text); j++ {
			to, ok := u.next[edge{at, text[j]}]
			if !ok {
				break
			}
			at = to
			if id := u.ids[at]; id >= 0 {
				alone = alone || j+1 == i+size
				if s := best + u.scores[id]; s > steps[j+1].score {
					steps[j+1] = step{s, int32(i), id}
				}
			}
		}
		if s := best + u.penalty; !alone && s > steps[i+size].score {
			steps[i+size] = step{s, int32(i), u.unknown}
		}
		i += size
	}
	begin := len(out)
	for i := int32(len(text)); i > 0; i = steps[i].from {
		id := steps[i].id
		if n := len(out); id == u.unknown && n > begin && out[n-1] == id {
			continue
		}
		out = append(out, id)
	}
	for i, j := begin, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
