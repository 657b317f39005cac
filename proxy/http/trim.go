package http

// Trim resets h and lets go of memory beyond what ordinary heads need, so that
// one large head does not stay with whoever keeps h for the next.
func (h *Head) Trim() {
	h.Reset()
	if cap(h.arena) > 8<<10 || cap(h.fields) > 256 {
		*h = Head{}
	}
}
