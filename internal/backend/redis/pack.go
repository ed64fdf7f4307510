package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"sluice/internal/upstream"
)

// maxNotice bounds a notice in bytes, as sent and as heard.
const maxNotice = 4096

// A notice travels with what is left of its time instead of a time.
type notice struct {
	upstream.Notice
	Left int64 `json:"left_ms,omitempty"`
}

func packNotice(n upstream.Notice, now time.Time) (string, error) {
	out := notice{n, left(n.Until, now)}
	out.Until = time.Time{}
	b, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("tell: %w", err)
	}
	if len(b) > maxNotice || len(n.Deployment) > maxName || !isMode(n.Mode) || n.Opens < 0 {
		return "", fmt.Errorf("tell: a notice of %d bytes, mode %q, %d opens", len(b), n.Mode, n.Opens)
	}
	return string(b), nil
}

// readNotice reads what came over the channel; false: it is not one of ours.
func readNotice(text string, now time.Time) (upstream.Notice, bool) {
	var in notice
	if len(text) > maxNotice || json.Unmarshal([]byte(text), &in) != nil || !isMode(in.Mode) || in.Opens < 0 {
		return upstream.Notice{}, false
	}
	n := in.Notice
	n.Until = time.Time{}
	if in.Left != 0 {
		n.Until = after(now, in.Left)
	}
	return n, true
}

func isMode(s string) bool {
	return s == "" || s == string(upstream.Draining) || s == string(upstream.Disabled) || s == string(upstream.Active)
}

// facts are what the server has, as it has them. Values that nobody of ours wrote are in no member but garbage.
type facts struct {
	now      int64 // the server's, in milliseconds
	inFlight map[string]map[string]int
	latency  map[string]average
	breakers map[string]opened
	modes    map[string]word
	revoked  []string
	raw      [6]map[string]string // by number of the script's key, for what is to be forgotten
	garbage  []row
}

type average struct {
	mean time.Duration
	at   int64
}

type opened struct {
	until int64
	opens int
}

// A word is an operator's, and since when it holds.
type word struct {
	since int64
	mode  string
}

// A row is a field of one of the script's hashes, by the key's number.
type row struct {
	key   int
	field string
	value string
}

// Numbers of the keys of sync.lua.
const (
	keyInFlight = 2
	keyLatency  = 3
	keyBreaker  = 4
	keyMode     = 5
)

// readFacts reads the answer of sync.lua.
func readFacts(m *rueidis.RedisMessage) (facts, error) {
	all, err := m.ToArray()
	if err != nil || len(all) != 7 {
		return facts{}, errors.Join(errors.New("redis: not an answer of the script"), err)
	}
	var f facts
	if f.now, err = all[0].AsInt64(); err != nil {
		return f, fmt.Errorf("redis: the server's time: %w", err)
	}
	replicas, err := all[1].AsStrSlice()
	if err != nil {
		return f, fmt.Errorf("redis: replicas: %w", err)
	}
	for key := keyInFlight; key <= keyMode; key++ {
		if f.raw[key], err = all[key].AsStrMap(); err != nil {
			return f, fmt.Errorf("redis: hash %d: %w", key, err)
		}
	}
	if f.revoked, err = all[6].AsStrSlice(); err != nil {
		return f, fmt.Errorf("redis: revoked keys: %w", err)
	}
	f.read(replicas)
	return f, nil
}

// read gives the hashes their meaning.
func (f *facts) read(replicas []string) {
	f.inFlight = make(map[string]map[string]int, len(replicas))
	for _, id := range replicas {
		counts, err := readCounts(f.raw[keyInFlight][id])
		if err != nil {
			f.garbage = append(f.garbage, row{keyInFlight, id, f.raw[keyInFlight][id]})
		}
		f.inFlight[id] = counts
	}
	f.latency = readRows(f, keyLatency, func(n int64, rest string) (average, bool) {
		at, err := strconv.ParseInt(rest, 10, 64)
		return average{time.Duration(n), at}, err == nil && n >= 0
	})
	f.breakers = readRows(f, keyBreaker, func(n int64, rest string) (opened, bool) {
		opens, err := strconv.Atoi(rest)
		return opened{n, opens}, err == nil && opens >= 0
	})
	f.modes = readRows(f, keyMode, func(n int64, rest string) (word, bool) {
		return word{n, rest}, rest != "" && isMode(rest)
	})
}

// readRows reads a hash whose values begin with a number and a blank.
func readRows[V any](f *facts, key int, read func(int64, string) (V, bool)) map[string]V {
	out := make(map[string]V, len(f.raw[key]))
	for field, value := range f.raw[key] {
		number, rest, _ := strings.Cut(value, " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err == nil {
			if v, ok := read(n, rest); ok {
				out[field] = v
				continue
			}
		}
		f.garbage = append(f.garbage, row{key, field, value})
	}
	return out
}

// readCounts reads one replica's calls in flight: a JSON object, so that people can read it, too.
func readCounts(text string) (map[string]int, error) {
	counts := make(map[string]int)
	if text == "" {
		return counts, nil
	}
	if err := json.Unmarshal([]byte(text), &counts); err != nil {
		return nil, err
	}
	for key, n := range counts {
		if n <= 0 {
			delete(counts, key)
		}
	}
	return counts, nil
}
