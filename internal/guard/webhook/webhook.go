// Package webhook is a detector that asks a service of the operator's: one that knows names, say. Texts go there in a signed POST,
// and places in them come back. A service that is slow or wrong is an error, never an empty answer; one that fails again
// and again is left alone for a while. It retries nothing and keeps no text.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/circuit"
	"sluice/internal/guard"
	"sluice/internal/llm"
)

// A Form is what a service speaks.
type Form string

// The forms.
const (
	// Sluice: {"texts": [...]} is answered by {"findings": [[{"type", "start", "end"}, ...], ...]}, a list for each text.
	Sluice Form = "sluice"
	// Presidio: the analyzer's POST /analyze. It takes one text, so all are sent as one, with empty lines between.
	Presidio Form = "presidio"
)

// Options are what a detector is made of.
type Options struct {
	URL       *url.URL
	Form      Form // "": Sluice
	Language  string
	Threshold float64 // findings with a lower score do not count; those without a score do
	Timeout   time.Duration
	Transport llm.Transport // refuses addresses that nobody meant
	// Sign makes the value of X-Sluice-Signature; nil: requests are not signed.
	Sign func(now time.Time, body []byte) string
	Now  func() time.Time // nil: time.Now
}

// A Detector asks one service. It may be used by many calls at a time.
type Detector struct {
	o       Options
	breaker circuit.Breaker

	mu    sync.Mutex // guards what follows
	kinds map[string]bool
}

const (
	defaultTimeout = 2 * time.Second
	mostText       = 1 << 20 // bytes of text in one request
	mostAnswer     = 8 << 20 // bytes
	mostTexts      = 10_000  // in one request
	mostFailures   = 5       // in a row, after which the service is left alone
	openFor        = 5 * time.Second
	mostKinds      = 64 // types that a service may make up: they are labels of metrics
)

// Other is the type of what a service names in a way that cannot be shown.
const Other = "OTHER"

// New makes a detector.
func New(o Options) *Detector {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Form == "" {
		o.Form = Sluice
	}
	return &Detector{o: o, breaker: circuit.Breaker{After: mostFailures, Rest: openFor}, kinds: make(map[string]bool)}
}

// Name implements guard.Detector.
func (*Detector) Name() string { return "webhook" }

var (
	errOpen = errors.New("the webhook has failed again and again and is left alone for a while")
	errLong = fmt.Errorf("a text has more than the %d bytes that a webhook is sent", mostText)
)

// Detect implements guard.Detector. All of it must be done in the timeout.
func (d *Detector) Detect(ctx context.Context, texts []string, found func(text int, f guard.Finding)) error {
	ctx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	for from := 0; from < len(texts); {
		n, size := 0, 0
		for from+n < len(texts) && n < mostTexts {
			if size += len(texts[from+n]); size > mostText && n > 0 {
				break
			}
			n++
		}
		if n == 1 && len(texts[from]) > mostText {
			return errLong // it is not the service's fault
		}
		if err := d.try(ctx, texts[from:from+n], func(text int, f guard.Finding) { found(from+text, f) }); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// try is ask, unless the service is left alone. A request that its own client ended says nothing.
func (d *Detector) try(ctx context.Context, texts []string, found func(text int, f guard.Finding)) error {
	if !d.breaker.Allow(d.o.Now()) {
		return errOpen
	}
	end := d.breaker.Cancel
	defer func() { end() }()
	err := d.ask(ctx, texts, found)
	switch {
	case err == nil:
		end = d.breaker.Succeed
	case !errors.Is(ctx.Err(), context.Canceled):
		end = func() { d.breaker.Fail(d.o.Now()) }
	}
	return err
}

// ask sends texts in one request. Errors hold nothing of what was sent or came back.
func (d *Detector) ask(ctx context.Context, texts []string, found func(text int, f guard.Finding)) error {
	format := writeSluice
	if d.o.Form == Presidio {
		format = writePresidio
	}
	body, err := format(&d.o, texts)
	if err != nil {
		return errors.New("the texts cannot be written as JSON")
	}
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"sluice"}}
	if d.o.Sign != nil {
		h["X-Sluice-Signature"] = []string{d.o.Sign(d.o.Now(), body)}
	}
	resp, err := d.o.Transport.Send(ctx, &llm.Request{Method: http.MethodPost, URL: d.o.URL, Header: h, Body: [][]byte{body}})
	if err != nil {
		return fmt.Errorf("the webhook could not be reached: %s", llm.AsError(err).Kind)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	switch {
	case resp.Status/100 != 2:
		return fmt.Errorf("the webhook answered with status %d", resp.Status)
	case err != nil:
		return errors.New("the webhook's answer broke off")
	case len(answer) > mostAnswer:
		return fmt.Errorf("the webhook's answer has more than %d bytes", mostAnswer)
	}
	list, err := d.read(answer, texts)
	if err != nil {
		return err
	}
	for _, f := range list {
		found(f.text, f.Finding)
	}
	return nil
}

// place is a finding in one of the texts.
type place struct {
	text int
	guard.Finding
}

func (d *Detector) read(answer []byte, texts []string) ([]place, error) {
	if d.o.Form == Presidio {
		return d.readPresidio(answer, texts)
	}
	return d.readSluice(answer, texts)
}

type sluiceFinding struct {
	Type  string   `json:"type"`
	Start int      `json:"start"`
	End   int      `json:"end"`
	Score *float64 `json:"score"`
}

func writeSluice(_ *Options, texts []string) ([]byte, error) {
	return json.Marshal(struct {
		Texts []string `json:"texts"`
	}{texts})
}

func (d *Detector) readSluice(answer []byte, texts []string) (list []place, err error) {
	var in struct {
		Findings [][]sluiceFinding `json:"findings"`
	}
	if json.Unmarshal(answer, &in) != nil {
		return nil, errors.New("the webhook's answer is not what was agreed on")
	}
	if len(in.Findings) != len(texts) {
		return nil, fmt.Errorf("the webhook answered for %d texts of %d", len(in.Findings), len(texts))
	}
	for i := range in.Findings {
		if list, err = d.places(list, i, texts[i], in.Findings[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// places turns characters into bytes. A place that is not in the text is an error: whoever counts otherwise would have the wrong
// bytes hidden.
func (d *Detector) places(list []place, text int, s string, found []sluiceFinding) ([]place, error) {
	if len(found) == 0 {
		return list, nil
	}
	offsets := make([]int, 0, len(s)+1)
	for i := range s {
		offsets = append(offsets, i)
	}
	offsets = append(offsets, len(s))
	for _, f := range found {
		if f.Score != nil && *f.Score < d.o.Threshold {
			continue
		}
		if f.Start < 0 || f.Start >= f.End || f.End >= len(offsets) {
			return nil, errors.New("the webhook found something outside of the text")
		}
		list = append(list, place{text, guard.Finding{Type: d.kind(f.Type), Start: offsets[f.Start], End: offsets[f.End]}})
	}
	return list, nil
}

// kind is a type as it may be shown.
func (d *Detector) kind(name string) string {
	if name == "" || len(name) > 40 || name[0] < 'A' || name[0] > 'Z' {
		return Other
	}
	for _, c := range []byte(name) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return Other
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.kinds[name] {
		if len(d.kinds) >= mostKinds {
			return Other
		}
		d.kinds[name] = true
	}
	return name
}
