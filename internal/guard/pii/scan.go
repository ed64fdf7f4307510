package pii

import (
	"cmp"
	"slices"
)

const (
	lookBehind = 128 // how far to the left of a finding anything has a say: words of context, mostly
	reach      = 64  // no finding of several words, with the words after it that have a say, is longer
	longToken  = 20  // every key and every wallet is at least so long
)

// work is one reading of one text. It is kept for the next one, for its slices; it holds no text between them.
type work struct {
	s       *Scanner
	text    string    // as it was given
	view    string    // what the recognisers read: text, or what unfold makes of it
	folds   []folding // from view back to text
	from    int       // findings begin here or later; of view
	depth   int       // how many layers of encoding are off
	found   []Finding // candidates: in view while collect runs, in text afterwards; they may overlap
	urlEnd  int       // where the last URL that was read ends, of view
	covered []bool
	open    int // where a private key begins whose end is not there yet, of text; -1 without
}

func (w *work) done() {
	w.depth = 0
	w.text, w.view = "", ""
	w.folds, w.found = w.folds[:0], w.found[:0]
	w.s.work.Put(w)
}

// collect finds all candidates of text that begin at from or later. Whether a candidate is there depends on the
// lookBehind bytes before it and on what follows, never on another candidate.
func (w *work) collect(text string, from int) {
	w.text, w.view, w.from = text, text, from
	if i := w.anchors(true); i >= 0 {
		w.found = w.found[:0]
		w.view, w.folds = unfold(text, i, w.folds)
		w.from = viewed(w.folds, from)
		w.anchors(false)
	}
	w.tokens()
	w.s.custom(w)
	for k := range w.found {
		f := &w.found[k]
		f.Start, f.End = original(w.folds, f.Start, f.End)
	}
	if w.open >= 0 {
		w.open, _ = original(w.folds, w.open, w.open+1)
	}
}

// anchors reads the view byte by byte and runs the recognisers of each anchor. At the first byte that unfold would
// change it stops, if asked to, and gives its place; -1 otherwise.
func (w *work) anchors(stop bool) int {
	view := w.view
	w.urlEnd, w.open = 0, -1
	for i := max(0, w.from-lookBehind); i < len(view); {
		switch class[view[i]] {
		case plain:
			i++
		case digit:
			i = w.number(i)
		case at:
			w.email(i)
			i++
		case colon:
			i = w.colon(i)
		case equals:
			w.assignment(i)
			i++
		case dash:
			w.mac(i)
			i = w.privateKey(i)
		case wide:
			w.password(i)
			i++
		default:
			if stop {
				_, n, ok := foldAt(view, i)
				if ok {
					return i
				}
				i += n
				continue
			}
			i++
		}
	}
	return -1
}

// tokens visits the tokens of longToken bytes and more. One byte in longToken is looked at to find them.
func (w *work) tokens() {
	for i := w.from; i < len(w.view); i += longToken {
		if sets[w.view[i]]&inToken == 0 {
			continue
		}
		from, to := i, i
		for from > w.from && sets[w.view[from-1]]&inToken != 0 {
			from--
		}
		for to < len(w.view) && sets[w.view[to]]&inToken != 0 {
			to++
		}
		if to-from >= longToken {
			w.token(from, to)
		}
		i = to - (to-i)%longToken // the next byte to look at is the first one after the token that is due
	}
}

// wants says whether any score of e would be kept.
func (w *work) wants(e Entity) bool { return w.s.floor[e] > 0 }

// add takes a candidate, unless its score is too low or the operator allows it.
func (w *work) add(e Entity, start, end int, score float32, recognizer string, validated bool) {
	floor := w.s.floor[e]
	if floor == 0 || score < floor || start < w.from || end <= start {
		return
	}
	if len(w.s.allow) > 0 && w.s.allow[fold(w.view[start:end])] {
		return
	}
	w.found = append(w.found, Finding{e, start, end, min(score, 1), recognizer, validated})
}

// resolve appends to dst the candidates that are left when of two that overlap the better one is taken.
func (w *work) resolve(dst []Finding) []Finding {
	if len(w.found) == 0 {
		return dst
	}
	slices.SortFunc(w.found, func(a, b Finding) int { return cmp.Compare(a.Start, b.Start) })
	for rest := w.found; len(rest) > 0; {
		n, end := 1, rest[0].End // a chain of candidates, each of which overlaps one before it
		for n < len(rest) && rest[n].Start < end {
			end = max(end, rest[n].End)
			n++
		}
		dst = w.best(dst, rest[:n], end)
		rest = rest[n:]
	}
	return dst
}

// best appends to dst the candidates of one chain, which ends at end, that do not overlap a better one.
func (w *work) best(dst, chain []Finding, end int) []Finding {
	if len(chain) == 1 {
		return append(dst, chain[0])
	}
	start, first := chain[0].Start, len(dst)
	w.covered = slices.Grow(w.covered[:0], end-start)[:end-start]
	clear(w.covered)
	slices.SortFunc(chain, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(b.End-b.Start, a.End-a.Start),
			cmp.Compare(a.Start, b.Start), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Recognizer, b.Recognizer))
	})
	for _, f := range chain {
		place := w.covered[f.Start-start : f.End-start]
		if slices.Contains(place, true) {
			continue
		}
		for k := range place {
			place[k] = true
		}
		dst = append(dst, f)
	}
	slices.SortFunc(dst[first:], func(a, b Finding) int { return cmp.Compare(a.Start, b.Start) })
	return dst
}
