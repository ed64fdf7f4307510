package gemini

import (
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// groundingMetadata says which chunks of the web back which ranges of the text. Ranges are in bytes here,
// in characters in the hub.
type groundingMetadata struct {
	GroundingChunks []struct {
		Web              *backing `json:"web"`
		RetrievedContext *backing `json:"retrievedContext"`
		Maps             *backing `json:"maps"`
	} `json:"groundingChunks"`
	GroundingSupports []struct {
		Segment               segment `json:"segment"`
		GroundingChunkIndices []int   `json:"groundingChunkIndices"`
	} `json:"groundingSupports"`
}

type backing struct {
	URI   string `json:"uri"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

type segment struct {
	StartIndex int `json:"startIndex"`
	EndIndex   int `json:"endIndex"`
}

// citationMetadata names sources that the text recites. The Gemini API says citationSources, Vertex citations.
type citationMetadata struct {
	CitationSources []cited `json:"citationSources"`
	Citations       []cited `json:"citations"`
}

type cited struct {
	StartIndex int    `json:"startIndex"`
	EndIndex   int    `json:"endIndex"`
	URI        string `json:"uri"`
	Title      string `json:"title"`
}

// grounding gives the citations of a groundingMetadata over said, the text of the part. Chunks that back no
// range come last, without one.
func grounding(raw, said []byte) []llm.Citation {
	var g groundingMetadata
	if json.Unmarshal(raw, &g, readingAnswer) != nil {
		return nil // kept as it came, for Gemini clients
	}
	var out []llm.Citation
	used := make([]bool, len(g.GroundingChunks))
	add := func(i int, s segment) {
		if i < 0 || i >= len(used) {
			return
		}
		used[i] = true
		w := &g.GroundingChunks[i]
		for _, src := range []*backing{w.Web, w.RetrievedContext, w.Maps} {
			if src != nil && (src.URI != "" || src.Title != "") {
				start, end := characters(said, s)
				out = append(out, llm.Citation{URL: src.URI, Title: src.Title, Quote: src.Text, Start: start, End: end})
				return
			}
		}
	}
	for _, s := range g.GroundingSupports {
		for _, i := range s.GroundingChunkIndices {
			add(i, s.Segment)
		}
	}
	for i := range used {
		if !used[i] {
			add(i, segment{})
		}
	}
	return out
}

func sources(raw, said []byte) []llm.Citation {
	var m citationMetadata
	if json.Unmarshal(raw, &m, readingAnswer) != nil {
		return nil
	}
	var out []llm.Citation
	for _, c := range append(m.CitationSources, m.Citations...) {
		if c.URI == "" && c.Title == "" {
			continue
		}
		start, end := characters(said, segment{c.StartIndex, c.EndIndex})
		out = append(out, llm.Citation{URL: c.URI, Title: c.Title, Start: start, End: end})
	}
	return out
}

// characters turns a range of bytes of said into one of characters, both 0 when said is not all known.
func characters(said []byte, s segment) (start, end int) {
	if s.StartIndex < 0 || s.EndIndex <= s.StartIndex || s.EndIndex > len(said) {
		return 0, 0
	}
	start = utf8.RuneCount(said[:s.StartIndex])
	return start, start + utf8.RuneCount(said[s.StartIndex:s.EndIndex])
}

// octets is the way back.
func octets(said []byte, c *llm.Citation) (segment, bool) {
	if c.Start < 0 || c.End <= c.Start {
		return segment{}, false
	}
	s := segment{StartIndex: -1}
	n := 0
	for i := range string(said) {
		if n == c.Start {
			s.StartIndex = i
		}
		if n == c.End {
			s.EndIndex = i
			return s, true
		}
		n++
	}
	s.EndIndex = len(said)
	return s, n == c.End && s.StartIndex >= 0
}

// fresh drops the citations that were given out before: chunks of a stream repeat them.
func (c *reader) fresh(list []llm.Citation) []llm.Citation {
	var out []llm.Citation
	for _, q := range list {
		same := func(o llm.Citation) bool {
			return o.URL == q.URL && o.Title == q.Title && o.Start == q.Start && o.End == q.End
		}
		if !slices.ContainsFunc(c.cited, same) {
			c.cited = append(c.cited, q)
			out = append(out, q)
		}
	}
	return out
}

// A citing is a citation that a Gemini client is still to be told of, with its range in bytes.
type citing struct {
	llm.Citation
	segment
	ranged bool
}

// grounding writes citations of other vendors the way Gemini tells of the sources of a search.
func (t *text) grounding(list []citing) {
	t.name("groundingMetadata")
	t.open('{')
	t.name("groundingChunks")
	t.open('[')
	var urls []string
	index := func(c *citing) int { return slices.Index(urls, c.URL+"\x00"+c.Title) }
	for i := range list {
		c := &list[i]
		if index(c) >= 0 {
			continue
		}
		urls = append(urls, c.URL+"\x00"+c.Title)
		t.open('{')
		t.name("web")
		t.open('{')
		t.str("uri", c.URL)
		t.str("title", c.Title)
		t.close('}')
		t.close('}')
	}
	t.close(']')
	t.name("groundingSupports")
	t.open('[')
	for i := range list {
		c := &list[i]
		if !c.ranged {
			continue
		}
		t.open('{')
		t.name("segment")
		t.open('{')
		t.name("startIndex")
		t.int(int64(c.StartIndex))
		t.name("endIndex")
		t.int(int64(c.EndIndex))
		t.close('}')
		t.name("groundingChunkIndices")
		t.open('[')
		t.int(int64(index(c)))
		t.close(']')
		t.close('}')
	}
	t.close(']')
	t.close('}')
}

// logprobsResult is Gemini's form of logprobs.
type logprobsResult struct {
	ChosenCandidates []tokenProbability `json:"chosenCandidates"`
	TopCandidates    []struct {
		Candidates []tokenProbability `json:"candidates"`
	} `json:"topCandidates"`
}

type tokenProbability struct {
	Token          string  `json:"token"`
	LogProbability float64 `json:"logProbability"`
}

// readLogprobs gives the hub's form, which is OpenAI's. Token ids and the sum have no place there.
func readLogprobs(raw []byte) llm.Raw {
	var r logprobsResult
	if isNull(raw) || json.Unmarshal(raw, &r, readingAnswer) != nil {
		return nil
	}
	t := text{'{'}
	t.name("content")
	t.open('[')
	for i, c := range r.ChosenCandidates {
		t.probability(c)
		t.name("top_logprobs")
		t.open('[')
		if i < len(r.TopCandidates) {
			for _, alt := range r.TopCandidates[i].Candidates {
				t.probability(alt)
				t.close('}')
			}
		}
		t.close(']')
		t.close('}')
	}
	t.close(']')
	t.close('}')
	return llm.Raw(t)
}

func (t *text) probability(c tokenProbability) {
	t.open('{')
	t.name("token")
	t.string(c.Token)
	t.name("logprob")
	t.float(c.LogProbability, 64)
	t.name("bytes")
	t.open('[')
	for _, b := range []byte(c.Token) {
		t.int(int64(b))
	}
	t.close(']')
}

// logprobs writes the hub's form as Gemini's; nothing when it holds no tokens.
func (t *text) logprobs(raw llm.Raw) {
	type openToken struct {
		Token   string  `json:"token"`
		Logprob float64 `json:"logprob"`
	}
	var lists map[string]jsontext.Value
	var tokens []struct {
		openToken   `json:",embed"`
		TopLogprobs []openToken `json:"top_logprobs"`
	}
	if json.Unmarshal(raw, &lists, readingAnswer) != nil || json.Unmarshal(lists["content"], &tokens, readingAnswer) != nil || len(tokens) == 0 {
		return
	}
	put := func(o openToken) {
		t.open('{')
		t.name("token")
		t.string(o.Token)
		t.name("logProbability")
		t.float(o.Logprob, 64)
		t.close('}')
	}
	t.name("logprobsResult")
	t.open('{')
	t.name("chosenCandidates")
	t.open('[')
	for _, k := range tokens {
		put(k.openToken)
	}
	t.close(']')
	t.name("topCandidates")
	t.open('[')
	for _, k := range tokens {
		t.open('{')
		t.name("candidates")
		t.open('[')
		for _, alt := range k.TopLogprobs {
			put(alt)
		}
		t.close(']')
		t.close('}')
	}
	t.close(']')
	t.close('}')
}
