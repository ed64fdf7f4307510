package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"sluice/internal/llm"
)

// words are what an answer says, without what makes no difference to a reader: case and white space.
func words(a *llm.Answer) string {
	var b strings.Builder
	for i := range a.Choices {
		for j := range a.Choices[i].Parts {
			p := &a.Choices[i].Parts[j]
			b.WriteString(p.Text)
			if p.Call != nil {
				b.WriteString(" " + p.Call.Name + " " + string(p.Call.Args))
			}
		}
	}
	return strings.ToLower(strings.Join(strings.Fields(b.String()), " "))
}

// print tells answers apart that say something else.
func print(a *llm.Answer) []byte {
	sum := sha256.Sum256([]byte(words(a)))
	return sum[:]
}

// How an answer that was found by its meaning agrees with the model's own.
const (
	agreeEqual = "equal" // word for word
	agreeNear  = "near"  // they mean the same, as far as the embedder tells
	agreeFar   = "far"   // they do not, or nobody could tell
)

// nearAnswers is the least similarity of two answers that are taken to mean the same. Answers are longer than questions, and models say
// the same in other words each time.
const nearAnswers = 0.8

// agree holds an answer that was found by its meaning against the model's own. One that is far is not found again.
func (c *Cache) agree(ctx context.Context, v *Visit, own *llm.Answer) {
	e := v.shadow
	t := e.target()
	found, err := v.rules.again(&t, e)
	if err != nil {
		return
	}
	how := agreeFar
	x, y := &question{text: words(own)}, &question{text: words(found)}
	if x.text == y.text {
		how = agreeEqual
	} else if c.vector(ctx, x) == "" && c.vector(ctx, y) == "" && cosine(x.vector, y.vector) >= nearAnswers {
		how = agreeNear
	}
	c.stats.agreed(how)
	if how == agreeFar {
		_ = c.meaning.Index.Remove(ctx, v.question.space, hex.EncodeToString(e.Sum))
	}
}

// cosine is that of two vectors of length one.
func cosine(a, b []float32) (sum float32) {
	for i := range min(len(a), len(b)) {
		sum += a[i] * b[i]
	}
	return sum
}

// again reads a kept answer for all that it says.
func (r *Rules) again(t *llm.Target, e *keptAnswer) (*llm.Answer, error) {
	s, err := r.Read(t, e.Format, e.Streamed, false, e.body)
	if err != nil {
		return nil, err
	}
	answer := new(llm.Answer)
	for ev, err := range llm.All(s) {
		if err != nil {
			return nil, err
		}
		answer.Add(ev)
	}
	return answer, nil
}
