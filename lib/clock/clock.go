// Package clock gives monotonic time as plain integers, for deadlines and
// durations on hot paths.
package clock

import "time"

// base is never written after start.
var base = time.Now()

// Now returns nanoseconds of monotonic time since the process began, at least 1.
func Now() int64 { return int64(time.Since(base)) + 1 }

// Time returns the wall-clock time of a Now value.
func Time(now int64) time.Time { return base.Add(time.Duration(now - 1)) }
