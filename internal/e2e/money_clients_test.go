package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A tongue is a format in which these clients ask.
type tongue struct {
	path func(model string, stream bool) string
	body func(o *wish) string
	text [2]*regexp.Regexp // the pieces of an answer's text, not streamed and streamed
	end  [2]string         // what a whole answer has, as expressions
}

var (
	openaiText    = regexp.MustCompile(`"content": ?"([^"]*)"`)
	plainText     = regexp.MustCompile(`"text": ?"([^"]*)"`)
	responsesText = regexp.MustCompile(`"delta": ?"([^"]*)"`)
)

var tongues = []tongue{
	{
		path: same("/v1/chat/completions"),
		body: func(o *wish) string {
			return fmt.Sprintf(`{"model":%q,"stream":%v%s,"messages":[{"role":"user","content":%q}]}`, o.model, o.stream, o.most(`,"max_tokens":%d`), o.text)
		},
		text: [2]*regexp.Regexp{openaiText, openaiText}, end: [2]string{`"finish_reason"`, `data: \[DONE\]`},
	},
	{
		path: same("/v1/responses"),
		body: func(o *wish) string {
			return fmt.Sprintf(`{"model":%q,"stream":%v%s,"input":%q}`, o.model, o.stream, o.most(`,"max_output_tokens":%d`), o.text)
		},
		text: [2]*regexp.Regexp{plainText, responsesText}, end: [2]string{`"status": ?"completed"`, `"response.completed"`},
	},
	{
		path: same("/v1/messages"),
		body: func(o *wish) string {
			n := o.limit
			if n == 0 {
				n = 500
			}
			return fmt.Sprintf(`{"model":%q,"stream":%v,"max_tokens":%d,"messages":[{"role":"user","content":%q}]}`, o.model, o.stream, n, o.text)
		},
		text: [2]*regexp.Regexp{plainText, plainText}, end: [2]string{`"stop_reason"`, `"message_stop"`},
	},
	{
		path: dialects[2].path,
		body: func(o *wish) string {
			return fmt.Sprintf(`{"contents":[{"role":"user","parts":[{"text":%q}]}]%s}`, o.text, o.most(`,"generationConfig":{"maxOutputTokens":%d}`))
		},
		text: [2]*regexp.Regexp{plainText, plainText}, end: [2]string{`"finishReason"`, `"finishReason"`},
	},
}

// errorCode is a refusal's.
var errorCode = regexp.MustCompile(`"code": ?"(\w+)"`)

// A wish is one call that a client is to make.
type wish struct {
	tongue      int
	secret      string
	model, text string
	stream      bool
	limit       int           // of the output; 0: none is named
	leaves      time.Duration // after which the client leaves; 0: it stays
	reads       int64         // bytes after which it leaves; 0: it stays
	header      []string      // NAME: VALUE
}

func (o *wish) most(format string) string {
	if o.limit == 0 {
		return ""
	}
	return fmt.Sprintf(format, o.limit)
}

func (o *wish) left() bool { return o.leaves > 0 || o.reads > 0 }

// A receipt is what a client has in its hands after a call.
type receipt struct {
	wish
	id     string // "": no answer began
	status int
	header http.Header
	body   string
	words  int64 // that it received: no token of these has less than one
	whole  bool  // all of a good answer
	cut    bool  // a budget ended it, as an answer that is too long ends
	err    error
}

// place makes a call. It ends when the client leaves, or after 40 s.
func (o *wish) place(ctx context.Context, tr http.RoundTripper, g *gateway) (r receipt) {
	r.wish = *o
	limit := 40 * time.Second
	if o.leaves > 0 {
		limit = o.leaves
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	to := &tongues[o.tongue]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+to.path(o.model, o.stream), strings.NewReader(to.body(o)))
	if err != nil {
		r.err = err
		return r
	}
	req.Header.Set("Authorization", "Bearer "+o.secret)
	req.Header.Set("Content-Type", "application/json")
	for _, h := range o.header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		r.err = err
		return r
	}
	defer resp.Body.Close()
	r.id, r.status, r.header = resp.Header.Get("X-Request-Id"), resp.StatusCode, resp.Header
	from := io.Reader(resp.Body)
	if o.reads > 0 {
		from = io.LimitReader(from, o.reads)
	}
	out, err := io.ReadAll(from)
	r.body, r.err = string(out), err
	how := 0
	if o.stream {
		how = 1
	}
	if r.status != http.StatusOK {
		return r
	}
	var said strings.Builder
	for _, m := range to.text[how].FindAllStringSubmatch(r.body, -1) {
		said.WriteString(m[1])
	}
	r.words = int64(len(strings.Fields(said.String())))
	end := regexp.MustCompile(to.end[how])
	r.cut = strings.Contains(r.body, `"problem":{"type":"urn:sluice:error:budget_exceeded"`)
	r.whole = err == nil && !r.cut && end.MatchString(r.body) && !strings.Contains(r.body, `"error":{`) && (o.reads == 0 || int64(len(out)) < o.reads)
	return r
}

// A crowd is clients that make random orders, and keep their receipts.
type crowd struct {
	shop    *shop
	seed    uint64
	models  []string // by key: those that it asks for
	secrets []string
	leave   int // of a hundred, how many leave before the end

	made     atomic.Int64
	mu       sync.Mutex // guards receipts
	receipts []receipt
}

// wish makes the nth wish. The same seed makes the same.
func (c *crowd) wish(n int) *wish {
	rnd := rand.New(rand.NewPCG(c.seed, uint64(n)))
	o := &wish{
		tongue: rnd.IntN(len(tongues)), secret: c.secrets[rnd.IntN(len(c.secrets))], model: c.models[rnd.IntN(len(c.models))],
		stream: rnd.IntN(2) == 0, text: words(rnd, 1+rnd.IntN(40)),
	}
	if rnd.IntN(2) == 0 {
		o.limit = 1 + rnd.IntN(50)
	}
	if rnd.IntN(100) < c.leave {
		if o.stream && rnd.IntN(2) == 0 {
			o.reads = 1 + rnd.Int64N(3000)
		} else {
			o.leaves = time.Duration(1+rnd.IntN(80)) * time.Millisecond
		}
	}
	return o
}

// words is a text of so many.
func words(rnd *rand.Rand, n int) string {
	const vocabulary = "river gate opens slowly under morning light water runs past old stone while birds call from far hills"
	bank := strings.Fields(vocabulary)
	out := make([]string, n)
	for i := range out {
		out[i] = bank[rnd.IntN(len(bank))]
	}
	return strings.Join(out, " ")
}

// run makes calls at a steady rate until ctx ends, or n when it is not 0.
func (c *crowd) run(ctx context.Context, n, rate int) {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	defer tr.CloseIdleConnections()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var all sync.WaitGroup
	defer all.Wait()
	room := make(chan struct{}, 256) // a machine that is too slow for the rate must not drown
	for i := int(c.made.Load()); n == 0 || i < n; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c.made.Add(1)
		all.Go(func() {
			defer func() { <-room }()
			crew := *c.shop.now.Load()
			c.keep(c.wish(i).place(context.WithoutCancel(ctx), tr, crew[i%len(crew)]))
		})
	}
}

func (c *crowd) keep(r receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receipts = append(c.receipts, r)
}

// byID are the receipts of calls that were begun to be answered.
func (c *crowd) byID() map[string]*receipt {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]*receipt{}
	for i := range c.receipts {
		if r := &c.receipts[i]; r.id != "" {
			all[r.id] = r
		}
	}
	return all
}

// state says how it goes.
func (c *crowd) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, whole, codes := len(c.receipts), 0, map[string]int{}
	for i := range c.receipts {
		r := &c.receipts[i]
		if r.whole {
			whole++
		}
		code := errorCode.FindStringSubmatch(r.body)
		switch {
		case r.status == http.StatusOK:
		case code != nil:
			codes[code[1]]++
		case r.err != nil && !r.left():
			codes["no answer"]++
		}
	}
	return fmt.Sprintf("%d calls, %d with a whole answer %v", n, whole, codes)
}
