package cell

import "testing"

func TestNextWakesOnStore(t *testing.T) {
	var c Cell[int]
	v, changed := c.Next()
	if v != nil {
		t.Fatal("an empty cell has a value")
	}
	one := 1
	c.Store(&one)
	<-changed
	if got := c.Load(); got != &one {
		t.Errorf("Load() = %v", got)
	}
	v, changed = c.Next()
	if v != &one {
		t.Errorf("Next() = %v", v)
	}
	select {
	case <-changed:
		t.Error("woken without a Store")
	default:
	}
}

func TestLoadDoesNotAllocate(t *testing.T) {
	v := 1
	c := New(&v)
	if n := testing.AllocsPerRun(100, func() { _ = c.Load() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
