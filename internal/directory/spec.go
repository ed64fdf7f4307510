package directory

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
	"sluice/internal/rules"
)

// stored is a Spec as stores keep it. An unknown member is refused when it is read: an older release that
// skipped a restriction of a newer one would give more than was meant. So a release reads a new member, and
// only the next one writes it.
type stored struct {
	Models    []string          `json:"models,omitzero"`
	Endpoints []llm.Op          `json:"endpoints,omitzero"`
	Rules     []rules.Rule      `json:"rules,omitzero"`
	AllowFrom []netip.Prefix    `json:"allow_from,omitzero"`
	Tags      []string          `json:"tags,omitzero"`
	Guards    []string          `json:"guards,omitzero"`
	Asks      []string          `json:"asks,omitzero"`
	Cache     string            `json:"cache,omitzero"`
	Project   string            `json:"project,omitzero"`
	Metadata  map[string]string `json:"metadata,omitzero"`
	Expires   time.Time         `json:"expires,omitzero"`
	Disabled  bool              `json:"disabled,omitzero"`
}

// MarshalText writes the spec as one JSON object, the form in which stores keep it.
func (s *Spec) MarshalText() ([]byte, error) {
	return json.Marshal(&stored{
		Models: s.Models, Endpoints: s.Endpoints, Rules: rules.WriteAll(s.Rules), AllowFrom: s.AllowFrom, Tags: s.Tags, Guards: s.Guards, Asks: s.Asks,
		Cache: s.Cache, Project: s.Project, Metadata: s.Metadata, Expires: s.Expires.UTC(), Disabled: s.Disabled,
	}, json.Deterministic(true))
}

// UnmarshalText reads what MarshalText wrote, whole or not at all.
func (s *Spec) UnmarshalText(text []byte) error {
	var in stored
	if err := json.Unmarshal(text, &in, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	list, problems := rules.Read(in.Rules)
	if len(problems) > 0 {
		return fmt.Errorf("read spec: rules%s: %s", problems[0].At, problems[0].Msg)
	}
	*s = Spec{
		Models: in.Models, Endpoints: in.Endpoints, Rules: list, AllowFrom: in.AllowFrom, Tags: in.Tags, Guards: in.Guards, Asks: in.Asks,
		Cache: in.Cache, Project: in.Project, Metadata: in.Metadata, Expires: in.Expires, Disabled: in.Disabled,
	}
	return nil
}
