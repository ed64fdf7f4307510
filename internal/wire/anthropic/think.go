package anthropic

import (
	"strconv"
	"strings"

	"sluice/internal/llm"
)

// minBudget is the least that Anthropic takes as budget_tokens.
const minBudget = 1024

// efforts puts the words of effort and budgets in tokens side by side, for models and vendors that know
// only one of the two.
var efforts = [...]struct {
	word   string
	native string // Anthropic's word
	budget int64
}{
	{"minimal", "low", minBudget},
	{"low", "low", 2048},
	{"medium", "medium", 8192},
	{"high", "high", 16384},
	{"xhigh", "xhigh", 32768},
	{"max", "max", 65536},
}

// thinking writes the wish for reasoning. Anthropic's own goes as it came. For the others it depends on
// the model: since 4.6 Claude takes adaptive thinking with an effort, and no budget since 4.7; before, and
// at other vendors that speak this API, only a budget.
func (w *encoder) thinking(q *request) {
	t := w.chat.Thinking
	if t == nil {
		return
	}
	if w.native {
		w.config.Effort = t.Effort
		w.nativeThinking(q, t)
		return
	}
	w.extra("thinking", t.Extra)
	out := &thinking{Display: display(t)}
	switch {
	case t.Off:
		out = &thinking{Type: "disabled"}
	case since(w.e.Model, 4, 6):
		out.Type = "adaptive"
		if out.Display == "" {
			out.Display = "summarized" // the newest models show nothing unless asked, others always do
		}
		w.config.Effort = effort(t)
	default:
		n := number(budget(t))
		if !w.fit(q, &n) {
			w.e.Lose("reasoning", "thinking takes at least 1024 tokens, more than max_tokens leaves")
			return
		}
		out.Type, out.Budget = "enabled", &n
	}
	w.put(q, out)
}

func (w *encoder) nativeThinking(q *request, t *llm.Thinking) {
	out := &thinking{Budget: (*number)(t.Budget), Display: t.Summary, Extra: asUnknown(t.Extra)}
	switch {
	case t.Off:
		out.Type = "disabled"
	case t.Auto:
		out.Type = "adaptive"
	case t.Budget != nil:
		out.Type = "enabled"
	default:
		return // only an effort was named
	}
	w.put(q, out)
}

func (w *encoder) put(q *request, t *thinking) {
	if raw, err := marshal(t); err == nil {
		q.Thinking = raw
	}
}

// fit makes room for a budget: it must be less than max_tokens. The client's own max_tokens is kept, and
// bounds the budget; the default one grows by it.
func (w *encoder) fit(q *request, n *number) bool {
	*n = max(*n, minBudget)
	if q.MaxTokens == nil { // count_tokens
		return true
	}
	if w.chat.MaxOutput == nil {
		total := *q.MaxTokens + *n
		q.MaxTokens = &total
		return true
	}
	*n = min(*n, *q.MaxTokens-1)
	return *n >= minBudget
}

func display(t *llm.Thinking) string {
	switch {
	case t.Show != nil && !*t.Show:
		return "omitted"
	case t.Show != nil, t.Summary != "":
		return "summarized"
	}
	return ""
}

// effort is the word nearest to what was asked; "" leaves it to the model.
func effort(t *llm.Thinking) string {
	for _, e := range efforts {
		if t.Effort == e.word || t.Effort == "" && t.Budget != nil && *t.Budget <= e.budget {
			return e.native
		}
	}
	if t.Budget != nil {
		return "max"
	}
	return ""
}

// budget is the number of tokens nearest to what was asked.
func budget(t *llm.Thinking) int64 {
	if t.Budget != nil {
		return *t.Budget
	}
	for _, e := range efforts {
		if t.Effort == e.word {
			return e.budget
		}
	}
	return 8192
}

// since says that a model is a Claude of this version or a later one. Names have the version behind the
// family (claude-sonnet-4-6, claude-haiku-4-5-20251001) or, until 3.7, before it; a Claude without a
// version is taken for a new one.
func since(model string, major, minor int) bool {
	_, name, ok := strings.Cut(strings.ToLower(model), "claude")
	if !ok {
		return false
	}
	var version []int
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("-._@:", r) }) {
		if n, err := strconv.Atoi(word); err == nil && n < 100 {
			version = append(version, n)
		}
	}
	switch len(version) {
	case 0:
		return true
	case 1:
		version = append(version, 0)
	}
	return version[0] > major || version[0] == major && version[1] >= minor
}
