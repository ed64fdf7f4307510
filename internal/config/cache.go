package config

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Cache says which answers are kept and given again.
type Cache struct {
	// How far answers are kept where neither the model nor the key says: off, exact (the same request) or semantic (and one that asks the same in other words).
	Mode string `yaml:"mode" enum:"off,exact,semantic" example:"exact"`
	// Who shares answers: each key has its own, a team's keys share theirs, or all of an organisation.
	Scope string `yaml:"scope" enum:"key,team,organisation" example:"team"`
	// Where answers are: redis, which all replicas share and which sees them encrypted only, or the memory of each replica. Left out: redis where it is configured.
	Store string `yaml:"store" enum:",memory,redis" example:"memory" restart:"true"`
	// Most memory for them in this process; what was not asked for the longest goes first.
	Memory Size `yaml:"memory" example:"256MiB" restart:"true"`
	// How long an answer is given again.
	TTL time.Duration `yaml:"ttl" example:"1h"`
	// How long it is found by what its question means.
	SemanticTTL time.Duration `yaml:"semantic_ttl" example:"6h"`
	// Largest answer that is kept.
	MaxAnswer Size `yaml:"max_answer" example:"256KiB"`
	// Requests with a higher temperature want answers that differ, and get them. off: kept whatever it is.
	MaxTemperature Decimal `yaml:"max_temperature" off:"true" example:"0.7"`
	// Keep no answers of requests that name no temperature: the provider's own is usually 1.
	RequireTemperature bool `yaml:"require_temperature"`
	// Keep answers that call tools, too.
	ToolCalls bool `yaml:"tool_calls"`
	// How long a call waits for one under way that asks the same, before it is made by itself.
	Wait time.Duration `yaml:"wait" example:"10s"`
}

// A Decimal is a number of thousandths.
type Decimal int64

// parseDecimal reads "0.3", or "off".
func parseDecimal(s string) (Decimal, error) {
	if s == "off" {
		return Off, nil
	}
	whole, part, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole+part+strings.Repeat("0", max(0, 3-len(part))), 10, 40)
	if err != nil || whole == "" || len(part) > 3 {
		return 0, errors.New("must be a number such as 0.3, with at most three decimals")
	}
	return Decimal(n), nil
}

// String writes the number without needless zeros.
func (d Decimal) String() string {
	if d < 0 {
		return "off"
	}
	return strconv.FormatFloat(d.Float(), 'f', -1, 64)
}

// Float is the number.
func (d Decimal) Float() float64 { return float64(d) / 1000 }

// MarshalText writes String, for encoders.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
