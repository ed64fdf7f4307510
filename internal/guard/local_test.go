package guard_test

import (
	"testing"

	"sluice/internal/guard"
	"sluice/internal/guard/guardtest"
	"sluice/internal/guard/pii"
)

func TestLocal(t *testing.T) {
	s, err := pii.New(pii.Options{Rules: []pii.Rule{{Name: "e", Entity: "EMPLOYEE", Pattern: `\bE-\d{6}\b`}}, Deny: []pii.List{{Name: "d", Entity: "PROJECT", Words: []string{"blue heron"}}}})
	if err != nil {
		t.Fatal(err)
	}
	guardtest.Run(t, guard.Local(s, nil), []string{
		"Write to ann.smith@example.com or call +49 30 901820, card 4111 1111 1111 1111.",
		"E-123456 works on Blue  Heron; her SSN is 536-90-4399.", "nothing at all", "",
		"ghp_" + "x7KqLw92ZbTn4RsVd81MfYc5HgJp3AeUo6Bi Größe … 10.0.0.1",
	})
}
