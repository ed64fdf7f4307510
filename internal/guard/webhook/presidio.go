package webhook

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// between stands between texts that are sent as one: nothing that is found reaches over it in earnest.
const between = "\n\n"

// writePresidio is a request of Presidio's analyzer. https://microsoft.github.io/presidio/api-docs/api-docs.html
func writePresidio(o *Options, texts []string) ([]byte, error) {
	language := o.Language
	if language == "" {
		language = "en"
	}
	return json.Marshal(struct {
		Text      string  `json:"text"`
		Language  string  `json:"language"`
		Threshold float64 `json:"score_threshold,omitzero"`
	}{strings.Join(texts, between), language, o.Threshold})
}

type presidioFinding struct {
	Type  string   `json:"entity_type"`
	Start int      `json:"start"`
	End   int      `json:"end"`
	Score *float64 `json:"score"`
}

// readPresidio gives each finding to the text that it is in. One that reaches over several is cut up: what is in each of them
// is hidden.
func (d *Detector) readPresidio(answer []byte, texts []string) (list []place, err error) {
	var in []presidioFinding
	if json.Unmarshal(answer, &in) != nil {
		return nil, errors.New("the webhook's answer is not what was agreed on")
	}
	ends := make([]int, len(texts)) // in characters of the whole
	at := 0
	for i, text := range texts {
		at += utf8.RuneCountInString(text)
		ends[i] = at
		at += len(between)
	}
	by := make([][]sluiceFinding, len(texts))
	for _, f := range in {
		if f.Start < 0 || f.Start >= f.End || f.End > at-len(between) {
			return nil, errors.New("the webhook found something outside of the text")
		}
		for i, start := 0, 0; i < len(texts); i++ {
			from, to := max(f.Start, start), min(f.End, ends[i])
			if from < to {
				by[i] = append(by[i], sluiceFinding{f.Type, from - start, to - start, f.Score})
			}
			start = ends[i] + len(between)
		}
	}
	for i := range by {
		if list, err = d.places(list, i, texts[i], by[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}
