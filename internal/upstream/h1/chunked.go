package h1

import "errors"

// Bounds of what a chunked body has beside its data.
const (
	maxChunkLine = 4 << 10  // one chunk's size and extensions
	maxTrailer   = 16 << 10 // all trailer fields
)

var errChunk = errors.New("the answer's chunks are malformed")

// The states of a decoder: what the next byte belongs to.
const (
	sizeFirst   = iota // the first digit of a size
	sizeNext           // another one, or what ends it
	sizePad            // white space behind the size
	sizeExt            // an extension
	sizeLF             // the LF that ends the line
	chunkData          //
	dataCR             // the CRLF behind the data
	dataLF             //
	trailerLine        // the first byte of a trailer's line, or the CR of the last one
	trailerName        //
	trailerText        //
	trailerLF          // the LF that ends the line
	lastLF             // the LF that ends the body
	chunksEnd          // nothing may follow
)

// A chunked decoder takes chunked bytes, in pieces of any size, and leaves the data. Trailers are checked
// and dropped. The zero value is ready.
type chunked struct {
	state uint8
	line  uint16 // bytes of the line, or of the trailer
	left  uint64 // of the chunk's data; its size while that is read
}

// decode moves the data in p to p's beginning and returns its length. Nothing of p is left to be read again:
// a byte behind the body's end is an error.
func (d *chunked) decode(p []byte) (n int, err error) {
	for i := 0; i < len(p); {
		if d.state == chunkData {
			k := int(min(d.left, uint64(len(p)-i)))
			if n != i {
				copy(p[n:], p[i:i+k])
			}
			n, i = n+k, i+k
			if d.left -= uint64(k); d.left == 0 {
				d.state = dataCR
			}
			continue
		}
		if d.state == chunksEnd {
			return n, errAfter
		}
		if !d.step(p[i]) {
			return n, errChunk
		}
		i++
	}
	return n, nil
}

// errAfter says that bytes follow an answer that is complete. The answer stands.
var errAfter = errors.New("bytes follow the answer")

// step takes one byte that is no data.
func (d *chunked) step(c byte) bool {
	if d.line++; d.line > maxTrailer || d.line > maxChunkLine && d.state < chunkData {
		return false
	}
	switch d.state {
	case sizeFirst:
		d.left = 0
		d.state = sizeNext
		return d.digit(c)
	case sizeNext:
		return d.digit(c) || d.sizeEnd(c)
	case sizePad:
		return d.sizeEnd(c)
	case sizeExt:
		if c == '\r' {
			d.state = sizeLF
			return true
		}
		return text[c]
	case sizeLF:
		if d.line = 0; d.left == 0 {
			d.state = trailerLine
		} else {
			d.state = chunkData
		}
		return c == '\n'
	case dataCR:
		d.state = dataLF
		return c == '\r'
	case dataLF:
		d.state, d.line = sizeFirst, 0
		return c == '\n'
	}
	return d.trailer(c)
}

// digit adds a hexadecimal digit to the size.
func (d *chunked) digit(c byte) bool {
	switch {
	case c >= '0' && c <= '9':
		c -= '0'
	case c >= 'a' && c <= 'f':
		c -= 'a' - 10
	case c >= 'A' && c <= 'F':
		c -= 'A' - 10
	default:
		return false
	}
	if d.line > 16 { // as many as 64 bits hold
		return false
	}
	d.left = d.left<<4 | uint64(c)
	return true
}

func (d *chunked) sizeEnd(c byte) bool {
	switch c {
	case '\r':
		d.state = sizeLF
	case ';':
		d.state = sizeExt
	case ' ', '\t':
		d.state = sizePad
	default:
		return false
	}
	return true
}

func (d *chunked) trailer(c byte) bool {
	switch d.state {
	case trailerLine:
		if c == '\r' {
			d.state = lastLF
			return true
		}
		d.state = trailerName
		return token[c]
	case trailerName:
		if c == ':' {
			d.state = trailerText
			return true
		}
		return token[c]
	case trailerText:
		if c == '\r' {
			d.state = trailerLF
			return true
		}
		return text[c]
	case trailerLF:
		d.state = trailerLine
		return c == '\n'
	case lastLF:
		d.state = chunksEnd
		return c == '\n'
	}
	return false
}
