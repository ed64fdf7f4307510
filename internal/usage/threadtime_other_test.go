//go:build !linux

package usage

import (
	"testing"
	"time"
)

var began = time.Now()

func threadTime(testing.TB) time.Duration { return time.Since(began) }
