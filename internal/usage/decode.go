package usage

import (
	"encoding/binary"
	"strconv"
	"strings"

	"sluice/internal/llm"
)

// A record is what one of the log says; one of its members is set, or none when this binary does not know it.
type record struct {
	intent *Intent
	mark   *Mark
	final  *final
	at     uint64 // of mark and final: the position of the call's intent
}

// kindOf tells what a record is, without reading it.
func kindOf(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// decode reads a record of the log. It keeps nothing of b.
func decode(b []byte) (rec record, err error) {
	switch kindOf(b) {
	case recordIntent:
		rec.intent = new(Intent)
		err = eachField(b[1:], func(f field) { setIntent(rec.intent, f) })
	case recordProgress:
		rec.mark = new(Mark)
		err = eachField(b[1:], func(f field) {
			if f.num == fieldIntentAt {
				rec.at = f.uint()
			}
			setMark(rec.mark, f)
		})
	case recordFinal:
		rec.final = new(final)
		err = decodeFinal(b, rec.final)
		rec.at = rec.final.at
	case 0:
		err = errRecord
	}
	return rec, err
}

// decodeFinal reads the record of a call that ended.
func decodeFinal(b []byte, f *final) error {
	*f = final{}
	return eachField(b[1:], func(m field) { setFinal(f, m) })
}

// A cost is what a final record says to those who settle it. Its texts lie in the record.
type cost struct {
	id, org  []byte
	counters [][]byte
	costs    [fieldCostWaste - fieldCostInput + 1]llm.Nano
	in, out  int64
	cached   bool
}

// tokens is Row.Tokens.
func (c *cost) tokens() int64 {
	if c.cached {
		return 0
	}
	return c.in + c.out
}

// total is Costs.Total.
func (c *cost) total() (sum llm.Nano) {
	for _, n := range c.costs {
		sum = sum.Plus(n)
	}
	return sum
}

// decodeCost reads only that of a final record, and nothing at all where there are no counters.
func decodeCost(b []byte, counters [][]byte) (c cost, err error) {
	c.counters = counters
	part := partCounters
	var f raw
	for b = b[1:]; len(b) > 0; {
		if f, b, err = nextField(b); err != nil {
			return c, err
		}
		switch {
		case f.num == fieldPart:
			if part++; part == partSeries && len(c.counters) == 0 || part == partColumns {
				return c, nil
			}
		case f.num == fieldRequestID:
			c.id = f.text
		case f.num == fieldOrg:
			c.org = f.text
		case f.num == fieldCounter:
			c.counters = append(c.counters, f.text)
		case f.num == fieldInput:
			c.in = f.n
		case f.num == fieldCache:
			c.cached = true
		case f.num == fieldOutput:
			c.out = f.n
		case f.num >= fieldCostInput && f.num <= fieldCostWaste:
			c.costs[f.num-fieldCostInput] = llm.Nano(f.n)
		}
	}
	return c, nil
}

// intentAt reads the position of its intent from a record of progress or of an end, whose first field it is;
// 0: there is none.
func intentAt(b []byte) uint64 {
	const key = fieldIntentAt << 1 // two bytes as a varint
	if len(b) < 4 || b[1] != key&0x7f|0x80 || b[2] != key>>7 {
		return 0
	}
	at, _ := binary.Varint(b[3:])
	return uint64(at)
}

func setFinal(f *final, m field) {
	switch m.num {
	case fieldIntentAt:
		f.at = m.uint()
	case fieldCounter:
		f.counters = append(f.counters, m.text)
	default:
		setRow(&f.row, m)
	}
}

func setRow(r *Row, m field) {
	switch m.num {
	case fieldUpstream:
		r.Upstream = m.span()
	case fieldFirstToken:
		r.FirstToken = m.span()
	case fieldOwn:
		r.Own = m.span()
	case fieldFallback:
		r.Fallback = m.text
	case fieldStatus:
		r.Status = int(m.n)
	case fieldError:
		r.Error = llm.Kind(m.text)
	case fieldCache:
		r.Cache = m.text
	case fieldSaved:
		r.Saved = llm.Nano(m.n)
	default:
		setCall(&r.Call, m)
		setMark(&r.Mark, m)
	}
}

func setIntent(in *Intent, f field) {
	switch f.num {
	case fieldBound:
		in.Input = f.n
	case fieldInputCost:
		in.InputCost = llm.Nano(f.n)
	case fieldPrice:
		in.Price = f.text
	case fieldCounter:
		in.Counters = append(in.Counters, f.text)
	default:
		setCall(&in.Call, f)
	}
}

func setCall(c *Call, f field) {
	switch f.num {
	case fieldRequestID:
		c.RequestID = f.text
	case fieldOrg:
		c.Org = f.text
	case fieldTeam:
		c.Team = f.text
	case fieldUser:
		c.User = f.text
	case fieldKey:
		c.Key = f.text
	case fieldProject:
		c.Project = f.text
	case fieldTag:
		c.Tags = append(c.Tags, f.text)
	case fieldStart:
		c.Start = f.time()
	case fieldCharged:
		c.Charged = f.time()
	case fieldFormat:
		c.Format = llm.Format(f.text)
	case fieldOp:
		c.Op = llm.Op(f.text)
	case fieldModel:
		c.Model = f.text
	case fieldStream:
		c.Stream = f.flag()
	case fieldBytesIn:
		c.BytesIn = f.n
	}
}

func setMark(m *Mark, f field) {
	switch f.num {
	case fieldProvider:
		m.Provider = f.text
	case fieldUpmodel:
		m.Upmodel = f.text
	case fieldCredential:
		m.Credential = f.text
	case fieldAttempts:
		m.Attempts = int(f.n)
	case fieldBytesOut:
		m.BytesOut = f.n
	case fieldFrames:
		m.Frames = f.n
	case fieldTotal:
		m.Total = f.span()
	case fieldPriceVersion:
		m.PriceVersion = f.text
	case fieldWasted:
		m.Wasted = f.n
	case fieldEstimated:
		m.Estimated = f.flag()
	case fieldPartial:
		m.Partial = f.flag()
	case fieldTier:
		m.Usage.Tier = f.text
	case fieldRuns:
		n, tool, _ := strings.Cut(f.text, " ")
		if calls, err := strconv.ParseInt(n, 10, 64); err == nil {
			m.Usage.Runs = m.Usage.Runs.With(tool, calls)
		}
	default:
		setNumbers(m, f)
	}
}

func setNumbers(m *Mark, f field) {
	if n := countOf(&m.Usage, f.num); n != nil {
		*n = f.count()
	} else if n := costOf(&m.Costs, f.num); n != nil {
		*n = llm.Nano(f.n)
	}
}

// countOf is the member that a field of tokens is for.
func countOf(u *llm.Usage, num int) *llm.Count {
	switch num {
	case fieldInput:
		return &u.Input
	case fieldCacheRead:
		return &u.CacheRead
	case fieldCacheWrite:
		return &u.CacheWrite
	case fieldCacheWrite1h:
		return &u.CacheWrite1h
	case fieldOutput:
		return &u.Output
	case fieldReasoning:
		return &u.Reasoning
	case fieldAudioInput:
		return &u.AudioInput
	case fieldAudioOutput:
		return &u.AudioOutput
	case fieldImageInput:
		return &u.ImageInput
	case fieldImageOutput:
		return &u.ImageOutput
	case fieldTotalTokens:
		return &u.Total
	}
	return nil
}

// costOf is the member that a field of costs is for.
func costOf(c *Costs, num int) *llm.Nano {
	switch num {
	case fieldCostInput:
		return &c.Input
	case fieldCostCacheRead:
		return &c.CacheRead
	case fieldCostCacheWrite:
		return &c.CacheWrite
	case fieldCostCacheWrite1h:
		return &c.CacheWrite1h
	case fieldCostOutput:
		return &c.Output
	case fieldCostReasoning:
		return &c.Reasoning
	case fieldCostAudio:
		return &c.Audio
	case fieldCostImage:
		return &c.Image
	case fieldCostTools:
		return &c.Tools
	case fieldCostWaste:
		return &c.Waste
	}
	return nil
}
