package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"sluice/internal/control"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/usage"
)

// Books are what the paths of usage read. One answer is one call.
type Books interface {
	Report(ctx context.Context, q *usage.Query) (lines []usage.Line, total usage.Totals, err error)
	Rows(ctx context.Context, q *usage.RowQuery) (usage.Page, error)
}

// bySelection selects calls.
var bySelection = []Param{
	{Name: "organisation", Doc: "Only calls of this organisation, by its id."},
	{Name: "team", Doc: "Of this team, by its id."},
	{Name: "user", Doc: "Of this user, by its id."},
	{Name: "key", Doc: "Of this key, by its public part."},
	{Name: "project", Doc: "Of this project."},
	{Name: "tag", Doc: "With this tag."},
	{Name: "model", Doc: "Of these models: globs with commas between them."},
	{Name: "provider", Doc: "By this provider."},
	{Name: "from", Doc: "today, yesterday, this-month, last-month, a day, a month, or a time as RFC 3339 has it."},
	{Name: "until", Doc: "The same; a day or a month is in between."},
	{Name: "zone", Doc: "The time zone of days, such as Europe/Berlin; UTC when left out."},
}

// ledger are the routes of what was used.
func (h *Handler) ledger() []Route {
	get := func(path, summary string, out any, query []Param, serve func(*request) (any, error)) Route {
		return Route{Method: http.MethodGet, Path: path, Act: "usage.read", Summary: summary, Out: out, Query: slices.Concat(bySelection, query), Status: http.StatusOK, serve: serve}
	}
	return []Route{
		get("/admin/usage", "Sum what was used.", Usage{}, []Param{
			{Name: "by", Doc: "What sums are by: " + words(By) + "; commas between them."},
			{Name: "limit", Doc: "How many lines at most: 1 to 9999, 1000 when left out.", Number: true},
			{Name: "top", Doc: "Instead of limit: only so many, the dearest first.", Number: true},
		}, func(q *request) (any, error) { return some(report(q, h.o.Books, h.o.Now())) }),
		get("/admin/ledger", "List calls, the newest first: what they used and how they went, never what was said.", Rows{}, []Param{
			{Name: "request", Doc: "Only the call with this request id."}, {Name: "after", Doc: "The next of the page before."}, {Name: "limit", Doc: "How many rows at most: 1 to 1000, 100 when left out.", Number: true},
		}, func(q *request) (any, error) { return some(rows(q, h.o.Books, h.o.Now())) }),
	}
}

// within bounds what is selected to the actor's realm. What is outside it is not there.
func within(a *control.Actor, f *usage.Filter) error {
	bound := func(member *string, kind directory.Kind) error {
		if *member != "" && *member != a.Realm {
			return llm.Errorf(llm.KindNotFound, "%s: there is none with the id %q", kind, clip(*member))
		}
		*member = a.Realm
		return nil
	}
	switch a.Kind {
	case directory.KindOrganisation:
		return bound(&f.Org, a.Kind)
	case directory.KindTeam:
		return bound(&f.Team, a.Kind)
	case directory.KindUser:
		return bound(&f.User, a.Kind)
	}
	return nil
}

const (
	usualLines = 1000
	mostLines  = 9999
	usualRows  = 100
	mostRows   = 1000
)

// By are the words that a report may be by, in the order in which people read them.
var By = []usage.By{
	usage.ByHour, usage.ByDay, usage.ByMonth, usage.ByOrg, usage.ByTeam, usage.ByUser, usage.ByKey, usage.ByProject, usage.ByModel, usage.ByProvider,
}

// Usage is what GET /admin/usage answers.
type Usage struct {
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"` // not with it
	Zone   string    `json:"zone"`
	By     []string  `json:"by"`
	Lines  []Line    `json:"lines"`
	Others *Totals   `json:"others,omitzero"` // all lines that limit or top left out, together
	Total  Totals    `json:"total"`
}

// A Line is what a report has for one hour, key and so on. What it is not by is left out.
type Line struct {
	At           time.Time `json:"at,omitzero"`
	Organisation *string   `json:"organisation,omitzero"`
	Team         *string   `json:"team,omitzero"`
	User         *string   `json:"user,omitzero"`
	Key          *string   `json:"key,omitzero"`
	Project      *string   `json:"project,omitzero"`
	Model        *string   `json:"model,omitzero"`
	Provider     *string   `json:"provider,omitzero"`
	Totals
}

// Totals are sums over calls. Amounts are decimal dollars, exact. Tokens read from caches and written to them are part of
// the input, those of reasoning of the output.
type Totals struct {
	Calls      int64  `json:"calls"`
	Failed     int64  `json:"failed"`
	Estimated  int64  `json:"estimated"`
	Cached     int64  `json:"cached"`
	Input      int64  `json:"input_tokens"`
	CacheRead  int64  `json:"cache_read_tokens"`
	CacheWrite int64  `json:"cache_write_tokens"`
	Output     int64  `json:"output_tokens"`
	Reasoning  int64  `json:"reasoning_tokens"`
	Cost       string `json:"cost_usd"`
	Saved      string `json:"saved_usd"`
}

func totalsOf(t *usage.Totals) Totals {
	return Totals{
		t.Calls, t.Failed, t.Estimated, t.Cached, t.Input, t.CacheRead, t.CacheWrite, t.Output, t.Reasoning, t.Cost.String(), t.Saved.String(),
	}
}

// takeOff takes o off t.
func takeOff(t, o *usage.Totals) {
	t.Calls, t.Failed, t.Estimated, t.Cached = t.Calls-o.Calls, t.Failed-o.Failed, t.Estimated-o.Estimated, t.Cached-o.Cached
	t.Input, t.CacheRead, t.CacheWrite = t.Input-o.Input, t.CacheRead-o.CacheRead, t.CacheWrite-o.CacheWrite
	t.Output, t.Reasoning = t.Output-o.Output, t.Reasoning-o.Reasoning
	t.Cost, t.Saved = t.Cost.Plus(-o.Cost), t.Saved.Plus(-o.Saved)
}

// report answers GET /admin/usage.
func report(r *request, b Books, now time.Time) (*Usage, error) {
	p := params{values: r.URL.Query(), now: now}
	q := usage.Query{Filter: p.filter(), Zone: p.zone, Limit: p.number("limit", usualLines, mostLines)}
	if top := p.number("top", 0, mostLines); top > 0 {
		q.Limit, q.Dearest = top, true
	}
	for _, word := range p.list("by") {
		by := usage.By(word)
		switch {
		case word == "organisation":
			by = usage.ByOrg
		case !slices.Contains(By, by):
			p.fail("by: there is no %.40q; there are %s", word, words(By))
		}
		q.By = append(q.By, by)
	}
	if q.From.IsZero() {
		q.From = p.moment("this-month", false)
	}
	if q.Until.IsZero() {
		q.Until = p.moment("today", true)
	}
	if p.err != nil {
		return nil, p.err
	}
	if err := within(&r.actor, &q.Filter); err != nil {
		return nil, err
	}
	out := &Usage{From: q.From, Until: q.Until, Zone: p.zone.String(), By: []string{}, Lines: []Line{}}
	for _, by := range q.By {
		out.By = append(out.By, string(by))
	}
	most := q.Limit
	q.Limit++
	lines, total, err := b.Report(r.Context(), &q)
	if err != nil {
		return nil, err
	}
	others := total
	for i := range lines[:min(len(lines), most)] {
		takeOff(&others, &lines[i].Totals)
		out.Lines = append(out.Lines, lineOf(&lines[i], q.By))
	}
	if len(lines) > most { // the whole is more than these
		left := totalsOf(&others)
		out.Others = &left
	}
	out.Total = totalsOf(&total)
	return out, nil
}

func lineOf(l *usage.Line, by []usage.By) Line {
	out := Line{At: l.At, Totals: totalsOf(&l.Totals)}
	for _, b := range by {
		switch b {
		case usage.ByOrg:
			out.Organisation = &l.Org
		case usage.ByTeam:
			out.Team = &l.Team
		case usage.ByUser:
			out.User = &l.User
		case usage.ByKey:
			out.Key = &l.Key
		case usage.ByProject:
			out.Project = &l.Project
		case usage.ByModel:
			out.Model = &l.Model
		case usage.ByProvider:
			out.Provider = &l.Provider
		}
	}
	return out
}

func words[T ~string](list []T) string {
	all := make([]string, len(list))
	for i, w := range list {
		all[i] = string(w)
	}
	return strings.Join(all, ", ")
}

// Rows is what GET /admin/ledger answers: the latest first.
type Rows struct {
	Data []Row  `json:"data"`
	Next string `json:"next,omitzero"` // after, of the page that follows; "": there is none
}

// A Row is the account of one call. What is not known is left out: absent is not zero.
type Row struct {
	RequestID    string            `json:"request_id"`
	Charged      time.Time         `json:"charged"` // in whose periods it counts
	Start        time.Time         `json:"start"`
	Organisation string            `json:"organisation"`
	Team         string            `json:"team,omitzero"`
	User         string            `json:"user,omitzero"`
	Key          string            `json:"key"`
	Project      string            `json:"project,omitzero"`
	Tags         []string          `json:"tags,omitzero"`
	Format       string            `json:"format"`
	Operation    string            `json:"operation"`
	Stream       bool              `json:"stream"`
	Model        string            `json:"model"`
	Provider     string            `json:"provider,omitzero"`
	Upmodel      string            `json:"upstream_model,omitzero"`
	Credential   string            `json:"credential,omitzero"`
	Attempts     int               `json:"attempts"`
	Fallback     string            `json:"fallback,omitzero"`
	Status       int               `json:"status,omitzero"`
	Error        string            `json:"error,omitzero"`
	Tokens       map[string]int64  `json:"tokens"`
	Calls        map[string]int64  `json:"tool_calls,omitzero"` // of tools that ran at the vendor
	Wasted       int64             `json:"wasted_tokens,omitzero"`
	Tier         string            `json:"service_tier,omitzero"`
	Cost         string            `json:"cost_usd"`
	Costs        map[string]string `json:"costs_usd"` // by kind, those that are not zero
	PriceVersion string            `json:"price_version,omitzero"`
	Estimated    bool              `json:"estimated"`
	Partial      bool              `json:"partial"`
	Cache        string            `json:"cache,omitzero"`
	Saved        string            `json:"saved_usd,omitzero"`
	BytesIn      int64             `json:"bytes_in"`
	BytesOut     int64             `json:"bytes_out"`
	Frames       int64             `json:"frames"`
	Upstream     int64             `json:"upstream_us"`
	FirstToken   int64             `json:"first_token_us,omitzero"`
	Own          int64             `json:"own_us"`
	Total        int64             `json:"total_us"`
	Replica      string            `json:"replica,omitzero"`
	Position     uint64            `json:"position"`
}

// rows answers GET /admin/ledger.
func rows(r *request, b Books, now time.Time) (*Rows, error) {
	p := params{values: r.URL.Query(), now: now}
	q := usage.RowQuery{Filter: p.filter(), RequestID: p.text("request"), After: p.text("after"), Limit: p.number("limit", usualRows, mostRows)}
	if p.err != nil {
		return nil, p.err
	}
	if err := within(&r.actor, &q.Filter); err != nil {
		return nil, err
	}
	page, err := b.Rows(r.Context(), &q)
	if err != nil {
		return nil, err
	}
	out := &Rows{Data: []Row{}, Next: page.Next}
	for i := range page.Rows {
		row := rowOf(&page.Rows[i])
		if r.actor.Kind != "" { // how the gateway is built is no business of its tenants
			row.Credential, row.Replica = "", ""
		}
		out.Data = append(out.Data, row)
	}
	return out, nil
}

func rowOf(r *usage.Row) Row {
	out := Row{
		RequestID: r.RequestID, Charged: r.Charged, Start: r.Start, Organisation: r.Org, Team: r.Team, User: r.User, Key: r.Key, Project: r.Project, Tags: r.Tags,
		Format: string(r.Format), Operation: string(r.Op), Stream: r.Stream, Model: r.Model, Provider: r.Provider, Upmodel: r.Upmodel, Credential: r.Credential,
		Attempts: r.Attempts, Fallback: r.Fallback, Status: r.Status, Error: string(r.Error), Tokens: map[string]int64{}, Tier: r.Usage.Tier, Calls: r.Usage.Runs, Wasted: r.Wasted,
		Cost: r.Costs.Total().String(), Costs: map[string]string{}, PriceVersion: r.PriceVersion, Estimated: r.Estimated, Partial: r.Partial, Cache: r.Cache,
		BytesIn: r.BytesIn, BytesOut: r.BytesOut, Frames: r.Frames,
		Upstream: r.Upstream.Microseconds(), FirstToken: r.FirstToken.Microseconds(), Own: r.Own.Microseconds(), Total: r.Total.Microseconds(),
		Replica: r.Replica, Position: r.Position,
	}
	if r.Saved != 0 {
		out.Saved = r.Saved.String()
	}
	u, c := &r.Usage, &r.Costs
	for name, n := range map[string]llm.Count{
		"input": u.Input, "cache_read": u.CacheRead, "cache_write": u.CacheWrite, "cache_write_1h": u.CacheWrite1h, "output": u.Output, "reasoning": u.Reasoning,
		"audio_input": u.AudioInput, "audio_output": u.AudioOutput, "image_input": u.ImageInput, "image_output": u.ImageOutput, "total": u.Total,
	} {
		if n.Known {
			out.Tokens[name] = n.N
		}
	}
	for name, n := range map[string]llm.Nano{
		"input": c.Input, "cache_read": c.CacheRead, "cache_write": c.CacheWrite, "cache_write_1h": c.CacheWrite1h, "output": c.Output, "reasoning": c.Reasoning,
		"audio": c.Audio, "image": c.Image, "tools": c.Tools, "waste": c.Waste,
	} {
		if n != 0 {
			out.Costs[name] = n.String()
		}
	}
	return out
}
