package responses

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/openai"
)

// Error gives the status and body of a failure before the first byte, in the form of all of OpenAI's APIs.
func (Format) Error(e *llm.Error, requestID string) (int, []byte) {
	return openai.Chat.Error(e, requestID)
}

// Writer starts a streamed answer.
func (f Format) Writer(call *llm.Call) wire.Writer { return f.writer(call) }

func (f Format) writer(call *llm.Call) *writer { return &writer{call: call, now: f.now} }

// Answer writes a whole answer: what the writer of a stream would have put together at its end.
func (f Format) Answer(call *llm.Call, a *llm.Answer) ([]byte, error) {
	w := f.writer(call)
	w.same = a.Format == llm.OpenAIResponses
	w.open(&a.Head)
	var frames []byte // of no use here
	if len(a.Choices) > 0 {
		c := &a.Choices[0]
		probs := c.Logprobs
		for i := range c.Parts {
			d := llm.Delta{Index: i, Part: &c.Parts[i]}
			if isText(d.Part) {
				d.Logprobs, probs = probs, nil
			}
			frames = w.delta(frames[:0], &d)
		}
		w.delta(frames[:0], &llm.Delta{Stop: c.Stop, Native: c.Native})
	}
	w.closeAll(frames[:0])
	w.usage = a.Usage
	if w.same {
		w.told = a.Extra
	}
	return w.response(nil, w.ending()), nil
}

// A writer encodes one streamed answer. It puts every item together while it streams it, because the done
// events and the final response tell everything again.
type writer struct {
	call *llm.Call
	now  func() time.Time

	seq     int
	opened  bool
	id      string
	model   string
	created int64
	asked   llm.Members // the request's settings
	told    llm.Members // what an upstream of this format told beside the answer; then settings are in it
	same    bool        // the answer comes in this format: Foreign and Extra are ours

	items  []*openItem // not yet done, oldest first
	done   [][]byte    // by output_index; nil: not yet done
	usage  *llm.Usage
	stop   llm.Stop
	native string
	refuse bool // a refusal was told as such
	cut    bool // the answer ended before it was complete

	passed  bool   // frames went out as they came
	problem []byte // why a budget has ended it
}

// ContentType is the media type of the stream.
func (*writer) ContentType() string { return "text/event-stream; charset=utf-8" }

// Verbatim says that frames of this format need no change.
func (*writer) Verbatim() bool { return true }

// Ping appends a comment.
func (*writer) Ping(dst []byte) []byte { return append(dst, ": keep-alive\n\n"...) }

// Event appends the frames that say what ev adds.
func (w *writer) Event(dst []byte, ev *llm.Event) ([]byte, error) {
	w.same = ev.Format == llm.OpenAIResponses
	if ev.Usage != nil {
		if w.usage == nil {
			w.usage = new(llm.Usage)
		}
		w.usage.Merge(ev.Usage)
	}
	if !w.opened && (ev.Head != nil || len(ev.Delta) > 0) {
		dst = w.start(dst, ev.Head)
	}
	for i := range ev.Delta {
		dst = w.delta(dst, &ev.Delta[i])
	}
	if w.same && ev.Extra != nil {
		w.told = ev.Extra
	}
	return dst, nil
}

// End appends what closes a complete answer.
func (w *writer) End(dst []byte) []byte {
	if !w.opened {
		dst = w.start(dst, nil)
	}
	dst = w.closeAll(dst)
	e := w.ending()
	dst = w.frame(dst, "response."+e.status)
	dst = append(dst, `,"response":`...)
	dst = w.response(dst, e)
	return append(dst, "}\n\n"...)
}

// Fail appends what closes a broken answer: the error event, with the error both as the API documents it
// and as member error, on which the SDKs raise, and the failed response.
func (w *writer) Fail(dst []byte, e *llm.Error, requestID string, _ bool) []byte {
	if !w.opened {
		w.open(nil)
	}
	p := wire.NewProblem(e, requestID)
	code := quote(nil, or(e.Code, p.Code))
	param := []byte("null")
	if e.Param != "" {
		param = quote(nil, e.Param)
	}
	msg := quote(nil, p.Detail)
	dst = w.frame(dst, "error")
	for i, open := range []string{`,`, `,"error":{"type":"` + errorType(p.Status) + `",`} {
		dst = append(dst, open...)
		dst = append(append(dst, `"code":`...), code...)
		dst = append(append(dst, `,"message":`...), msg...)
		dst = append(append(dst, `,"param":`...), param...)
		if i == 1 {
			dst = append(dst, '}')
		}
	}
	dst = append(dst, "}\n\n"...)
	dst = w.frame(dst, "response.failed")
	dst = append(dst, `,"response":`...)
	failed := append([]byte(`{"code":"`+failedCode(e.Kind)+`","message":`), msg...)
	dst = w.response(dst, ending{status: "failed", failure: append(failed, '}')})
	return append(dst, "}\n\n"...)
}

// errorType is OpenAI's type of an error with a status.
func errorType(status int) string {
	switch {
	case status == 429:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// failedCode is the API's code of a failed response that comes nearest.
func failedCode(k llm.Kind) string {
	switch k {
	case llm.KindRateLimited, llm.KindConcurrency:
		return "rate_limit_exceeded"
	case llm.KindBudget:
		return "insufficient_quota"
	case llm.KindContextLength:
		return "context_length_exceeded"
	case llm.KindContentFiltered, llm.KindGuardrail:
		return "invalid_prompt"
	}
	return "server_error"
}

// An ending is how an answer ended.
type ending struct {
	status  string
	reason  string // of incomplete
	failure []byte // the error object of failed
}

func (w *writer) ending() ending {
	switch w.stop {
	case llm.StopLength:
		return ending{status: "incomplete", reason: "max_output_tokens"}
	case llm.StopFilter:
		return ending{status: "incomplete", reason: "content_filter"}
	case llm.StopRefusal: // told in the answer's words, or else the nearest that the API has
		if !w.refuse {
			return ending{status: "incomplete", reason: "content_filter"}
		}
	case llm.StopPause, llm.StopOther:
		return ending{status: "incomplete", reason: or(w.native, string(w.stop))}
	}
	return ending{status: "completed"}
}

// open sets what every response object begins with.
func (w *writer) open(h *llm.Head) {
	w.opened = true
	w.asked = settingsOf(w.call)
	w.id, w.model, w.created = w.call.ID, w.call.Model, w.now().Unix()
	if h != nil {
		w.id, w.model = or(h.ID, w.id), or(h.Model, w.model)
		if !h.Created.IsZero() {
			w.created = h.Created.Unix()
		}
		if w.same {
			w.told = h.Extra
		}
	}
	if !strings.HasPrefix(w.id, "resp_") {
		w.id = "resp_" + w.id
	}
}

func (w *writer) start(dst []byte, h *llm.Head) []byte {
	w.open(h)
	for _, typ := range []string{"response.created", "response.in_progress"} {
		dst = w.frame(dst, typ)
		dst = append(dst, `,"response":`...)
		dst = w.response(dst, ending{status: "in_progress"})
		dst = append(dst, "}\n\n"...)
	}
	return dst
}

// frame begins an event; the caller appends the rest of the object, each member with a comma before it.
func (w *writer) frame(dst []byte, typ string) []byte {
	dst = append(append(dst, "event: "...), typ...)
	dst = append(append(dst, "\ndata: {\"type\":\""...), typ...)
	dst = append(dst, `","sequence_number":`...)
	dst = strconv.AppendInt(dst, int64(w.seq), 10)
	w.seq++
	return dst
}

// response appends a response object.
func (w *writer) response(dst []byte, e ending) []byte {
	final := e.status != "in_progress"
	dst = append(dst, `{"id":`...)
	dst = quote(dst, w.id)
	dst = append(dst, `,"object":"response","created_at":`...)
	dst = strconv.AppendInt(dst, w.created, 10)
	dst = append(append(append(dst, `,"status":"`...), e.status...), '"')
	dst = append(dst, `,"error":`...)
	if e.failure != nil {
		dst = append(dst, e.failure...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"incomplete_details":`...)
	if e.reason != "" {
		dst = append(dst, `{"reason":`...)
		dst = append(quote(dst, e.reason), '}')
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"model":`...)
	dst = quote(dst, w.model)
	dst = append(dst, `,"output":`...)
	if w.passed && final {
		dst = append(dst, "null"...)
	} else {
		dst = w.output(dst, final)
	}
	dst = append(dst, `,"usage":`...)
	if final {
		dst = append(dst, writeUsage(w.usage, w.same)...)
	} else {
		dst = append(dst, "null"...)
	}
	if w.problem != nil {
		dst = appendMember(dst, wire.ProblemMember, w.problem)
	}
	if w.told != nil {
		return append(appendMembers(dst, w.told), '}')
	}
	dst = append(dst, `,"completed_at":`...)
	if e.status == "completed" {
		dst = strconv.AppendInt(dst, w.now().Unix(), 10)
	} else {
		dst = append(dst, "null"...)
	}
	tier := ""
	if w.usage != nil {
		tier = w.usage.Tier
	}
	return append(appendSettings(dst, w.asked, tier), '}')
}

// output appends the items of a response, which has none until it is final.
func (w *writer) output(dst []byte, final bool) []byte {
	dst = append(dst, '[')
	if final {
		first := true
		for _, item := range w.done {
			if item == nil {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(dst, item...)
		}
	}
	return append(dst, ']')
}

// delta appends the frames of one delta. The API has one answer to a call, so other choices are no part of it.
func (w *writer) delta(dst []byte, d *llm.Delta) []byte {
	if d.Choice != 0 {
		return dst
	}
	if d.Part != nil {
		dst = w.part(dst, d)
	}
	if d.Stop != "" {
		w.stop, w.native = d.Stop, d.Native
	}
	return dst
}

// part appends the frames of a piece: to the open part with its index, or to one that it opens.
func (w *writer) part(dst []byte, d *llm.Delta) []byte {
	for _, it := range w.items {
		if it.index == d.Index {
			return w.more(dst, it, d)
		}
	}
	switch p := d.Part; {
	case p.Foreign != nil:
		return w.foreign(dst, p)
	case p.Media != nil:
		return w.image(dst, p.Media)
	case p.Result != nil: // output of a tool that ran at the provider; no item of ours holds it
		return dst
	case p.Call != nil:
		return w.openCall(dst, d)
	case p.Reasoning != nil:
		return w.openReasoning(dst, d)
	case p.Signature != nil && p.Text == "" && p.Refusal == nil && p.Citations == nil:
		return w.seal(dst, seal{place: sealPrev, by: p.Signature.By, value: p.Signature.Value})
	default:
		return w.openText(dst, d)
	}
}

// settle closes the items that cannot grow any more now that another part begins: text and reasoning always
// (formats tell them in order), a call once its arguments are a whole object. Some vendors send the pieces
// of parallel calls in turns, so other calls stay open.
func (w *writer) settle(dst []byte, stays *openItem) []byte {
	rest := w.items[:0:0]
	for _, it := range w.items {
		growing := it.kind == typeCall && !(len(it.text) > 0 && it.text[0] == '{' && jsontext.Value(it.text).IsValid())
		if it == stays || growing {
			rest = append(rest, it)
			continue
		}
		dst = w.close(dst, it)
	}
	w.items = rest
	return dst
}

// closeAll closes what is left open at the end. An answer that was cut was cut there.
func (w *writer) closeAll(dst []byte) []byte {
	w.cut = w.ending().status == "incomplete"
	for _, it := range w.items {
		dst = w.close(dst, it)
	}
	w.items = nil
	return dst
}

// newID makes the id of an item, unique in the conversation as far as the response's is.
func (w *writer) newID(prefix string) string {
	return prefix + strings.TrimPrefix(w.id, "resp_") + "_" + strconv.Itoa(len(w.done))
}

// add opens an item.
func (w *writer) add(dst []byte, it *openItem) []byte {
	it.at, it.status = len(w.done), "in_progress"
	w.done = append(w.done, nil)
	w.items = append(w.items, it)
	return w.item(dst, "response.output_item.added", it.at, it.json(nil, false))
}

func (w *writer) item(dst []byte, typ string, at int, item []byte) []byte {
	dst = w.frame(dst, typ)
	dst = append(dst, `,"output_index":`...)
	dst = strconv.AppendInt(dst, int64(at), 10)
	dst = append(dst, `,"item":`...)
	dst = append(dst, item...)
	return append(dst, "}\n\n"...)
}

// close appends the done events of an item, and a signature that came too late to stand before it.
func (w *writer) close(dst []byte, it *openItem) []byte {
	dst = w.closePart(dst, it)
	switch it.kind {
	case typeCall:
		if len(it.text) == 0 && w.problem == nil { // a call without arguments
			it.text = append(it.text, "{}"...)
		}
		dst = w.text(dst, "response.function_call_arguments.done", it, "arguments", it.text)
		dst = append(dst, "}\n\n"...)
	case typeCustom:
		dst = w.text(dst, "response.custom_tool_call_input.done", it, "input", it.text)
		dst = append(dst, "}\n\n"...)
	}
	it.status = "completed"
	if w.cut {
		it.status = "incomplete"
	}
	w.done[it.at] = it.json(nil, true)
	dst = w.item(dst, "response.output_item.done", it.at, w.done[it.at])
	if it.late != nil {
		dst = w.seal(dst, seal{place: sealPrev, by: it.late.By, value: it.late.Value})
	}
	return dst
}

// whole appends an item that comes in one piece.
func (w *writer) whole(dst, item []byte) []byte {
	at := len(w.done)
	w.done = append(w.done, item)
	dst = w.item(dst, "response.output_item.added", at, item)
	return w.item(dst, "response.output_item.done", at, item)
}

// seal appends a reasoning item that stands for a signature of another vendor's.
func (w *writer) seal(dst []byte, s seal) []byte {
	it := openItem{kind: typeReasoning, id: w.newID(ownReasoning), seal: s}
	return w.whole(dst, it.json(nil, true))
}

// foreign appends what an upstream of this format sent and we do not know. Blocks of other formats have no
// place in an answer of this one.
func (w *writer) foreign(dst []byte, p *llm.Part) []byte {
	if !w.same {
		return dst
	}
	if p.Extra[messageMember] != nil {
		return w.foreignPart(dst, p)
	}
	return w.whole(w.settle(dst, nil), bytes.Clone(p.Foreign))
}

// image appends a picture that the model made, in the item that the API has for such. Other media have none.
func (w *writer) image(dst []byte, m *llm.Media) []byte {
	if m.Kind != llm.MediaImage || m.Data == "" {
		return dst
	}
	dst = w.settle(dst, nil)
	item := append([]byte(nil), `{"id":`...)
	item = quote(item, w.newID("ig_"))
	item = append(item, `,"type":"image_generation_call","status":"completed","result":`...)
	return w.whole(dst, append(quote(item, m.Data), '}'))
}
