package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sync/atomic"
)

// A segment is a file of a fixed size, full of zeros when it is made. It begins with two copies of a header:
//
//	 0  magic of 8 bytes
//	 8  salt of 8 bytes, random
//	16  base: the position of its first record
//	24  after: the last position of the segment before it
//	32  CRC32C of these, and zeros up to 64 bytes
//
// and goes on with records, each at a multiple of 8 bytes:
//
//	 0  magic of 4 bytes
//	 4  CRC32C of the payload, then of what follows here; XORed with both halves of the segment's salt
//	 8  length of the payload
//	12  zero
//	16  position
//	24  payload, and zeros up to a multiple of 8 bytes
//
// After the last record all is zero. So every bit of a file is covered: by a checksum, or by being zero. The
// salt keeps a payload from passing for a record of its own: whoever can choose the one does not know the other.
const (
	segmentMagic  = "SLUICEW2"
	headerSize    = 64
	firstRecord   = 2 * headerSize
	recordMagic   = 0x43455253 // "SREC"
	recordHeader  = 24
	maxRecord     = 64 << 10 // of a payload
	suffix        = ".wal"
	spareName     = "spare.tmp"
	maxRecordSize = recordHeader + maxRecord
)

type header struct {
	salt        uint64
	base, after uint64
}

// castagnoli is made once: to ask for it takes half as long as to use it for a short record.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sizeOf is what a record of so many bytes takes.
func sizeOf(payload int) int { return (recordHeader + payload + 7) &^ 7 }

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint64(b[8:], h.salt)
	binary.LittleEndian.PutUint64(b[16:], h.base)
	binary.LittleEndian.PutUint64(b[24:], h.after)
	binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
	return b
}

// readHeader takes the first copy that is whole. sound is whether both are.
func readHeader(mem []byte) (h header, ok, sound bool) {
	whole := func(b []byte) bool {
		return string(b[:8]) == segmentMagic && binary.LittleEndian.Uint32(b[32:]) == crc32.Checksum(b[:32], castagnoli) && zero(b[36:])
	}
	if len(mem) < firstRecord {
		return h, false, false
	}
	first, second := mem[:headerSize], mem[headerSize:firstRecord]
	sound = whole(first) && bytes.Equal(first, second)
	b := first
	if !whole(b) {
		b = second
	}
	if !whole(b) {
		return h, false, false
	}
	h.salt = binary.LittleEndian.Uint64(b[8:])
	h.base = binary.LittleEndian.Uint64(b[16:])
	h.after = binary.LittleEndian.Uint64(b[24:])
	return h, true, sound
}

// sum is the checksum of a record. payload is the checksum of the payload alone, which needs no lock.
func sum(payload uint32, head []byte, salt uint64) uint32 {
	return crc32.Update(payload, castagnoli, head[8:recordHeader]) ^ uint32(salt) ^ uint32(salt>>32)
}

func putRecordHeader(b []byte, payload uint32, size int, pos, salt uint64) {
	binary.LittleEndian.PutUint32(b[0:], recordMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(size))
	binary.LittleEndian.PutUint32(b[12:], 0)
	binary.LittleEndian.PutUint64(b[16:], pos)
	binary.LittleEndian.PutUint32(b[4:], sum(payload, b, salt))
}

// parse reads the record at the beginning of mem.
func parse(mem []byte, salt uint64) (pos uint64, payload []byte, ok bool) {
	if len(mem) < recordHeader || binary.LittleEndian.Uint32(mem) != recordMagic || binary.LittleEndian.Uint32(mem[12:]) != 0 {
		return 0, nil, false
	}
	n := int(binary.LittleEndian.Uint32(mem[8:]))
	if n > maxRecord || sizeOf(n) > len(mem) {
		return 0, nil, false
	}
	pos = binary.LittleEndian.Uint64(mem[16:])
	payload = mem[recordHeader : recordHeader+n : recordHeader+n]
	if binary.LittleEndian.Uint32(mem[4:]) != sum(crc32.Checksum(payload, castagnoli), mem, salt) || !zero(mem[recordHeader+n:sizeOf(n)]) {
		return 0, nil, false
	}
	return pos, payload, true
}

// find looks for the next record at or after off that can follow last: its position is higher, and not by more
// than the records for which there would have been room.
func find(mem []byte, off int, salt, last uint64) (at int, pos uint64, payload []byte, ok bool) {
	for at = (off + 7) &^ 7; at+recordHeader <= len(mem); at += 8 {
		if binary.LittleEndian.Uint32(mem[at:]) != recordMagic {
			continue
		}
		pos, payload, ok = parse(mem[at:], salt)
		if ok && pos > last && pos-last-1 <= uint64(at-off)/recordHeader {
			return at, pos, payload, true
		}
	}
	return 0, 0, nil, false
}

// scan reads a segment from its first record. It gives each record, and what is wrong; it ends where the next
// record would be written.
func scan(mem []byte, h header, each func(pos uint64, payload []byte)) (end int, last uint64, wrong []Damage) {
	off, last := firstRecord, h.base-1
	for off+recordHeader <= len(mem) {
		pos, payload, ok := parse(mem[off:], h.salt)
		if !ok || pos != last+1 {
			if zero(mem[off:]) {
				return off, last, wrong
			}
			at, found, rest, ok := find(mem, off, h.salt, last)
			if !ok {
				return off, last, append(wrong, Damage{Offset: off, Bytes: written(mem[off:]), After: last, Tail: true})
			}
			wrong = append(wrong, Damage{Offset: off, Bytes: at - off, After: last, Before: found})
			off, pos, payload = at, found, rest
		}
		if each != nil {
			each(pos, payload)
		}
		last = pos
		off += sizeOf(len(payload))
	}
	if off < len(mem) && !zero(mem[off:]) {
		wrong = append(wrong, Damage{Offset: off, Bytes: len(mem) - off, After: last, Tail: true})
	}
	return off, last, wrong
}

// written is how far something other than zeros goes.
func written(mem []byte) int { return len(bytes.TrimRight(mem, "\x00")) }

func zero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// A segment is one file of the log. Fields are guarded by the log's mutex, but for end.
type segment struct {
	path string
	seq  uint64
	*region
	header
	end     atomic.Int64 // where the next record goes; what is before it is written
	last    uint64       // position of the last record, base-1 when there is none
	flushed int          // what is before it is on the disk
	sealed  bool         // nothing is appended any more
}
