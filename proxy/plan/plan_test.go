package plan

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds/wire"
)

// transport notes that it was drained.
type transport struct {
	http.Transport
	drained bool
}

func (t *transport) Drain() { t.drained = true }

func environment() *Environment {
	return &Environment{
		Transport: func(*Cluster, *balance.Endpoint) http.Transport { return &transport{} },
		ReadFile:  os.ReadFile,
	}
}

// read returns the static resources of a bootstrap's YAML.
func read(t testing.TB, text string) *Resources {
	t.Helper()
	b := new(wire.Bootstrap)
	if _, err := wire.ReadYAML([]byte("static_resources:\n"+text), b); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	r := NewResources()
	for _, l := range b.StaticResources.Listeners {
		r.Listeners[l.Name] = l
	}
	for _, c := range b.StaticResources.Clusters {
		r.Clusters[c.Name] = c
	}
	for _, s := range b.StaticResources.Secrets {
		r.Secrets[s.Name] = s
	}
	return r
}

const (
	manager    = `"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x`
	tcpProxy   = `"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x`
	router     = `{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`
	serverTLS  = `"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`
	clientTLS  = `"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`
	httpRBAC   = `"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC`
	withRouter = "http_filters: [" + router + "]"
	anyRoute   = "route_config: {name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: c}}]}]}"
)

func listener(fields string) string { return "  listeners:\n  - {name: l, " + fields + "}\n" }

func chain(fields string) string { return listener("filter_chains: [{" + fields + "}]") }

func network(config string) string {
	return chain("filters: [{name: f, typed_config: {" + config + "}}]")
}

func hcm(fields string) string { return network(manager + ", " + fields) }

func routed(fields string) string {
	return hcm(withRouter + ", route_config: {name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{" + fields + "}]}]}")
}

func action(fields string) string { return routed("match: {prefix: /}, route: {" + fields + "}") }

func cluster(fields string) string { return "  clusters:\n  - {name: c, " + fields + "}\n" }

const emptyAssignment = "load_assignment: {cluster_name: c, endpoints: []}"

func endpoint(fields string) string {
	return cluster("load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{" + fields + "}]}]}")
}

func rules(policy string) string {
	return hcm(anyRoute + ", http_filters: [{name: rbac, typed_config: {" + httpRBAC + ", rules: {policies: {p: {" + policy + "}}}}}, " + router + "]")
}

func TestWhatCannotBeCompiledIsRefusedInPlainWords(t *testing.T) {
	const c = "filter_chains[0].filters[0]."
	const r = c + "route_config.virtual_hosts[0].routes[0]."
	const p = c + `http_filters[0].rules.policies["p"].`
	const e = "endpoints[0].lb_endpoints[0].endpoint.address"
	for _, test := range []struct{ config, want string }{
		// Listeners.
		{listener("address: {socket_address: {address: '::', port_value: 70000}}"), "address.socket_address.port_value: 70000 is no port"},
		{listener("address: {socket_address: {address: '::'}}"), "address.socket_address.port_value: is missing"},
		{listener("address: {socket_address: {protocol: UDP, address: '::', port_value: 1}}"), "address.socket_address.protocol: only TCP is supported"},
		{listener("address: {pipe: {path: /a, mode: 511}}"), "address.pipe.mode: Leno leaves the mode of a socket to the umask"},
		{chain("filters: []"), "filter_chains[0].filters: there is none; the last one must be an HTTP connection manager or a TCP proxy"},
		{chain("transport_socket_connect_timeout: 1s, filters: []"), "filter_chains[0].transport_socket_connect_timeout: Leno bounds every handshake by 10 s"},
		{chain("filter_chain_match: {server_names: [a]}, filters: []"), "filter_chains[0].filter_chain_match.server_names: needs a TLS transport_socket; Leno does not pass TLS through by its server name yet"},
		{chain("filter_chain_match: {server_names: ['a.*']}, filters: []"), `filter_chains[0].filter_chain_match.server_names: "a.*" has a wildcard that is not a leading *.`},
		{chain("filter_chain_match: {transport_protocol: quic}, filters: []"), `filter_chains[0].filter_chain_match.transport_protocol: "quic" is unknown; it is tls or raw_buffer`},
		{chain("filter_chain_match: {destination_port: 65537}, filters: []"), "filter_chains[0].filter_chain_match.destination_port: 65537 is no port"},
		{chain("filter_chain_match: {prefix_ranges: [{address_prefix: a}]}, filters: []"), `filter_chains[0].filter_chain_match.prefix_ranges: "a" is no IP address`},
		{chain("filter_chain_match: {prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 33}]}, filters: []"), "filter_chains[0].filter_chain_match.prefix_ranges: 10.0.0.0/33 is no address range"},
		{chain("filter_chain_match: {source_prefix_ranges: [{address_prefix: '::'}], direct_source_prefix_ranges: [{address_prefix: '::'}]}, filters: []"), "filter_chains[0].filter_chain_match.direct_source_prefix_ranges: source_prefix_ranges are set too, and to Leno both are the socket's address"},
		{network(tcpProxy), c + "cluster: build weighted choice: no value has a weight above 0"},
		{network(tcpProxy + ", cluster: c, tunneling_config: {hostname: ''}"), c + "tunneling_config.hostname: is missing"},
		{network(tcpProxy + ", cluster: c, tunneling_config: {hostname: '%REQ(a)%'}"), c + "tunneling_config.hostname: Leno does not support format strings here"},
		// The connection manager.
		{hcm(anyRoute), c + "http_filters: the last one must be the router (envoy.filters.http.router)"},
		{hcm(anyRoute + ", http_filters: [" + router + ", " + router + "]"), c + "http_filters[1]: comes after the router, which must be the last filter"},
		{hcm(withRouter), c + "route_config: neither it nor rds is set"},
		{hcm(withRouter + ", rds: {route_config_name: r, config_source: {}}"), c + "rds.config_source: must be ads: Leno follows one ADS stream"},
		{hcm(withRouter + ", codec_type: HTTP3, " + anyRoute), c + "codec_type: Leno speaks HTTP/1.1 and HTTP/2"},
		{hcm(withRouter + ", request_timeout: 1s, " + anyRoute), c + "request_timeout: Leno does not bound whole requests yet; request_headers_timeout and stream_idle_timeout are supported"},
		{hcm(withRouter + ", http_protocol_options: {allow_absolute_url: false}, " + anyRoute), c + "http_protocol_options.allow_absolute_url: Leno accepts them always, as HTTP demands"},
		{hcm(withRouter + ", set_current_client_cert_details: {cert: true}, " + anyRoute), c + "set_current_client_cert_details: Leno writes Hash and URI only"},
		{hcm(withRouter + ", max_request_headers_kb: 96, " + anyRoute), c + "max_request_headers_kb: Leno's largest head is 62 KiB"},
		{hcm(withRouter + ", upgrade_configs: [{upgrade_type: h2c}], " + anyRoute), c + `upgrade_configs[0].upgrade_type: "h2c" cannot be upgraded to`},
		{hcm(withRouter + ", via: a, " + anyRoute), c + "via: Leno does not add this field yet"},
		{hcm(withRouter + ", xff_num_trusted_hops: 1, " + anyRoute), c + "xff_num_trusted_hops: Leno trusts no hop before it yet"},
		{hcm(withRouter + ", path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD, " + anyRoute), c + "path_with_escaped_slashes_action: Leno refuses escaped slashes (REJECT_REQUEST) or keeps them"},
		// Routes.
		{routed("route: {cluster: c}"), r + "match: is missing"},
		{routed("match: {}, route: {cluster: c}"), r + "match.prefix: no path condition is set"},
		{routed("match: {path: ''}, route: {cluster: c}"), r + `match.path: the path condition is empty, which would match everything; write prefix "/" for that`},
		{routed("match: {prefix: /}"), r + "route: neither it nor redirect nor direct_response is set"},
		{action("timeout: 1s"), r + "route.cluster: build weighted choice: no value has a weight above 0"},
		{action("cluster: c, prefix_rewrite: no path"), r + `route.prefix_rewrite: "no path" is no path`},
		{action("cluster: c, host_rewrite_literal: 'a b'"), r + `route.host_rewrite_literal: "a b" is no host`},
		{action("cluster: c, regex_rewrite: {substitution: a}"), r + "route.regex_rewrite.pattern.regex: is missing"},
		{action(`cluster: c, regex_rewrite: {pattern: {regex: "("}, substitution: a}`), r + "route.regex_rewrite.pattern.regex: error parsing regexp: missing closing ): `(`"},
		{action(`cluster: c, regex_rewrite: {pattern: {regex: "(a)"}, substitution: '\2'}`), r + "route.regex_rewrite.substitution: the expression has no group 2"},
		{action(`cluster: c, regex_rewrite: {pattern: {regex: "a"}, substitution: '\n'}`), r + "route.regex_rewrite.substitution: a backslash stands before a digit or another backslash"},
		{action(`cluster: c, regex_rewrite: {pattern: {regex: "a"}, substitution: "a\r\nb"}`), r + `route.regex_rewrite.substitution: "a\r\nb" is no part of a path`},
		{action(`cluster: c, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: "a"}, substitution: b}`), r + "route.regex_rewrite: prefix_rewrite is set too"},
		{action("cluster: c, idle_timeout: 1s"), r + "route.idle_timeout: Leno takes the connection manager's stream_idle_timeout for all routes"},
		{action("cluster: c, retry_policy: {retry_on: 5xx}"), r + "route.retry_policy.retry_on: Leno does not retry on 5xx; it retries on connect-failure, refused-stream, reset, reset-before-request, gateway-error and retriable-status-codes"},
		{action("cluster: c, retry_policy: {per_try_timeout: 1s}"), r + "route.retry_policy.per_try_timeout: Leno bounds the whole exchange only; use timeout"},
		{action("cluster: c, retry_policy: {retry_back_off: {base_interval: 1s}}"), r + "route.retry_policy.retry_back_off: Leno asks another endpoint at once"},
		{action("cluster: c, upgrade_configs: [{upgrade_type: CONNECT}]"), r + "route.upgrade_configs[0].connect_config: Leno ends CONNECT here and passes none on; connect_config says that"},
		{routed("match: {safe_regex: {regex: /a.*}}, route: {cluster: c, prefix_rewrite: /b}"), r + "match: has no prefix or path that prefix_rewrite could replace"},
		{routed("match: {prefix: /}, direct_response: {status: 99}"), r + "direct_response.status: 99 is none of 200 to 599"},
		{routed("match: {prefix: /}, direct_response: {status: 204, body: {inline_string: a}}"), r + "direct_response.body: an answer with status 204 has none"},
		{routed("match: {prefix: /}, direct_response: {status: 200, body: {filename: /nonexistent/file}}"), r + "direct_response.body: open /nonexistent/file: no such file or directory"},
		{routed("match: {prefix: /}, redirect: {path_redirect: nowhere}"), r + `redirect.path_redirect: "nowhere" is no path`},
		{routed("match: {prefix: /}, redirect: {scheme_redirect: gopher}"), r + `redirect.scheme_redirect: "gopher" is neither http nor https`},
		{routed("match: {prefix: /}, redirect: {port_redirect: 65536}"), r + "redirect.port_redirect: 65536 is no port"},
		{routed(`match: {prefix: /}, redirect: {host_redirect: "a\r\nset-cookie: b"}`), r + `redirect.host_redirect: "a\r\nset-cookie: b" is no host`},
		{routed("match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: a, value: '%PROTOCOL%'}}]"), r + "request_headers_to_add: the value of a: Leno does not support format strings; write %% for a per cent sign"},
		{routed(`match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: a, value: "b\r\nc: d"}}]`), r + "request_headers_to_add: the value of a has control characters, or white space at its ends"},
		{routed("match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: 'a b', value: c}}]"), r + `request_headers_to_add: "a b" is no header name`},
		{routed("match: {prefix: /}, route: {cluster: c}, response_headers_to_add: [{header: {key: Content-Length, value: '0'}}]"), r + "response_headers_to_add: Content-Length speaks of one connection and is the proxy's to write"},
		{routed("match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: ':path', value: /}}]"), r + "request_headers_to_add: :path cannot be edited here; use a rewrite"},
		{routed("match: {prefix: /}, route: {cluster: c}, request_headers_to_remove: [Host]"), r + "request_headers_to_add: Host cannot be removed"},
		// Policies.
		{rules("permissions: [{destination_port: 65616}], principals: [{any: true}]"), p + "permissions[0].destination_port: 65616 is no port"},
		{rules("permissions: [{destination_port_range: {start: 9, end: 9}}], principals: [{any: true}]"), p + "permissions[0].destination_port_range: 9 to 9 is no range of ports"},
		{rules("permissions: [{}], principals: [{any: true}]"), p + "permissions[0].any: no rule is set"},
		{rules("permissions: [{any: true}], principals: [{remote_ip: {address_prefix: 10.0.0.0}}]"), p + "principals[0].remote_ip: Leno trusts no x-forwarded-for for policy; use direct_remote_ip"},
		{rules("permissions: [{any: true}], principals: [{and_ids: {ids: [{not_id: {}}]}}]"), p + "principals[0].and_ids[0].any: no principal is set"},
		// Clusters.
		{cluster("type: STATIC"), "load_assignment: is missing"},
		{cluster("type: EDS"), "eds_cluster_config: is missing"},
		{cluster("type: EDS, eds_cluster_config: {eds_config: {}}"), "eds_cluster_config.eds_config: must be ads: Leno follows one ADS stream"},
		{cluster("type: LOGICAL_DNS, " + emptyAssignment), "type: Leno supports STATIC, STRICT_DNS and EDS"},
		{cluster("type: STRICT_DNS, " + emptyAssignment), "load_assignment.endpoints: there is no name to resolve"},
		{cluster("type: STRICT_DNS, load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a, port_value: 65537}}}}]}]}"), "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: 65537 is no port"},
		{cluster("connect_timeout: 0s, " + emptyAssignment), "connect_timeout: must be more than 0"},
		{cluster("lb_policy: MAGLEV, " + emptyAssignment), "lb_policy: Leno balances by ROUND_ROBIN, LEAST_REQUEST and RANDOM"},
		{cluster("lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 3}, " + emptyAssignment), "least_request_lb_config.choice_count: Leno compares two endpoints"},
		{cluster("health_checks: [{timeout: 1s}], " + emptyAssignment), "health_checks: Leno does not check health actively yet; endpoints that cannot be reached are avoided by themselves"},
		{cluster("ring_hash_lb_config: {minimum_ring_size: 1}, " + emptyAssignment), "ring_hash_lb_config: Leno does not balance by hash yet"},
		{cluster("load_assignment: {cluster_name: c, policy: {overprovisioning_factor: 200}}"), "policy.overprovisioning_factor: Leno's is 140"},
		{endpoint("load_balancing_weight: 1"), e + ": is missing"},
		{endpoint("endpoint: {address: {}}"), e + ": neither a socket address nor a pipe"},
		{endpoint("endpoint: {address: {pipe: {path: ''}}}"), e + ".pipe.path: is missing"},
		{endpoint("endpoint: {address: {socket_address: {address: name, port_value: 1}}}"), e + `.socket_address.address: "name" is no IP address; names need a STRICT_DNS cluster`},
		{endpoint("endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 70000}}}"), e + ".socket_address.port_value: 70000 is no port"},
		{endpoint("endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 0}}}"), e + ".socket_address.port_value: 0 is no port"},
		// TLS.
		{cluster("transport_socket: {name: tls, typed_config: {" + clientTLS + ", common_tls_context: {}}}, " + emptyAssignment), "transport_socket.typed_config.common_tls_context.validation_context: is missing; Leno does not talk to an endpoint that it cannot verify"},
		{cluster("transport_socket: {name: tls, typed_config: {" + clientTLS + ", common_tls_context: {validation_context: {}}}}, " + emptyAssignment), "transport_socket.typed_config.common_tls_context.validation_context.trusted_ca: is missing; without it nothing would be verified"},
		{cluster("transport_socket: {name: tls, typed_config: {" + clientTLS + ", common_tls_context: {validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}}}}, " + emptyAssignment), "transport_socket.typed_config.common_tls_context.validation_context.trust_chain_verification: Leno always verifies"},
		{chain("transport_socket: {name: tls, typed_config: {" + serverTLS + ", require_client_certificate: true, common_tls_context: {}}}, filters: []"), "filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context: is missing, and clients have to show a certificate"},
		{chain("transport_socket: {name: tls, typed_config: {" + serverTLS + ", common_tls_context: {tls_certificate_sds_secret_configs: [{name: s}]}}}, filters: []"), "filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0]: there is no secret s with a certificate"},
	} {
		p, rejected := environment().Build(Empty(), read(t, test.config))
		if len(rejected) != 1 || rejected[0].Reason != test.want {
			t.Errorf("have %v\nwant %s\nfor %s", rejected, test.want, test.config)
		}
		if len(p.Listeners)+len(p.Clusters) != 0 {
			t.Errorf("what was refused is in the plan: %s", test.config)
		}
	}
}

func TestTheMeshContextDemandsMutualVerification(t *testing.T) {
	env := environment()
	env.Identity = &cell.Cell[tls.Identity]{}
	const own = "tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]"
	const trust = "combined_validation_context: {default_validation_context: {%}, validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}}"
	context := func(kind, more, common string) string {
		socket := "transport_socket: {name: tls, typed_config: {" + kind + more + ", common_tls_context: {" + own + common + "}}}"
		if kind == clientTLS {
			return cluster(socket + ", " + emptyAssignment)
		}
		return chain(socket + ", filters: [{name: f, typed_config: {" + tcpProxy + ", cluster: c}}]")
	}
	with := func(v string) string { return ", " + strings.Replace(trust, "%", v, 1) }
	for _, test := range []struct{ config, want string }{
		{context(serverTLS, ", require_client_certificate: true", with("")), ""},
		{context(clientTLS, "", with(`match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: "spiffe://a/ns/b/sa/c"}}]`)), ""},
		{context(serverTLS, "", with("")), "require_client_certificate: must be true in the mesh"},
		{context(serverTLS, ", require_client_certificate: true", ""), "the peer is not verified by the secret ROOTCA"},
		{context(clientTLS, "", with("")), "no identity of the endpoint is named"},
		{context(clientTLS, "", with(`match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://a/"}}]`)), "the mesh compares exact SPIFFE IDs"},
		{context(clientTLS, "", with(`match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: "spiffe://a/ns/b/sa/c"}}]`)), "the mesh compares exact SPIFFE IDs"},
		{context(clientTLS, "", with("trust_chain_verification: ACCEPT_UNTRUSTED")), "trust_chain_verification: Leno always verifies"},
	} {
		_, rejected := env.Build(Empty(), read(t, test.config))
		if test.want == "" && len(rejected) > 0 || test.want != "" && (len(rejected) != 1 || !strings.HasSuffix(rejected[0].Reason, test.want)) {
			t.Errorf("have %v\nwant %q\nfor %s", rejected, test.want, test.config)
		}
	}
}

// whole is one good resource of each kind.
func whole(t testing.TB) *Resources {
	r := read(t, hcm(withRouter+", rds: {route_config_name: r, config_source: {ads: {}}}")+
		cluster("type: EDS, eds_cluster_config: {eds_config: {ads: {}}, service_name: eds}"))
	r.Routes["r"] = read(t, action("cluster: c")).Listeners["l"].FilterChains[0].Filters[0].TypedConfig.Message.(*wire.HttpConnectionManager).RouteConfig
	r.Assignments["eds"] = assignment(t, "10.0.0.1", "10.0.0.2")
	return r
}

func assignment(t testing.TB, addresses ...string) *wire.ClusterLoadAssignment {
	var list []string
	for _, a := range addresses {
		list = append(list, "{endpoint: {address: {socket_address: {address: "+a+", port_value: 80}}}}")
	}
	return read(t, cluster("load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: ["+strings.Join(list, ", ")+"]}]}")).Clusters["c"].LoadAssignment
}

func build(t testing.TB, env *Environment, prev *Plan, r *Resources) *Plan {
	t.Helper()
	p, rejected := env.Build(prev, r)
	for _, j := range rejected {
		t.Fatal(j)
	}
	prev.Retire(p)
	return p
}

func TestWhatDidNotChangeIsTakenOver(t *testing.T) {
	env, r := environment(), whole(t)
	first := build(t, env, Empty(), r)
	second := build(t, env, first, r)
	if first.Listeners["l"] != second.Listeners["l"] || first.Routes["r"] != second.Routes["r"] || first.Clusters["c"] != second.Clusters["c"] {
		t.Error("something was compiled again")
	}
	r.Routes["r"] = whole(t).Routes["r"]
	third := build(t, env, second, r)
	if third.Routes["r"] == second.Routes["r"] || third.Listeners["l"] != second.Listeners["l"] || third.Clusters["c"] != second.Clusters["c"] {
		t.Error("a change of the routes is not one of the routes alone")
	}
}

func TestEndpointsThatStayKeepTheirConnections(t *testing.T) {
	env, r := environment(), whole(t)
	p := build(t, env, Empty(), r)
	members := p.Clusters["c"].Members.Load()
	old := members.Set.Endpoints()
	r.Assignments["eds"] = assignment(t, "10.0.0.2", "10.0.0.3")
	p = build(t, env, p, r)
	now := p.Clusters["c"].Members.Load()
	if p.Clusters["c"].Members.Load() == members {
		t.Fatal("the members did not change")
	}
	kept := now.Set.Lookup(old[1].Identity)
	if kept != old[1] || kept.Transport.(*transport).drained {
		t.Error("the endpoint that stayed is another, or was drained")
	}
	if !old[0].Transport.(*transport).drained {
		t.Error("the endpoint that left was not drained")
	}
}

func TestAClusterThatChangesReplacesItsEndpointsAfterPublication(t *testing.T) {
	env, r := environment(), whole(t)
	first := build(t, env, Empty(), r)
	old := first.Clusters["c"].Members.Load().Set.Endpoints()
	r.Clusters["c"] = whole(t).Clusters["c"]
	second, rejected := env.Build(first, r)
	if len(rejected) > 0 {
		t.Fatal(rejected)
	}
	if old[0].Transport.(*transport).drained {
		t.Error("an endpoint was drained before the new plan could be published")
	}
	first.Retire(second)
	now := second.Clusters["c"].Members.Load().Set.Endpoints()
	if len(now) != 2 || now[0] == old[0] || now[0].Transport == old[0].Transport {
		t.Error("an endpoint goes on under another configuration")
	}
	if !old[0].Transport.(*transport).drained || now[0].Transport.(*transport).drained {
		t.Error("the wrong endpoints were drained")
	}
	if first.Clusters["c"].Use != second.Clusters["c"].Use {
		t.Error("circuit breakers forget what is under way")
	}
	delete(r.Clusters, "c")
	third := build(t, env, second, r)
	if third.Clusters["c"] != nil || !now[0].Transport.(*transport).drained {
		t.Error("a cluster that left keeps its endpoints")
	}
}

func TestARefusedResourceKeepsItsLastGoodVersionAndHarmsNoOther(t *testing.T) {
	env, r := environment(), whole(t)
	first := build(t, env, Empty(), r)
	r.Listeners["l"] = read(t, hcm(anyRoute)).Listeners["l"]
	r.Clusters["c"] = read(t, cluster("type: EDS")).Clusters["c"]
	r.Assignments["eds"] = assignment(t, "name")
	r.Clusters["new"] = read(t, cluster("type: STATIC")).Clusters["c"]
	r.Routes["r"] = whole(t).Routes["r"]
	second, rejected := env.Build(first, r)
	var names []string
	for _, j := range rejected {
		names = append(names, j.Kind+"/"+j.Name)
	}
	if have := strings.Join(names, " "); have != "listener/l cluster/c cluster/new endpoints/eds" {
		t.Errorf("refused %s", have)
	}
	if second.Listeners["l"] != first.Listeners["l"] || second.Clusters["c"] != first.Clusters["c"] || len(second.Clusters["c"].Members.Load().Set.Endpoints()) != 2 {
		t.Error("the last good version is gone")
	}
	if _, known := second.Clusters["new"]; known {
		t.Error("a cluster that never was good is there")
	}
	if second.Routes["r"] == first.Routes["r"] {
		t.Error("the good change was not made")
	}
}

func TestWhatDoesNotExistIsKnownNotToExist(t *testing.T) {
	env, r := environment(), whole(t)
	r.Clusters["gone"], r.Listeners["gone"], r.Routes["gone"] = nil, nil, nil
	r.Assignments["eds"] = nil
	p := build(t, env, Empty(), r)
	if c, known := p.Clusters["gone"]; c != nil || !known {
		t.Error("absence is not known")
	}
	if m := p.Clusters["c"].Members.Load(); m == nil || len(m.Set.Endpoints()) != 0 {
		t.Error("an absent assignment is not one without endpoints")
	}
	delete(r.Assignments, "eds")
	if m := build(t, env, Empty(), r).Clusters["c"].Members.Load(); m != nil {
		t.Error("an assignment that is not known yet has members")
	}
}

func TestDecisionsOutliveAPlan(t *testing.T) {
	env := environment()
	env.Decisions = new(Decisions)
	config := rules("permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: 10.0.0.1, prefix_len: 32}}]")
	info := &conn.Info{Remote: netip.MustParseAddrPort("10.9.9.9:1")}
	for range 2 {
		p := build(t, env, Empty(), read(t, config))
		if p.Listeners["l"].Chains[0].HTTP.Policy.Check(info, new(http.Head)).Allowed {
			t.Fatal("allowed")
		}
	}
	if n := env.Decisions.Denied(false); n != 2 {
		t.Errorf("%d denials are counted, want 2", n)
	}
}
