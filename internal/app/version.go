package app

import "sluice/internal/telemetry"

// Build tells what binary this is, as GET /build of the operators' listener does.
func Build() telemetry.BuildInfo { return telemetry.Build() }
