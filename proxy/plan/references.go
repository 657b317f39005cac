package plan

// AllChains returns the chains with the default one.
func (l *Listener) AllChains() []*Chain {
	if l.Default == nil {
		return l.Chains
	}
	return append(l.Chains[:len(l.Chains):len(l.Chains)], l.Default)
}

// References returns the names that a listener refers to: route configurations
// that it does not carry itself, and clusters.
func (l *Listener) References() (routes, clusters []string) {
	for _, c := range l.AllChains() {
		switch {
		case c.TCP != nil:
			clusters = append(clusters, c.TCP.Backends.Values()...)
		case c.HTTP.Inline != nil:
			clusters = append(clusters, c.HTTP.Inline.Clusters...)
		default:
			routes = append(routes, c.HTTP.Routes)
		}
	}
	return routes, clusters
}
