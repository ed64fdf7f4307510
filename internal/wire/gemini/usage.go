package gemini

import (
	"strconv"

	"sluice/internal/llm"
)

// toolPrompt is a part of Input that Gemini counts apart from the prompt.
const toolPrompt = "toolUsePromptTokenCount"

func number64(raw []byte) llm.Count {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return llm.Count{N: n, Known: err == nil}
}

// readUsage reads a usageMetadata at p. A count that is absent is not zero, though protobuf leaves zeros
// out: it is not told. With extra, members that the hub has no place for are kept.
func readUsage(p *peeker, u *llm.Usage, extra bool) {
	var candidates, tools llm.Count
	for p.object() {
		key := p.key()
		var count *llm.Count
		switch string(key) {
		case "promptTokenCount":
			count = &u.Input
		case "cachedContentTokenCount":
			count = &u.CacheRead
		case "candidatesTokenCount", "responseTokenCount":
			count = &candidates
		case "thoughtsTokenCount":
			count = &u.Reasoning
		case "totalTokenCount":
			count = &u.Total
		case toolPrompt: // what hosted tools brought in: the model read it, too
			count = &tools
		}
		if count != nil {
			if n, ok := p.int(); ok {
				*count = llm.Tokens(n)
			}
			continue
		}
		start := *p
		switch string(key) {
		case "serviceTier":
			v := p.value()
			if extra && len(v) > 2 {
				u.Tier = word(v, nil)
			}
			continue
		case "promptTokensDetails":
			readModalities(p, &u.AudioInput, &u.ImageInput)
		case "candidatesTokensDetails":
			readModalities(p, &u.AudioOutput, &u.ImageOutput)
		default:
			p.skip()
		}
		if v := start.value(); extra && !p.bad && !isNull(v) {
			if u.Extra == nil {
				u.Extra = make(llm.Members)
			}
			u.Extra[string(key)] = append(llm.Raw(nil), v...)
		}
	}
	u.Output = candidates.Plus(u.Reasoning)
	if tools.Known {
		u.Input = u.Input.Plus(tools)
		if extra {
			u.Extra = merged(u.Extra, llm.Members{toolPrompt: strconv.AppendInt(nil, tools.N, 10)})
		}
	}
}

// readModalities reads a list of ModalityTokenCount.
func readModalities(p *peeker, audio, image *llm.Count) {
	for p.array() {
		var kind []byte
		var n int64
		var ok bool
		for p.object() {
			switch string(p.key()) {
			case "modality":
				kind = p.value()
			case "tokenCount":
				n, ok = p.int()
			default:
				p.skip()
			}
		}
		if !ok {
			continue
		}
		switch string(kind) {
		case `"AUDIO"`, "4":
			*audio = audio.Plus(llm.Tokens(n))
		case `"IMAGE"`, "2":
			*image = image.Plus(llm.Tokens(n))
		}
	}
}

// usage writes a usageMetadata; same says that u was read in this format.
func (t *text) usage(u *llm.Usage, same bool) {
	var extra llm.Members
	if same {
		extra = u.Extra
	}
	t.name("usageMetadata")
	t.open('{')
	t.count("promptTokenCount", u.Input.Minus(number64(extra[toolPrompt])))
	t.count("cachedContentTokenCount", u.CacheRead)
	t.count("candidatesTokenCount", u.Output.Minus(u.Reasoning))
	t.count("thoughtsTokenCount", u.Reasoning)
	total := u.Total
	if !total.Known && u.Input.Known && u.Output.Known {
		total = u.Input.Plus(u.Output)
	}
	t.count("totalTokenCount", total)
	t.members(extra)
	t.str("serviceTier", u.Tier)
	t.close('}')
}

// A glance is what accounting needs of a whole answer or of one chunk, read without decoding it. Its slices
// are parts of what was read.
type glance struct {
	usage    llm.Usage
	metered  bool   // usage was told
	output   bool   // there is real output
	size     int    // bytes of that
	queries  int64  // that Google Search was asked, by what the chunk says of its grounding
	failed   bool   // there is an error object
	blocked  bool   // the prompt was refused
	known    bool   // it looks like an answer of this API at all
	seen     uint64 // candidates, as bits of their indices
	finished uint64 // of these, with a finishReason
	id       []byte // responseId
	model    []byte // modelVersion
}

func (g *glance) usageOrNil() *llm.Usage {
	if !g.metered && g.queries == 0 {
		return nil
	}
	u := g.usage
	u.Runs = searches(g.queries)
	return &u
}

// searches are what grounding costs: newer models by the query, older ones by the prompt.
func searches(queries int64) llm.Runs {
	if queries == 0 {
		return nil
	}
	return llm.Runs{"web_search": queries, "grounded_prompt": 1}
}

// read takes a glance at data; false when it is not JSON from one end to the other.
func (g *glance) read(data []byte) bool {
	p := peeker{b: data}
	if p.next() != '{' {
		return false
	}
	for p.object() {
		switch string(p.key()) {
		case "candidates":
			g.known = true
			for p.array() {
				g.candidate(&p)
			}
		case "usageMetadata":
			g.known, g.metered = true, p.next() == '{'
			readUsage(&p, &g.usage, false)
		case "promptFeedback":
			g.known = true
			for p.object() {
				blocks := string(p.key()) == "blockReason"
				v := p.value()
				g.blocked = g.blocked || blocks && !isNull(v)
			}
		case "error":
			v := p.value()
			g.failed = g.failed || !isNull(v)
		case "embedding", "embeddings", "totalTokens":
			g.known, g.output = true, true
			p.skip()
		case "responseId":
			g.id = inner(p.value())
		case "modelVersion":
			g.known = true
			g.model = inner(p.value())
		default:
			p.skip()
		}
	}
	return p.done()
}

func inner(v []byte) []byte {
	if len(v) > 1 && v[0] == '"' {
		return v[1 : len(v)-1]
	}
	return nil
}

func (g *glance) candidate(p *peeker) {
	var index int64
	finished := false
	for p.object() {
		switch string(p.key()) {
		case "index":
			index, _ = p.int()
		case "finishReason":
			v := p.value()
			finished = !isNull(v) && string(v) != "0" && string(v) != `"FINISH_REASON_UNSPECIFIED"`
		case "groundingMetadata":
			for p.object() {
				if string(p.key()) != "webSearchQueries" {
					p.skip()
					continue
				}
				for p.array() {
					p.skip()
					g.queries++
				}
			}
		case "content":
			for p.object() {
				if string(p.key()) != "parts" {
					p.skip()
					continue
				}
				for p.array() {
					g.part(p)
				}
			}
		default:
			p.skip()
		}
	}
	bit := uint64(1) << (uint64(index) % 64)
	g.seen |= bit
	if finished {
		g.finished |= bit
	}
}

// part looks for output: a text that is not empty, or data of any other kind.
func (g *glance) part(p *peeker) {
	for p.object() {
		key := p.key()
		v := p.value()
		switch string(key) {
		case "text":
			g.output = g.output || len(v) > 2 && v[0] == '"'
			g.size += len(v)
		case "functionCall":
			g.output = g.output || !isNull(v)
			g.size += len(v)
		case "thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata", "mediaProcessing", "speechMetadata":
		default:
			g.output = g.output || !isNull(v)
		}
	}
}

// glance reads what accounting needs of a whole answer, and finds the error inside a 200.
func (f *Format) glance(body []byte) (g glance, err error) {
	switch ok := g.read(body); {
	case g.failed:
		return g, f.failure(body)
	case !ok:
		return g, broken(nil)
	case !g.known:
		return g, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer holds none of the members of its format"}
	}
	return g, nil
}
