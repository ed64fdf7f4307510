//go:build !linux

package wire

import (
	"testing"
	"time"
)

var began = time.Now()

func threadTime(*testing.T) time.Duration { return time.Since(began) }
