package audit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// A lineReader gives lines without their ends. One that is too long, or the last one without its end, is errForm.
type lineReader struct{ r *bufio.Reader }

func newLineReader(r io.Reader) *lineReader { return &lineReader{bufio.NewReaderSize(r, 64<<10)} }

func (l *lineReader) next() ([]byte, error) {
	var long []byte
	for {
		piece, err := l.r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(long) <= mostLine:
			long = append(long, piece...)
			continue
		case errors.Is(err, bufio.ErrBufferFull): // pass over the rest
			long = long[:mostLine+1]
			continue
		case errors.Is(err, io.EOF) && len(long)+len(piece) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return nil, errForm
		case err != nil:
			return nil, err
		}
		if long == nil {
			return bytes.TrimSuffix(piece, []byte("\n")), nil
		}
		if long = append(long, piece...); len(long) > mostLine {
			return nil, errForm
		}
		return bytes.TrimSuffix(long, []byte("\n")), nil
	}
}
