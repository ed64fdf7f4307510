package responses_test

import (
	"testing"

	"sluice/internal/wire/responses"
	"sluice/internal/wire/wiretest"
)

func TestConform(t *testing.T) { wiretest.Run(t, responses.Responses, responses.Responses) }
