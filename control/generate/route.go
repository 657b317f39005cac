package generate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/control/model"
)

// defaults apply where a route sets nothing.
type defaults struct {
	request time.Duration // 0: no limit
	retries uint32
}

// routesInput is all that a RouteConfiguration depends on.
type routesInput struct {
	port     portKey
	defaults defaults
	routes   *list[*model.Route] // of one kind, oldest first
}

// makeRoutes merges the rules of all routes of a port into one list in the
// Gateway API's order of precedence.
func makeRoutes(in routesInput) result {
	var e encoder
	var ranked []rankedRoute
	for r := range in.routes.all {
		switch {
		case r.HTTP != nil:
			ranked = append(ranked, httpRoutes(r, in.defaults)...)
		case r.GRPC != nil:
			ranked = append(ranked, grpcRoutes(r, in.defaults)...)
		}
	}
	slices.SortStableFunc(ranked, rankedRoute.compare)
	host := &route.VirtualHost{Name: in.port.String(), Domains: in.port.domains()}
	for _, r := range ranked {
		host.Routes = append(host.Routes, r.route)
	}
	if in.routes == nil {
		host.Routes = []*route.Route{{
			Name:  "default",
			Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_Route{Route: &route.RouteAction{
				ClusterSpecifier: &route.RouteAction_Cluster{Cluster: in.port.String()},
				Timeout:          duration(in.defaults.request),
				RetryPolicy:      retryPolicy(nil, in.defaults, 0),
			}},
		}}
	}
	return e.resource(in.port.String(), &route.RouteConfiguration{Name: in.port.String(), VirtualHosts: []*route.VirtualHost{host}})
}

// rankedRoute is one match with what its precedence depends on.
type rankedRoute struct {
	route   *route.Route
	path    int // kind of path match: 3 exact, 2 regular expression, 1 prefix
	length  int // of the path, or of a gRPC service
	method  int // a method is given; for gRPC, its length
	headers int
	query   int
}

// compare orders by precedence, best first. Equals keep their order: oldest
// route, then name, then rule, then match.
func (r rankedRoute) compare(o rankedRoute) int {
	return cmp.Or(
		cmp.Compare(o.path, r.path),
		cmp.Compare(o.length, r.length),
		cmp.Compare(o.method, r.method),
		cmp.Compare(o.headers, r.headers),
		cmp.Compare(o.query, r.query),
	)
}

// routeName leads back to the user's object: NAMESPACE/ROUTE/RULE[/MATCH].
func routeName(r *model.Route, rule, match, matches int) string {
	if matches < 2 {
		return fmt.Sprintf("%s/%s/%d", r.Ref.Namespace, r.Ref.Name, rule)
	}
	return fmt.Sprintf("%s/%s/%d/%d", r.Ref.Namespace, r.Ref.Name, rule, match)
}

func httpRoutes(r *model.Route, d defaults) []rankedRoute {
	var out []rankedRoute
	for i := range r.HTTP.Spec.Rules {
		rule := &r.HTTP.Spec.Rules[i]
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gateway.HTTPRouteMatch{{}}
		}
		for j := range matches {
			ranked := matchHTTP(&matches[j])
			ranked.route.Name = routeName(r, i, j, len(matches))
			finishHTTP(ranked.route, rule, r.Backends[i], &matches[j], d)
			out = append(out, ranked)
		}
	}
	return out
}

// finishHTTP sets what becomes of a matching request.
func finishHTTP(to *route.Route, rule *gateway.HTTPRouteRule, backends []model.Backend, match *gateway.HTTPRouteMatch, d defaults) {
	action := forward(backends, 500)
	if action == nil {
		to.Action = failing(500)
	} else {
		action.Timeout = duration(d.request)
		whole, perTry := timeouts(rule, d)
		action.Timeout = duration(whole)
		action.RetryPolicy = retryPolicy(rule.Retry, d, perTry)
		to.Action = &route.Route_Route{Route: action}
	}
	unsupported := slices.ContainsFunc(rule.BackendRefs, func(b gateway.HTTPBackendRef) bool { return len(b.Filters) > 0 })
	if unsupported || !applyFilters(to, rule.Filters, match) {
		// A step that cannot be taken must not be left out in silence.
		*to = route.Route{Name: to.Name, Match: to.Match, Action: failing(500)}
	}
}

// timeouts returns how long a request may take with all its tries, and a single
// try; 0 is no limit. Where only what was never sent is tried again, the time
// of one try is that of the request.
func timeouts(rule *gateway.HTTPRouteRule, d defaults) (whole, perTry time.Duration) {
	whole = d.request
	t := rule.Timeouts
	if t == nil {
		return whole, 0
	}
	if t.Request != nil {
		whole = parseDuration(*t.Request)
	}
	if t.BackendRequest != nil {
		perTry = parseDuration(*t.BackendRequest)
	}
	if rule.Retry != nil || perTry == 0 {
		return whole, perTry
	}
	if whole == 0 || perTry < whole {
		whole = perTry
	}
	return whole, 0
}

func grpcRoutes(r *model.Route, d defaults) []rankedRoute {
	var out []rankedRoute
	for i := range r.GRPC.Spec.Rules {
		rule := &r.GRPC.Spec.Rules[i]
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gateway.GRPCRouteMatch{{}}
		}
		var filters []gateway.HTTPRouteFilter
		for k := range rule.Filters {
			filters = append(filters, asHTTPFilter(&rule.Filters[k]))
		}
		for j := range matches {
			ranked := matchGRPC(&matches[j])
			to := ranked.route
			to.Name = routeName(r, i, j, len(matches))
			action := forward(r.Backends[i], 503)
			if action == nil {
				// gRPC clients read 503 as UNAVAILABLE.
				to.Action = failing(503)
			} else {
				action.Timeout = duration(d.request)
				action.RetryPolicy = retryPolicy(nil, d, 0)
				to.Action = &route.Route_Route{Route: action}
			}
			unsupported := slices.ContainsFunc(rule.BackendRefs, func(b gateway.GRPCBackendRef) bool { return len(b.Filters) > 0 })
			if unsupported || !applyFilters(to, filters, &gateway.HTTPRouteMatch{}) {
				*to = route.Route{Name: to.Name, Match: to.Match, Action: failing(503)}
			}
			out = append(out, ranked)
		}
	}
	return out
}

func failing(status uint32) *route.Route_DirectResponse {
	return &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{Status: status}}
}

// forward divides requests by weight; nil when there is nobody to send to. The
// share of a broken backend goes to a cluster that never exists, and is
// answered with 500 (for HTTP) or 503.
func forward(backends []model.Backend, status int) *route.RouteAction {
	weighted := &route.WeightedCluster{}
	usable, broken := false, false
	for _, b := range backends {
		if b.Weight <= 0 {
			// Kept, so that positions in the list stay those of backendRefs.
			weighted.Clusters = append(weighted.Clusters, &route.WeightedCluster_ClusterWeight{Name: backendCluster(b), Weight: number(0)})
			continue
		}
		weighted.Clusters = append(weighted.Clusters, &route.WeightedCluster_ClusterWeight{Name: backendCluster(b), Weight: number(uint32(b.Weight))})
		usable = usable || b.Reason == ""
		broken = broken || b.Reason != ""
	}
	if !usable {
		return nil
	}
	action := &route.RouteAction{ClusterSpecifier: &route.RouteAction_WeightedClusters{WeightedClusters: weighted}}
	if len(weighted.Clusters) == 1 {
		action.ClusterSpecifier = &route.RouteAction_Cluster{Cluster: weighted.Clusters[0].Name}
	}
	if broken && status == 500 {
		action.ClusterNotFoundResponseCode = route.RouteAction_INTERNAL_SERVER_ERROR
	}
	return action
}

func backendCluster(b model.Backend) string {
	port := portKey{b.Service, uint32(b.Port)}
	if b.Reason != "" {
		return "invalid/" + port.String()
	}
	return port.String()
}

const unsent = "connect-failure,refused-stream,reset-before-request"

// retryPolicy retries what was provably not sent. A rule that asks for retries
// declares its requests repeatable, so what broke off is retried too.
func retryPolicy(r *gateway.HTTPRouteRetry, d defaults, perTry time.Duration) *route.RetryPolicy {
	p := &route.RetryPolicy{RetryOn: unsent, NumRetries: number(d.retries)}
	var backoff time.Duration
	if r != nil {
		p.RetryOn += ",reset"
		if r.Attempts != nil {
			p.NumRetries = number(uint32(max(*r.Attempts, 0)))
		}
		for _, code := range r.Codes {
			p.RetriableStatusCodes = append(p.RetriableStatusCodes, uint32(code))
		}
		if len(r.Codes) > 0 {
			p.RetryOn += ",retriable-status-codes"
		}
		if r.Backoff != nil {
			backoff = parseDuration(*r.Backoff)
		}
	}
	if p.NumRetries.Value == 0 {
		if perTry == 0 {
			return nil
		}
		p.RetryOn = unsent
	}
	if perTry > 0 {
		p.PerTryTimeout = duration(perTry)
	}
	if backoff > 0 {
		p.RetryBackOff = &route.RetryPolicy_RetryBackOff{BaseInterval: duration(backoff), MaxInterval: duration(10 * backoff)}
	}
	return p
}

// parseDuration reads a Gateway API duration, whose form was checked when the
// object was taken; "0s" is no limit.
func parseDuration(d gateway.Duration) time.Duration {
	parsed, err := time.ParseDuration(string(d))
	if err != nil || parsed < 0 {
		return 0
	}
	return parsed
}
