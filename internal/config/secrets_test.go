package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecrets(t *testing.T) {
	c, err := Parse("sluice.yaml", []byte(`
pepper: f3c1a9d07b5e482c96ad14e87f20b3c5
redis: {url: "redis://:redis-hidden@127.0.0.1:6379"}
providers:
  - {name: one, kind: openai, api_key: first-hidden, headers: {X-Token: header-hidden}}
  - {name: two, kind: openai, credentials: [{name: a, api_key: second-hidden}]}
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"f3c1a9d07b5e482c96ad14e87f20b3c5", "first-hidden", "header-hidden", "second-hidden", "redis://:redis-hidden@127.0.0.1:6379"}
	if diff := cmp.Diff(want, c.AllSecrets()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
