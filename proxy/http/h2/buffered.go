package h2

// Buffered reports that ReadData would return at once. Only the reading
// goroutine may call it.
func (st *stream) Buffered() bool {
	st.s.w.mu.Lock()
	defer st.s.w.mu.Unlock()
	return st.data.first != nil || st.err != nil || st.remoteEnd
}
