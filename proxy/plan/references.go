package plan

// References returns the names that a listener refers to: route configurations
// that it does not carry itself, and clusters.
func (l *Listener) References() (routes, clusters []string) {
	chains := l.Chains
	if l.Default != nil {
		chains = append(chains[:len(chains):len(chains)], l.Default)
	}
	for _, c := range chains {
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
