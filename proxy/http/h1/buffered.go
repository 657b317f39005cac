package h1

// Buffered reports that ReadData would return at once. Only the reading
// goroutine may call it.
func (l *link) Buffered() bool {
	if l.tunnels() && !l.decision.made.Load() {
		return false // ReadData waits for the writer, who opens the tunnel
	}
	probe := l.in
	data, _, end, bad := probe.next(l.c.Buffered(), l.limits)
	return len(data) > 0 || end || bad != nil
}
