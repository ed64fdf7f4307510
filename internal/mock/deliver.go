package mock

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"strconv"
)

// blank is what a padded answer is made of; JSON and event streams both ignore it where it is put.
var blank = bytes.Repeat([]byte(" "), 32<<10)

// deliver writes the head and the frames, with pauses and faults between them.
func (c *call) deliver(status int, p *plan, t *Script, f *fault) error {
	r := p.answer
	h := c.w.Header()
	h["Content-Type"] = r.typeHeader
	frames := r.frames
	if r.stream {
		h["Cache-Control"] = noCache
	} else {
		frames = segments(r, t.stallAt, f.hang, f.cut, f.drop, f.rst, f.garbage, f.dup)
	}
	pad := f.pad
	if f.gzip >= 0 {
		c.fault = "gzip"
		h["Content-Encoding"] = []string{"gzip"}
		pad = max(pad, f.gzip-r.size)
	}
	switch whole := !r.stream && f.plain(); {
	case f.length < 0:
		c.fault = "length"
		return c.lie(status, r.size+int64(f.length), frames)
	case f.length > 0:
		c.fault, c.outcome = "length", cutShort
		h["Content-Length"] = []string{strconv.FormatInt(r.size+pad+int64(f.length), 10)}
	case whole && pad == 0:
		h["Content-Length"] = r.lengthHeader
	}
	c.writeHead(status)
	if f.gzip >= 0 {
		c.zip = gzip.NewWriter(c.w)
	}
	err := c.frames(p, t, f, frames, pad)
	if c.zip != nil && (err == nil || errors.Is(err, errOver)) {
		err = errors.Join(err, c.zip.Close())
	}
	return err
}

// plain tells that f leaves the body in one piece.
func (f *fault) plain() bool {
	return f.hang.at+f.cut.at+f.drop.at+f.rst.at+f.garbage.at+f.dup.at == nowhere && f.gzip < 0
}

// frames writes the frames, with pauses between them, and with what the script does before each.
func (c *call) frames(p *plan, t *Script, f *fault, frames []frame, pad int64) error {
	at := whereabouts(p.answer, t, f, frames)
	stream, outputs := p.answer.stream, 0
	for i := range frames {
		if err := c.disturb(p, t, f, at, i, frames); err != nil {
			return err
		}
		if frames[i].output && stream {
			pause := t.pace
			if outputs == 0 {
				pause = t.ttft
			}
			outputs++
			if pause > 0 && i == 0 {
				c.flush() // the head does not wait for the first output
			}
			if !c.wait(pause) {
				return c.left()
			}
		} else if c.gone.Load() != 0 {
			return c.left()
		}
		if err := c.frame(t, frames[i], pad); err != nil {
			return err
		}
		pad = 0
		// The last flush is net/http's own: with it the end of the body travels in the same packet.
		if stream && (i+1)%t.burst == 0 && i+1 < len(frames) {
			c.flush()
		}
	}
	return c.disturb(p, t, f, at, len(frames), frames)
}

// places are the indexes of the frames before which a script does something; -1 is never.
type places struct{ stall, garbage, dup, failure, hang, cut, drop, rst int }

func whereabouts(r *rendering, t *Script, f *fault, frames []frame) places {
	at := func(p place) int {
		if r.stream {
			return p.index(len(frames))
		}
		return segmentOf(frames, p, len(r.frames[0].data))
	}
	return places{at(t.stallAt), at(f.garbage), at(f.dup), at(f.errorEvent), at(f.hang), at(f.cut), at(f.drop), at(f.rst)}
}

// disturb does what the script wants before frame i. Some faults end the answer: by an error, or where the connection must not
// live on, by a panic that net/http knows.
func (c *call) disturb(p *plan, t *Script, f *fault, at places, i int, frames []frame) error {
	if i == at.stall {
		if c.flush(); !c.wait(t.stall) {
			return c.left()
		}
	}
	if i == at.garbage {
		c.fault = "garbage"
		if err := c.write(t, p.garbage(t, i == 0)); err != nil {
			return err
		}
	}
	if i == at.dup && i > 0 {
		c.fault = "dup"
		if err := c.write(t, frames[i-1].data); err != nil {
			return err
		}
	}
	switch i {
	case at.failure:
		c.fault, c.outcome = "error", cutShort
		return errors.Join(c.write(t, c.errorFrame(p, t, f, i == 0)), errOver)
	case at.hang:
		c.fault = "hang"
		c.flush()
		return c.hang()
	case at.cut:
		c.fault, c.outcome = "cut", cutShort
		return errOver
	case at.drop:
		c.fault, c.outcome = "drop", cutShort
		c.flush()
		panic(http.ErrAbortHandler)
	case at.rst:
		c.flush()
		return c.reset()
	}
	return nil
}

// segmentOf finds the segment that begins at a place of a plain body.
func segmentOf(frames []frame, p place, size int) int {
	want := p.index(size)
	offset := 0
	for i, f := range frames {
		if offset == want {
			return i
		}
		offset += len(f.data)
	}
	if want == offset {
		return len(frames)
	}
	return -1
}

// frame writes one frame, the padding inside it, and counts it.
func (c *call) frame(t *Script, f frame, pad int64) error {
	data := f.data
	if f.output && c.firstAt == 0 {
		c.firstAt = c.since()
	}
	if pad > 0 {
		// After the colon of a data line, or before the body, blanks mean nothing.
		head := 0
		if i := bytes.Index(data, []byte("data:")); i >= 0 && bytes.HasPrefix(data[i+5:], []byte(" ")) {
			head = i + 6
		}
		if err := c.write(t, data[:head]); err != nil {
			return err
		}
		data = data[head:]
		for ; pad > 0; pad -= int64(len(blank)) {
			if err := c.write(t, blank[:min(pad, int64(len(blank)))]); err != nil {
				return err
			}
		}
	}
	if err := c.write(t, data); err != nil {
		return err
	}
	c.events++
	c.tokens = f.tokens
	return nil
}

// write sends data at once, or drop by drop.
func (c *call) write(t *Script, data []byte) error {
	if t.drip == 0 {
		return c.put(data)
	}
	for len(data) > 0 {
		n := min(t.drip, len(data))
		if err := c.put(data[:n]); err != nil {
			return err
		}
		data = data[n:]
		if c.flush(); !c.wait(t.dripPause) {
			return c.left()
		}
	}
	return nil
}

func (c *call) put(data []byte) error {
	var n int
	var err error
	if c.zip != nil {
		n, err = c.zip.Write(data)
	} else {
		n, err = c.w.Write(data) //nolint:gosec // a model repeats what it was told, in JSON
	}
	c.sent += int64(n)
	return err
}

func (c *call) flush() {
	if c.zip != nil {
		_ = c.zip.Flush()
	}
	if f, ok := c.w.(http.Flusher); ok {
		f.Flush()
	}
}

// errorObject is the vendor's error as it comes with status 200.
func (c *call) errorObject(p *plan, f *fault) obj {
	v := p.api.vendor()
	o := vendorError(v, f.errorStatus, message(v, f.errorStatus, 0), 0)
	if p.api == openaiResponses && p.answer.stream {
		return obj{"type", "error", "code", "server_error", "message", message(v, f.errorStatus, 0), "param", nil, "sequence_number", c.events}
	}
	return o
}

// errorFrame is an error as an event of p's stream.
func (c *call) errorFrame(p *plan, t *Script, f *fault, first bool) []byte {
	data := encode(c.errorObject(p, f))
	name := ""
	if p.api == anthropicMessages || p.api == openaiResponses {
		name = "error"
	}
	return p.extraFrame(t, name, data, first, "]")
}

// garbage is an event that is broken off.
func (p *plan) garbage(t *Script, first bool) []byte {
	if !p.answer.stream {
		return []byte("\x00{\"garbage\":")
	}
	name := map[api]string{anthropicMessages: "content_block_delta", openaiResponses: "response.output_text.delta"}[p.api]
	return p.extraFrame(t, name, []byte(`{"garbage":"not clos`), first, "")
}

// extraFrame forms an event that is not part of the answer; the array of Gemini needs end after it, or goes on.
func (p *plan) extraFrame(t *Script, name string, data []byte, first bool, end string) []byte {
	if p.answer.eol == "" {
		open := ",\r\n"
		if first {
			open = "["
		}
		return append(append([]byte(open), data...), end...)
	}
	w := &writer{s: t, r: &rendering{}, eol: p.answer.eol}
	w.event(name, false, data)
	return w.r.frames[0].data
}
