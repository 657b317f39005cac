package engine

import (
	"fmt"
	"net"
	"strings"
)

// The functions here write bootstraps.

// web is a listener named web that serves these routes, in YAML lists.
func web(routes string) string { return webWith("", routes) }

// webWith has more fields of the connection manager.
func webWith(manager, routes string) string {
	return httpListener("web", "", manager, routes)
}

func httpListener(name, chain, manager, routes string) string {
	return fmt.Sprintf("  listeners:\n  - name: %s\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    filter_chains:\n    - name: all\n%s", name, httpChain(chain, manager, routes))
}

// httpChain writes a filter chain after its first line; chain has fields of it.
func httpChain(chain, manager, routes string) string {
	return indent(6, chain) + `      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
` + indent(10, managerFilters(manager)) + `          route_config:
            name: routes
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
` + indent(14, routes)
}

// managerFilters adds the router where no filters are given.
func managerFilters(manager string) string {
	const router = "- name: router\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}\n"
	if strings.Contains(manager, "http_filters:\n") {
		return strings.TrimRight(manager, "\n") + "\n" + router
	}
	return manager + "\nhttp_filters:\n" + router
}

func tcpListener(name, listenerFields, proxy string) string {
	return fmt.Sprintf(`  listeners:
  - name: %s
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
%s    filter_chains:
    - name: all
%s`, name, indent(4, listenerFields), tcpChain("", proxy))
}

func tcpChain(chain, proxy string) string {
	return indent(6, chain) + `      filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: x
` + indent(10, proxy)
}

func clusters(list ...string) string { return "  clusters:\n" + strings.Join(list, "") }

const speaksH2 = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
`

// cluster has endpoints at these addresses and more fields.
func cluster(name, fields string, addresses ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - name: %s\n    connect_timeout: 1s\n%s    load_assignment:\n      cluster_name: %s\n      endpoints:\n      - lb_endpoints:\n", name, indent(4, fields), name)
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "        - endpoint: {address: {socket_address: {address: %s, port_value: %s}}}\n", host, port)
	}
	if len(addresses) == 0 {
		return strings.Replace(b.String(), "      endpoints:\n      - lb_endpoints:\n", "", 1)
	}
	return b.String()
}

func indent(n int, text string) string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return ""
	}
	space := strings.Repeat(" ", n)
	return space + strings.ReplaceAll(text, "\n", "\n"+space) + "\n"
}

// to is a route for everything.
func to(cluster string) string {
	return `- match: {prefix: /}
  route: {cluster: ` + cluster + `}
`
}
