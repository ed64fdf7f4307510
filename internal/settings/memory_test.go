package settings_test

import (
	"testing"

	"sluice/internal/settings"
	"sluice/internal/settings/settingstest"
)

func TestMemory(t *testing.T) {
	settingstest.Run(t, settingstest.Harness{Open: func(*testing.T) settings.Store { return settings.NewMemory() }})
}
