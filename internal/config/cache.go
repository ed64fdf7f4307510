package config

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
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
	// How answers are found by what their questions mean, for calls whose mode is semantic.
	Semantic Semantic `yaml:"semantic"`
}

// Semantic says how answers are found by what their questions mean.
type Semantic struct {
	// What makes vectors of texts: uselite or static, from the files in dir, or api, an OpenAI-style /embeddings. Left out: semantic means exact.
	Embedder string `yaml:"embedder" enum:",uselite,static,api" example:"uselite" restart:"true"`
	// The folder of the model's files.
	Dir string `yaml:"dir" example:"/var/lib/sluice/use-lite" restart:"true"`
	// Where the API is, up to and without /embeddings. What it is sent are the questions of clients.
	URL string `yaml:"url" example:"http://127.0.0.1:8080/v1" restart:"true"`
	// The model's name there.
	Model string `yaml:"model" example:"text-embedding-3-small" restart:"true"`
	// How many numbers its vectors have.
	Dimensions int `yaml:"dimensions" min:"0" max:"8192" example:"512" restart:"true"`
	// Its credential.
	APIKey llm.Secret `yaml:"api_key" example:"${EMBEDDINGS_KEY}" restart:"true"`
	// Private, loopback or otherwise special address ranges that it may be in.
	AllowPrivate []netip.Prefix `yaml:"allow_private" example:"127.0.0.0/8" restart:"true"`
	// The least cosine of two questions' vectors. It is the embedder's: numbers of two models do not compare.
	Threshold Decimal `yaml:"threshold" example:"0.9" restart:"true"`
	// By so much the nearest question must lead the next one that was answered otherwise.
	Margin Decimal `yaml:"margin" example:"0.05" restart:"true"`
	// How much two questions may differ in words: strict, in none that has content; balanced, in one that is no name, number, negation or opposite.
	Guard string `yaml:"guard" enum:"strict,balanced" example:"balanced" restart:"true"`
	// Longest time for a look-up; what takes longer is a miss.
	Deadline time.Duration `yaml:"deadline" example:"50ms" restart:"true"`
	// Most look-ups at a time; more are misses.
	Parallel int `yaml:"parallel" min:"1" max:"1000" example:"8" restart:"true"`
	// Also find the answer to the last message of a longer conversation, all of whose earlier turns are the same.
	Turns bool `yaml:"turns" restart:"true"`
	// The share of the answers found that are not given: the call is made and paid for, and the model's answer held against the one that was found.
	Check Decimal `yaml:"check" off:"true" example:"0.05" restart:"true"`
	// Most questions whose vectors are kept in this process, where answers are in memory.
	Vectors int `yaml:"vectors" min:"1" max:"10000000" example:"50000" restart:"true"`
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
