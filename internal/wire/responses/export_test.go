package responses

import "time"

// At is the format with a clock of its own.
func At(now func() time.Time) Format { return Format{now: now} }
