package usage

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"sluice/internal/llm"
)

// A record of the log is one byte that says what it is, and fields: a key (number << 1, lowest bit set when
// the value is bytes), then a varint, or a length and so many bytes. Fields that are zero are left out, but
// for token counts, of which zero and absent differ. A reader skips fields and records that it does not know,
// so an older binary reads what a newer one wrote. A number is never given a second meaning.

// What a record is.
const (
	recordIntent   = 1
	recordProgress = 2
	recordFinal    = 3
	recordOpen     = 4 // not in the log: an Open as stores keep it
	recordRow      = 5 // not in the log: what stores keep of a Row in one piece
)

// Numbers of fields.
const (
	fieldRequestID = iota + 1
	fieldOrg
	fieldTeam
	fieldUser
	fieldKey
	fieldProject
	fieldTag // repeated
	fieldStart
	fieldCharged
	fieldFormat
	fieldOp
	fieldModel
	fieldStream
	fieldBytesIn
)

const (
	fieldProvider = iota + 20
	fieldUpmodel
	fieldCredential
	fieldAttempts
	fieldBytesOut
	fieldFrames
	fieldTotal
	fieldPriceVersion
	fieldWasted
)

const (
	fieldInput = iota + 30
	fieldCacheRead
	fieldCacheWrite
	fieldCacheWrite1h
	fieldOutput
	fieldReasoning
	fieldAudioInput
	fieldAudioOutput
	fieldImageInput
	fieldImageOutput
	fieldTotalTokens
	fieldTier
	fieldRuns // repeated: a number, a blank and a tool
)

const (
	fieldCostInput = iota + 50
	fieldCostCacheRead
	fieldCostCacheWrite
	fieldCostCacheWrite1h
	fieldCostOutput
	fieldCostReasoning
	fieldCostAudio
	fieldCostImage
	fieldCostTools
	fieldCostWaste
)

// fieldPart stands between the parts of a final record: its readers stop where what they need ends.
const fieldPart = 60

const (
	fieldBound = iota + 70
	fieldInputCost
	fieldCounter // repeated
	fieldPrice
)

const (
	fieldUpstream = iota + 80
	fieldFirstToken
	fieldOwn
	fieldFallback
	fieldStatus
	fieldError
	fieldEstimated
	fieldPartial
	fieldCache
	fieldSaved
)

const (
	fieldIntentAt = iota + 100 // the position of the intent
	fieldReplica
	fieldMarked // of an Open: it has a mark
	fieldPosition
)

// appendIntent appends the record of an intent.
func appendIntent(b []byte, in *Intent) []byte {
	b = append(b, recordIntent)
	return appendIntentFields(b, in)
}

// appendProgress appends the record of a mark of the call whose intent stands at a position.
func appendProgress(b []byte, at uint64, m *Mark) []byte {
	b = append(b, recordProgress)
	b = appendUint(b, fieldIntentAt, at)
	return appendMark(b, m)
}

// A final is the record of a call that ended.
type final struct {
	row      Row
	counters []string
	at       uint64 // the position of its intent; 0: the log has none
}

// The parts of a final record, each but the first begun by a fieldPart. Those who look for a member by its number find it wherever it
// stands: releases before had no parts, and took the members in any order.
const (
	partCounters = iota // what settlers ask first: nearly all that they read of a call that held nothing
	partSeries          // who pays for what: the same in many records that follow one another
	partCosts           // the rest of what settlers read
	partColumns         // the rest of what stores look at
	partRest
)

// appendFinal appends the record of a call that ended. Where it stands is the log's to say.
func appendFinal(b []byte, f *final) []byte {
	r := &f.row
	b = append(b, recordFinal)
	b = appendUint(b, fieldIntentAt, f.at)
	for _, name := range f.counters {
		b = appendText(b, fieldCounter, name)
	}
	b = appendFlag(b, fieldPart, true)
	b = appendPayer(b, &r.Payer)
	b = appendText(b, fieldModel, r.Model)
	b = appendText(b, fieldProvider, r.Provider)
	b = appendFlag(b, fieldPart, true)
	b = appendText(b, fieldRequestID, r.RequestID)
	b = appendText(b, fieldCache, r.Cache)
	b = appendCount(b, fieldInput, r.Usage.Input)
	b = appendCount(b, fieldOutput, r.Usage.Output)
	b = appendCosts(b, &r.Costs)
	b = appendFlag(b, fieldPart, true)
	b = appendTime(b, fieldCharged, r.Charged)
	b = appendInt(b, fieldStatus, int64(r.Status))
	b = appendText(b, fieldError, string(r.Error))
	b = appendCount(b, fieldCacheRead, r.Usage.CacheRead)
	b = appendCount(b, fieldCacheWrite, r.Usage.CacheWrite)
	b = appendCount(b, fieldReasoning, r.Usage.Reasoning)
	b = appendInt(b, fieldSaved, int64(r.Saved))
	b = appendFlag(b, fieldEstimated, r.Estimated)
	b = appendFlag(b, fieldPartial, r.Partial)
	b = appendText(b, fieldPriceVersion, r.PriceVersion)
	b = appendFlag(b, fieldPart, true)
	return appendRest(b, r)
}

// appendRest appends what of a row no store need look at.
func appendRest(b []byte, r *Row) []byte {
	b = appendTime(b, fieldStart, r.Start)
	b = appendText(b, fieldFormat, string(r.Format))
	b = appendText(b, fieldOp, string(r.Op))
	b = appendFlag(b, fieldStream, r.Stream)
	b = appendInt(b, fieldBytesIn, r.BytesIn)
	b = appendWay(b, &r.Mark)
	b = appendInt(b, fieldWasted, r.Wasted)
	u := &r.Usage
	b = appendCount(b, fieldCacheWrite1h, u.CacheWrite1h)
	b = appendCount(b, fieldAudioInput, u.AudioInput)
	b = appendCount(b, fieldAudioOutput, u.AudioOutput)
	b = appendCount(b, fieldImageInput, u.ImageInput)
	b = appendCount(b, fieldImageOutput, u.ImageOutput)
	b = appendCount(b, fieldTotalTokens, u.Total)
	b = appendText(b, fieldTier, u.Tier)
	b = appendRuns(b, u.Runs)
	b = appendInt(b, fieldUpstream, int64(r.Upstream))
	b = appendInt(b, fieldFirstToken, int64(r.FirstToken))
	b = appendInt(b, fieldOwn, int64(r.Own))
	return appendText(b, fieldFallback, r.Fallback)
}

// appendEnd appends what is known of a call when it ended.
func appendEnd(b []byte, r *Row) []byte {
	b = appendInt(b, fieldUpstream, int64(r.Upstream))
	b = appendInt(b, fieldFirstToken, int64(r.FirstToken))
	b = appendInt(b, fieldOwn, int64(r.Own))
	b = appendText(b, fieldFallback, r.Fallback)
	b = appendInt(b, fieldStatus, int64(r.Status))
	b = appendText(b, fieldError, string(r.Error))
	b = appendText(b, fieldCache, r.Cache)
	return appendInt(b, fieldSaved, int64(r.Saved))
}

// AppendBinary appends the row in a form that later versions read, too. What is zero takes no room, so a store that keeps
// some members by themselves leaves them out.
func (r *Row) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, recordRow)
	b = appendText(b, fieldReplica, r.Replica)
	b = appendUint(b, fieldPosition, r.Position)
	b = appendCall(b, &r.Call)
	b = appendMark(b, &r.Mark)
	return appendEnd(b, r), nil
}

// Merge sets the members that AppendBinary wrote and leaves the others as they are. It keeps nothing of b.
func (r *Row) Merge(b []byte) error {
	if kindOf(b) != recordRow {
		return errRecord
	}
	return eachField(b[1:], func(f field) {
		switch f.num {
		case fieldReplica:
			r.Replica = f.text
		case fieldPosition:
			r.Position = f.uint()
		default:
			setRow(r, f)
		}
	})
}

// AppendBinary appends the call as stores keep it: a form that later versions read, too.
func (o *Open) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, recordOpen)
	b = appendUint(b, fieldIntentAt, o.Position)
	b = appendText(b, fieldReplica, o.Replica)
	b = appendIntentFields(b, &o.Intent)
	if o.Mark != nil {
		b = appendFlag(b, fieldMarked, true)
		b = appendMark(b, o.Mark)
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote. It keeps nothing of b.
func (o *Open) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != recordOpen {
		return errRecord
	}
	*o = Open{}
	var m Mark
	marked := false
	err := eachField(b[1:], func(f field) {
		switch f.num {
		case fieldIntentAt:
			o.Position = f.uint()
		case fieldReplica:
			o.Replica = f.text
		case fieldMarked:
			marked = f.flag()
		default:
			setIntent(&o.Intent, f)
			setMark(&m, f)
		}
	})
	if marked {
		o.Mark = &m
	}
	return err
}

func appendIntentFields(b []byte, in *Intent) []byte {
	b = appendCall(b, &in.Call)
	b = appendInt(b, fieldBound, in.Input)
	b = appendInt(b, fieldInputCost, int64(in.InputCost))
	b = appendText(b, fieldPrice, in.Price)
	for _, name := range in.Counters {
		b = appendText(b, fieldCounter, name)
	}
	return b
}

func appendCall(b []byte, c *Call) []byte {
	b = appendText(b, fieldRequestID, c.RequestID)
	b = appendPayer(b, &c.Payer)
	b = appendTime(b, fieldStart, c.Start)
	b = appendTime(b, fieldCharged, c.Charged)
	b = appendText(b, fieldFormat, string(c.Format))
	b = appendText(b, fieldOp, string(c.Op))
	b = appendText(b, fieldModel, c.Model)
	b = appendFlag(b, fieldStream, c.Stream)
	return appendInt(b, fieldBytesIn, c.BytesIn)
}

func appendPayer(b []byte, p *Payer) []byte {
	b = appendText(b, fieldOrg, p.Org)
	b = appendText(b, fieldTeam, p.Team)
	b = appendText(b, fieldUser, p.User)
	b = appendText(b, fieldKey, p.Key)
	b = appendText(b, fieldProject, p.Project)
	for _, tag := range p.Tags {
		b = appendText(b, fieldTag, tag)
	}
	return b
}

// appendWay appends by which way an answer came, and how far.
func appendWay(b []byte, m *Mark) []byte {
	b = appendText(b, fieldUpmodel, m.Upmodel)
	b = appendText(b, fieldCredential, m.Credential)
	b = appendInt(b, fieldAttempts, int64(m.Attempts))
	b = appendInt(b, fieldBytesOut, m.BytesOut)
	b = appendInt(b, fieldFrames, m.Frames)
	b = appendInt(b, fieldTotal, int64(m.Total))
	return b
}

func appendMark(b []byte, m *Mark) []byte {
	b = appendText(b, fieldProvider, m.Provider)
	b = appendWay(b, m)
	b = appendText(b, fieldPriceVersion, m.PriceVersion)
	b = appendInt(b, fieldWasted, m.Wasted)
	b = appendFlag(b, fieldEstimated, m.Estimated)
	b = appendFlag(b, fieldPartial, m.Partial)
	u := &m.Usage
	for i, n := range [...]llm.Count{
		u.Input, u.CacheRead, u.CacheWrite, u.CacheWrite1h, u.Output, u.Reasoning, u.AudioInput, u.AudioOutput, u.ImageInput, u.ImageOutput, u.Total,
	} {
		b = appendCount(b, fieldInput+i, n)
	}
	b = appendText(b, fieldTier, u.Tier)
	b = appendRuns(b, u.Runs)
	return appendCosts(b, &m.Costs)
}

// appendCount appends a number of tokens; what was not told is left out.
func appendCount(b []byte, num int, n llm.Count) []byte {
	if !n.Known {
		return b
	}
	return binary.AppendVarint(append(b, byte(num)<<1), n.N)
}

func appendCosts(b []byte, c *Costs) []byte {
	for i, n := range [...]llm.Nano{c.Input, c.CacheRead, c.CacheWrite, c.CacheWrite1h, c.Output, c.Reasoning, c.Audio, c.Image, c.Tools, c.Waste} {
		b = appendInt(b, fieldCostInput+i, int64(n))
	}
	return b
}

func appendRuns(b []byte, runs llm.Runs) []byte {
	if len(runs) == 0 { // to sort even nothing would allocate
		return b
	}
	for _, tool := range slices.Sorted(maps.Keys(runs)) {
		b = appendText(b, fieldRuns, strconv.FormatInt(runs[tool], 10)+" "+tool)
	}
	return b
}

func appendInt(b []byte, num int, v int64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendVarint(binary.AppendUvarint(b, uint64(num)<<1), v)
}

func appendUint(b []byte, num int, v uint64) []byte { return appendInt(b, num, int64(v)) }

func appendFlag(b []byte, num int, v bool) []byte { return appendInt(b, num, one(v)) }

func appendTime(b []byte, num int, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return binary.AppendVarint(binary.AppendUvarint(b, uint64(num)<<1), t.UnixMicro())
}

func appendText(b []byte, num int, s string) []byte {
	if s == "" {
		return b
	}
	b = binary.AppendUvarint(b, uint64(num)<<1|1)
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// errRecord is a record that is not what its first byte says. The log's checksum does not let one through.
var errRecord = errors.New("malformed record")

// A field is one member of a record.
type field struct {
	num  int
	n    int64
	text string
}

// A raw is one member of a record where it lies.
type raw struct {
	num  int
	n    int64
	text []byte
}

func (f *field) uint() uint64        { return uint64(f.n) }
func (f *field) flag() bool          { return f.n != 0 }
func (f *field) count() llm.Count    { return llm.Tokens(f.n) }
func (f *field) span() time.Duration { return time.Duration(f.n) }
func (f *field) time() time.Time     { return time.UnixMicro(f.n).UTC() }

// nextField takes the first field off a record.
func nextField(b []byte) (f raw, rest []byte, err error) {
	key, n := binary.Uvarint(b)
	if n <= 0 || key>>1 > 1<<20 {
		return f, nil, errRecord
	}
	b = b[n:]
	f.num = int(key >> 1)
	if key&1 == 0 {
		if f.n, n = binary.Varint(b); n <= 0 {
			return f, nil, errRecord
		}
		return f, b[n:], nil
	}
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return f, nil, errRecord
	}
	b = b[n:]
	f.text = b[:size]
	return f, b[size:], nil
}

// eachField gives every field of a record. Their texts are pieces of one copy of it: most records have a dozen.
func eachField(b []byte, do func(field)) error {
	all := string(b)
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		end := len(all) - len(rest)
		do(field{f.num, f.n, all[end-len(f.text) : end]})
		b = rest
	}
	return nil
}
