package mock

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options of New; the zero value serves every model and logs the last 10,000 calls.
type Options struct {
	Script  string // the text of a script file
	Default string // a script for every answer, before all others
	Key     string // when set, the credential that a request must present
	Log     int    // calls that the log keeps
	Capture int    // bytes of a request's body, with its headers, that the log keeps; off unless asked: they hold secrets
}

// Server is the fake upstream: an http.Handler that serves the three vendors' paths under any prefix.
type Server struct {
	opts    Options
	book    atomic.Pointer[book]
	log     *log
	seed    maphash.Seed
	buffers sync.Pool
	calls   atomic.Int64
	closed  chan struct{}
	close   func()
}

// A book is what is answered: a script file, and what has been made by it so far.
type book struct {
	rules   []rule
	plans   *generations[planKey, *plan]
	scripts *generations[string, *scripted]
}

func newBook(script string) (*book, error) {
	rules, err := parseRules(script)
	if err != nil {
		return nil, err
	}
	return &book{
		rules:   rules,
		plans:   newGenerations[planKey, *plan](128<<20, func(p *plan) int64 { return p.weight }),
		scripts: newGenerations[string, *scripted](4096, func(*scripted) int64 { return 1 }),
	}, nil
}

// New makes a Server; the error names what is wrong with a script.
func New(o Options) (*Server, error) {
	b, err := newBook(o.Script)
	if err != nil {
		return nil, err
	}
	if s := newScript(); o.Default != "" {
		if err := s.apply(o.Default); err != nil {
			return nil, fmt.Errorf("default script: %w", err)
		}
	}
	if o.Log <= 0 {
		o.Log = 10_000
	}
	closed := make(chan struct{})
	s := &Server{opts: o, log: newLog(o.Log), seed: maphash.MakeSeed(), closed: closed, close: sync.OnceFunc(func() { close(closed) })}
	s.book.Store(b)
	return s, nil
}

// Close ends every answer that waits, so that an http.Server can shut down.
func (s *Server) Close() { s.close() }

// scripted is a script with the number of calls that it has had.
type scripted struct {
	Script
	instant bool // no pause and no fault is possible
	calls   atomic.Int64
}

// plan is the answer to one request, rendered. It is kept: most load is the same request again and again, and then the
// mock costs a hash of the body and the writes.
type plan struct {
	api    api
	model  string
	script *scripted
	answer *rendering
	err    error // a refusal
	weight int64
}

// planKey stands for the request. A collision of two bodies of one length under a secret seed is out of reach.
type planKey struct {
	hash   uint64
	length int
}

// generations is a bounded map: when the young generation is full it becomes the old one, and the old one is dropped.
type generations[K comparable, V any] struct {
	mu         sync.Mutex
	young, old map[K]V
	weight     int64
	most       int64
	weigh      func(V) int64
}

func newGenerations[K comparable, V any](most int64, weigh func(V) int64) *generations[K, V] {
	return &generations[K, V]{young: map[K]V{}, most: most, weigh: weigh}
}

func (g *generations[K, V]) get(k K) (V, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.young[k]
	if !ok {
		if v, ok = g.old[k]; ok {
			g.put(k, v)
		}
	}
	return v, ok
}

// put must be called with mu held.
func (g *generations[K, V]) put(k K, v V) {
	w := g.weigh(v)
	if w > g.most/4 {
		return
	}
	if g.weight += w; g.weight > g.most/2 {
		g.old, g.young, g.weight = g.young, map[K]V{}, w
	}
	g.young[k] = v
}

// add stores v unless another was first; the one that is stored is returned.
func (g *generations[K, V]) add(k K, v V) V {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was, ok := g.young[k]; ok {
		return was
	}
	g.put(k, v)
	return v
}

const maxBody = 128 << 20

// ServeHTTP answers one request, and logs it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodDelete {
		s.serveGet(w, r)
		return
	}
	if r.Method == http.MethodPut && r.URL.Path == "/script" {
		s.takeScript(w, r)
		return
	}
	a, name := route(r.URL.Path)
	if a == noAPI || r.Method != http.MethodPost {
		writeJSON(w, http.StatusNotFound, openaiError(404, "Invalid URL ("+r.Method+" "+r.URL.Path+")"))
		return
	}
	buf, _ := s.buffers.Get().(*bytes.Buffer)
	if buf == nil {
		buf = new(bytes.Buffer)
	}
	buf.Reset()
	body, err := s.read(buf, r)
	c := &call{s: s, w: w, r: r, ctx: r.Context(), start: time.Now(), received: len(body)}
	if s.opts.Capture > 0 {
		c.body = bytes.Clone(body[:min(len(body), s.opts.Capture)])
		c.head = r.Header.Clone()
	}
	var p *plan
	if err != nil {
		p = &plan{api: a, err: err, script: &scripted{Script: newScript()}}
	} else {
		p = s.plan(a, name, r, body)
	}
	if buf.Cap() <= 4<<20 {
		s.buffers.Put(buf) // the plan holds no part of it
	}
	c.serve(p)
}

// maxScript bounds a script file that is put.
const maxScript = 1 << 20

// takeScript turns to another script file. Answers under way end by the one that they began with.
func (s *Server) takeScript(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScript))
	var b *book
	if err == nil {
		b, err = newBook(string(text))
	}
	if err != nil {
		writeJSON(w, http.StatusBadRequest, openaiError(http.StatusBadRequest, err.Error()))
		return
	}
	s.book.Store(b)
	w.WriteHeader(http.StatusNoContent)
}

// route finds the operation by the end of the path, so that a base URL may have any prefix; name is Gemini's model.
func route(p string) (a api, name string) {
	switch {
	case strings.HasSuffix(p, "/chat/completions"):
		return openaiChat, ""
	case strings.HasSuffix(p, "/completions"):
		return openaiText, ""
	case strings.HasSuffix(p, "/responses"):
		return openaiResponses, ""
	case strings.HasSuffix(p, "/embeddings"):
		return openaiEmbeddings, ""
	case strings.HasSuffix(p, "/messages"):
		return anthropicMessages, ""
	case strings.HasSuffix(p, "/messages/count_tokens"):
		return anthropicCount, ""
	}
	_, rest, ok := strings.Cut(p, "/models/")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 {
		return noAPI, ""
	}
	verb := rest[i+1:]
	for a := geminiGenerate; a <= geminiEmbedBatch; a++ {
		if _, v, _ := strings.Cut(apiNames[a], "."); v == verb {
			return a, rest[:i]
		}
	}
	return noAPI, ""
}

func (s *Server) read(buf *bytes.Buffer, r *http.Request) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, &refusal{http.StatusUnsupportedMediaType, "content encoding " + e + " is not supported"}
	}
	if n := r.ContentLength; n > 0 && n <= maxBody {
		buf.Grow(int(n) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return buf.Bytes(), &refusal{400, "the body ends early"}
	}
	if buf.Len() > maxBody {
		return nil, &refusal{http.StatusRequestEntityTooLarge, "the body is too large"}
	}
	return buf.Bytes(), nil
}

// plan finds or makes the answer to a request.
func (s *Server) plan(a api, name string, r *http.Request, body []byte) *plan {
	extra := r.Header.Get("X-Mock-Script")
	sse := r.URL.RawQuery != "" && r.URL.Query().Get("alt") == "sse"
	if err := s.authorised(a, r); err != nil {
		return &plan{api: a, err: err, script: &scripted{Script: newScript()}}
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	_ = h.WriteByte(byte(a))
	if sse {
		_ = h.WriteByte(1)
	}
	_, _ = h.WriteString(name)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(extra)
	_ = h.WriteByte(0)
	_, _ = h.Write(body)
	key := planKey{h.Sum64(), len(body)}
	b := s.book.Load()
	if p, ok := b.plans.get(key); ok {
		return p
	}
	return b.plans.add(key, s.makePlan(b, &ask{api: a, model: name, sse: sse, stream: a == geminiStream}, extra, body))
}

func (s *Server) makePlan(b *book, k *ask, extra string, body []byte) *plan {
	p := &plan{api: k.api, script: &scripted{Script: newScript()}, weight: 1024}
	p.err = k.read(body)
	if p.model = k.model; p.err != nil {
		return p
	}
	if p.script, p.err = s.script(b, k.model, extra); p.err != nil {
		p.script = &scripted{Script: newScript()}
		return p
	}
	p.answer = s.render(k, &p.script.Script)
	p.weight += p.answer.size
	return p
}

func (k *ask) read(body []byte) error {
	var err error
	switch k.api {
	case openaiChat, openaiText:
		err = k.readChat(body)
	case openaiResponses:
		err = k.readResponses(body)
	case openaiEmbeddings:
		err = k.readEmbeddings(body)
	case anthropicMessages, anthropicCount:
		err = k.readAnthropic(body)
	default:
		err = k.readGemini(body)
	}
	if err == nil && k.model == "" {
		err = bad("you must provide a model parameter")
	}
	return err
}

func (s *Server) render(k *ask, t *Script) *rendering {
	switch k.api {
	case openaiEmbeddings, geminiEmbed, geminiEmbedBatch:
		return embed(k, t)
	case anthropicCount, geminiCount:
		n := 1 + int64(k.size)/4
		if t.tokens.input != unset {
			n = t.tokens.input
		}
		if k.api == anthropicCount {
			return plain(obj{"input_tokens", n}, counts{input: n})
		}
		return plain(obj{
			"totalTokens", n, "promptTokensDetails", list{obj{"modality", "TEXT", "tokenCount", n}},
		}, counts{input: n}, indented...)
	default:
		return render(k, think(k, t), t)
	}
}

// script finds the script of a model name and the request's own; asked is what the client calls the model.
func (s *Server) script(b *book, asked, extra string) (*scripted, error) {
	key := asked + "\x00" + extra
	if t, ok := b.scripts.get(key); ok {
		return t, nil
	}
	name, own, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(asked, "models/"), "mock/"), "?")
	texts := []string{s.opts.Default}
	for _, r := range b.rules {
		if ok, _ := globMatch(r.pattern, name); ok {
			if r.model != "" {
				name = r.model
			}
			texts = append(texts, r.script)
			break
		}
	}
	if personas[name] == nil {
		return nil, &refusal{http.StatusNotFound, "The model `" + asked + "` does not exist."}
	}
	t := &scripted{Script: newScript()}
	t.model = name
	for _, text := range append(texts, own, extra) {
		if err := t.apply(text); err != nil {
			return nil, bad("%v", err)
		}
	}
	t.instant = t.latency+t.ttft+t.pace+t.stall == 0 && t.drip == 0 && len(t.others) == 0 && t.fault == newScript().fault
	return b.scripts.add(key, t), nil
}

// globMatch is path.Match without the special meaning of the slash, which model names have.
func globMatch(pattern, name string) (bool, error) {
	return path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(name, "/", "\x01"))
}

func (s *Server) authorised(a api, r *http.Request) error {
	if s.opts.Key == "" {
		return nil
	}
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch a.vendor() {
	case anthropic:
		given = r.Header.Get("X-Api-Key")
	case gemini:
		if given = r.Header.Get("X-Goog-Api-Key"); given == "" {
			given = r.URL.Query().Get("key")
		}
	}
	if given != s.opts.Key {
		return &refusal{http.StatusUnauthorized, message(a.vendor(), http.StatusUnauthorized, 0)}
	}
	return nil
}

// serveGet has the lists of models, the log and the health.
func (s *Server) serveGet(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	_, name, one := strings.Cut(p, "/models/")
	switch {
	case p == "/log" && r.Method == http.MethodDelete:
		s.log.clear()
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		writeJSON(w, http.StatusMethodNotAllowed, openaiError(405, "Not allowed"))
	case p == "/log":
		s.log.serve(w, r)
	case p == "/health":
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "ok\n")
	case one:
		s.serveModel(w, r, name)
	case strings.HasSuffix(p, "/models"):
		s.serveModels(w, r)
	default:
		writeJSON(w, http.StatusNotFound, openaiError(404, "Invalid URL (GET "+p+")"))
	}
}

// vendorOf tells whose list a GET wants: two vendors share the path /v1/models.
func vendorOf(r *http.Request) vendor {
	switch {
	case r.Header.Get("Anthropic-Version") != "":
		return anthropic
	case strings.Contains(r.URL.Path, "/v1beta/models"):
		return gemini
	default:
		return openai
	}
}

func (s *Server) models() []string {
	names := []string{}
	for name := range personas {
		names = append(names, name)
	}
	for _, r := range s.book.Load().rules {
		if !strings.ContainsAny(r.pattern, `*?[\`) {
			names = append(names, r.pattern)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *Server) serveModels(w http.ResponseWriter, r *http.Request) {
	var all list
	form := map[vendor]func(string) obj{openai: openaiModel, anthropic: anthropicModel, gemini: geminiModel}[vendorOf(r)]
	names := s.models()
	for _, n := range names {
		all = append(all, form(n))
	}
	switch vendorOf(r) {
	case anthropic:
		writeJSON(w, 200, obj{"data", all, "has_more", false, "first_id", names[0], "last_id", names[len(names)-1]})
	case gemini:
		writeJSON(w, 200, obj{"models", all})
	default:
		writeJSON(w, 200, obj{"object", "list", "data", all})
	}
}

func (s *Server) serveModel(w http.ResponseWriter, r *http.Request, name string) {
	v := vendorOf(r)
	if u, err := url.PathUnescape(name); err == nil {
		name = u
	}
	var refused *refusal
	if _, err := s.script(s.book.Load(), name, ""); errors.As(err, &refused) {
		writeJSON(w, refused.status, vendorError(v, refused.status, refused.message, 0))
		return
	}
	writeJSON(w, 200, map[vendor]func(string) obj{openai: openaiModel, anthropic: anthropicModel, gemini: geminiModel}[v](name))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(append(encode(v), '\n'))
}

func vendorError(v vendor, status int, text string, retry time.Duration) obj {
	switch v {
	case anthropic:
		return anthropicError(status, text)
	case gemini:
		return geminiError(status, text, retry)
	default:
		return openaiError(status, text)
	}
}

func message(v vendor, status int, retry time.Duration) string {
	switch v {
	case anthropic:
		return anthropicMessage(status)
	case gemini:
		return geminiMessage(status, retry)
	default:
		return openaiMessage(status)
	}
}
