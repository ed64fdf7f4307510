package gateway

import (
	"io"
	"net/http"
	"time"
)

// grace is how long a body may take to begin before its pace counts.
const grace = 5 * time.Second

// paced reads a body that must arrive at a pace: each read has until the moment at which what has come so
// far would be too little.
type paced struct {
	body  io.ReadCloser
	rc    http.ResponseController
	rate  int64 // bytes a second; 0: any
	start time.Time
	end   time.Time // of all; zero: never
	set   time.Time // the deadline now on the connection
	n     int64
}

func (p *paced) Read(b []byte) (int, error) {
	if d := p.deadline(); d.Sub(p.set) > grace/2 || p.set.IsZero() {
		p.set = d
		_ = p.rc.SetReadDeadline(d)
	}
	n, err := p.body.Read(b)
	p.n += int64(n)
	return n, err
}

func (p *paced) deadline() time.Time {
	if p.rate <= 0 {
		return p.end
	}
	d := p.start.Add(grace + time.Duration(float64(p.n)/float64(p.rate)*float64(time.Second)))
	if !p.end.IsZero() && p.end.Before(d) {
		return p.end
	}
	return d
}

// discardTime is how long a body is read that nobody will look at.
const discardTime = 5 * time.Second

// discard reads the rest of a body and tells whether it came to its end: many clients look at an answer only once they have sent all, and one
// that comes before it is lost when the connection is closed. Who waits to be told to send is not told to.
func (p *paced) discard(r *http.Request, most int64) bool {
	if r.Header.Get("Expect") != "" {
		return false
	}
	if end := time.Now().Add(discardTime); p.end.IsZero() || end.Before(p.end) {
		p.end, p.set = end, time.Time{}
	}
	n, err := io.Copy(io.Discard, io.LimitReader(p, most+1))
	return err == nil && n <= most
}

func (p *paced) Close() error { return p.body.Close() }
