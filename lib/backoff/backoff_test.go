package backoff

import (
	"math"
	"testing"
	"time"
)

func TestWaitsDoubleUpToTheMost(t *testing.T) {
	p := Policy{Base: 100 * time.Millisecond, Max: time.Second}
	for attempt, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		want *= time.Millisecond
		if got := p.Next(attempt, 1); got != want {
			t.Errorf("attempt %d waits at most %v, want %v", attempt, got, want)
		}
		if got := p.Next(attempt, 0.5); got != want/2 {
			t.Errorf("attempt %d waits %v at the middle, want %v", attempt, got, want/2)
		}
		if got := p.Next(attempt, 0); got != 0 {
			t.Errorf("attempt %d waits at least %v, want 0", attempt, got)
		}
	}
}

func TestExtremesStayWithinBounds(t *testing.T) {
	for _, p := range []Policy{{}, {Base: math.MaxInt64}, {Max: 1}, {Base: time.Hour, Max: math.MaxInt64 / 2}} {
		most := p.Max
		if most == 0 {
			most = 30 * time.Second
		}
		for _, attempt := range []int{math.MinInt, -1, 0, 1, 62, 63, 64, math.MaxInt} {
			for _, random := range []float64{-1, 0, 0.5, 1, 2} {
				if got := p.Next(attempt, random); got < 0 || got > most {
					t.Errorf("%+v.Next(%d, %v) = %v", p, attempt, random, got)
				}
			}
		}
	}
}
