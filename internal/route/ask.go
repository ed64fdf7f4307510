package route

import (
	"net/http"
	"slices"
	"strings"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// The headers by which a request has a say in its own way, where its key may.
const (
	StrategyHeader = "X-Sluice-Strategy"
	FallbackHeader = "X-Sluice-Fallback"
	TagsHeader     = "X-Sluice-Tags"
)

// An Ask is what a request wants of its way. The zero Ask wants nothing.
type Ask struct {
	Strategy   string   // instead of the group's
	NoFallback bool     // an error rather than another model
	Tags       []string // that a deployment must have, beside the key's
}

// ReadAsk reads a request's headers. What the key may not ask for is an error, never left out in silence.
func ReadAsk(h http.Header, who *auth.Who) (a Ask, err error) {
	if v := h.Get(StrategyHeader); v != "" {
		if err := who.MayAsk(auth.AskStrategy); err != nil {
			return Ask{}, err
		}
		a.Strategy = v
	}
	switch v := h.Get(FallbackHeader); {
	case v == "":
	case !strings.EqualFold(v, "off"):
		return Ask{}, llm.Errorf(llm.KindInvalid, "%s: off is the only thing it can say", FallbackHeader)
	default:
		if err := who.MayAsk(auth.AskFallback); err != nil {
			return Ask{}, err
		}
		a.NoFallback = true
	}
	if v := h.Get(TagsHeader); v != "" {
		if err := who.MayAsk(auth.AskTags); err != nil {
			return Ask{}, err
		}
		for tag := range strings.SplitSeq(v, ",") {
			if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(a.Tags, tag) {
				a.Tags = append(a.Tags, tag)
			}
		}
		const most = 16
		if len(a.Tags) > most {
			return Ask{}, llm.Errorf(llm.KindInvalid, "%s: at most %d tags", TagsHeader, most)
		}
	}
	return a, nil
}
