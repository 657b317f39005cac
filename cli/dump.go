package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// tree is a JSON object of a proxy's dump, whose names are those of Envoy's
// admin interface: /config_dump, /clusters?format=json and /certs.
type tree map[string]any

func (t tree) text(name string) string {
	switch v := t[name].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// child follows names of objects; an absent one is empty.
func (t tree) child(names ...string) tree {
	for _, name := range names {
		m, _ := t[name].(map[string]any)
		t = m
	}
	return t
}

func (t tree) list(name string) []tree {
	items, _ := t[name].([]any)
	var out []tree
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// printDump summarises a dump in tables; what has none is printed whole.
func (e *Env) printDump(dump json.RawMessage) error {
	var root tree
	if err := json.Unmarshal(dump, &root); err != nil {
		return fmt.Errorf("read dump: %w", err)
	}
	tables := configTables(root)
	tables = append(tables, hostTable(root), certTable(root))
	printed := false
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		if printed {
			fmt.Fprintln(e.Out)
		}
		e.print(t)
		printed = true
	}
	if printed {
		return nil
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return fmt.Errorf("encode dump: %w", err)
	}
	_, err = fmt.Fprintln(e.Out, string(text))
	return err
}

// configTables summarises a config dump.
func configTables(root tree) []*table {
	listeners := &table{header: []string{"LISTENER", "TO", "VERSION", "FROM"}}
	routes := &table{header: []string{"ROUTES", "ROUTE", "MATCH", "TO", "FROM"}}
	clusters := &table{header: []string{"CLUSTER", "TYPE", "VERSION", "FROM"}}
	endpoints := &table{header: []string{"ENDPOINTS", "ADDRESS", "WEIGHT", "HEALTH", "FROM"}}
	for _, config := range root.list("configs") {
		for _, resource := range resources(config) {
			switch version := resource.text("version_info"); {
			case resource["listener"] != nil:
				l := resource.child("listener")
				listeners.add(text(l.text("name")), text(listenerTarget(l)), cell{version, dim}, text(originOfListener(l.text("name"))))
			case resource["route_config"] != nil:
				addRoutes(routes, resource.child("route_config"))
			case resource["cluster"] != nil:
				c := resource.child("cluster")
				clusters.add(text(c.text("name")), text(c.text("type")), cell{version, dim}, text(originOfCluster(c.text("name"))))
			case resource["endpoint_config"] != nil:
				addEndpoints(endpoints, resource.child("endpoint_config"))
			}
		}
	}
	return []*table{listeners, routes, clusters, endpoints}
}

// resources returns the entries of all lists of a config: static ones and
// dynamic ones, these with their active state.
func resources(config tree) []tree {
	var names []string
	for name := range config {
		names = append(names, name)
	}
	slices.Sort(names)
	var out []tree
	for _, name := range names {
		for _, item := range config.list(name) {
			if active := item.child("active_state"); active != nil {
				item = active
			}
			out = append(out, item)
		}
	}
	return out
}

// listenerTarget is what a listener's chains lead to.
func listenerTarget(l tree) string {
	var targets []string
	find(map[string]any(l), func(name string, value any) {
		s, _ := value.(string)
		switch {
		case s == "":
		case name == "route_config_name":
			targets = append(targets, "routes "+s)
		case name == "cluster":
			targets = append(targets, "cluster "+s)
		}
	})
	slices.Sort(targets)
	return strings.Join(slices.Compact(targets), ", ")
}

// find visits every member of a JSON value.
func find(value any, visit func(name string, value any)) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			visit(name, member)
			find(member, visit)
		}
	case []any:
		for _, item := range v {
			find(item, visit)
		}
	}
}

func addRoutes(t *table, config tree) {
	for _, host := range config.list("virtual_hosts") {
		for _, route := range host.list("routes") {
			t.add(text(config.text("name")), text(route.text("name")), text(matchText(route.child("match"))),
				text(routeTarget(route)), text(originOfRoute(config.text("name"), route.text("name"))))
		}
	}
}

func matchText(match tree) string {
	var parts []string
	for _, kind := range []string{"prefix", "path_separated_prefix", "path"} {
		if s := match.text(kind); s != "" {
			parts = append(parts, map[string]string{"path": "= "}[kind]+s)
		}
	}
	if s := match.child("safe_regex").text("regex"); s != "" {
		parts = append(parts, "~ "+s)
	}
	for _, header := range match.list("headers") {
		value := header.child("string_match").text("exact")
		parts = append(parts, strings.TrimSuffix(header.text("name")+": "+value, ": "))
	}
	for _, query := range match.list("query_parameters") {
		parts = append(parts, "?"+query.text("name"))
	}
	return strings.Join(parts, ", ")
}

func routeTarget(route tree) string {
	action := route.child("route")
	if cluster := action.text("cluster"); cluster != "" {
		return cluster
	}
	var targets []string
	for _, c := range action.child("weighted_clusters").list("clusters") {
		targets = append(targets, c.text("name")+"="+c.text("weight"))
	}
	switch {
	case len(targets) > 0:
		return strings.Join(targets, ", ")
	case route["redirect"] != nil:
		return "redirect"
	case route["direct_response"] != nil:
		return "answer " + route.child("direct_response").text("status")
	}
	return ""
}

func addEndpoints(t *table, config tree) {
	for _, group := range config.list("endpoints") {
		for _, e := range group.list("lb_endpoints") {
			at := e.child("endpoint", "address", "socket_address")
			health := e.text("health_status")
			c := cell{strings.ToLower(health), good}
			if health != "" && health != "HEALTHY" && health != "UNKNOWN" {
				c.tone = bad
			}
			from := e.child("metadata", "filter_metadata", "leno").text("workload")
			if from != "" {
				namespace, _, _ := strings.Cut(config.text("cluster_name"), "/")
				from = workloadOrigin(namespace, from)
			}
			t.add(text(config.text("cluster_name")), text(addressText(at)), text(e.text("load_balancing_weight")), c, text(from))
		}
	}
}

func workloadOrigin(namespace, workload string) string {
	if strings.Contains(workload, "/") {
		return "Workload/" + workload
	}
	return "Workload/" + namespace + "/" + workload
}

func addressText(at tree) string {
	if at.text("address") == "" {
		return ""
	}
	return net.JoinHostPort(at.text("address"), at.text("port_value"))
}

// The names of resources tell which object they come from:
// listeners SERVICE.NAMESPACE.mesh.internal:PORT, clusters and endpoints
// NAMESPACE/SERVICE/PORT[/SUBSET], routes NAMESPACE/ROUTE/RULE[/MATCH].

func originOfListener(name string) string {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return ""
	}
	mesh, ok := strings.CutSuffix(host, ".mesh.internal")
	service, namespace, two := strings.Cut(mesh, ".")
	if !ok || !two {
		return ""
	}
	return serviceOrigin(namespace, service, port)
}

func originOfCluster(name string) string {
	parts := strings.Split(name, "/")
	if len(parts) < 3 || parts[0] == "local" {
		return ""
	}
	return serviceOrigin(parts[0], parts[1], parts[2])
}

func serviceOrigin(namespace, service, port string) string {
	return fmt.Sprintf("Service/%s/%s port %s", namespace, service, port)
}

func originOfRoute(config, name string) string {
	parts := strings.Split(name, "/")
	if len(parts) < 3 {
		return originOfCluster(config)
	}
	rule, err := strconv.Atoi(parts[2])
	if err != nil {
		return ""
	}
	return fmt.Sprintf("route %s/%s rule %d", parts[0], parts[1], rule+1)
}

// hostTable summarises the clusters' hosts and how they do.
func hostTable(root tree) *table {
	t := &table{header: []string{"CLUSTER", "ADDRESS", "HEALTH", "REQUESTS", "FAILURES", "ACTIVE", "FROM"}}
	for _, cluster := range root.list("cluster_statuses") {
		for _, host := range cluster.list("host_statuses") {
			stats := make(map[string]string)
			for _, stat := range host.list("stats") {
				stats[stat.text("name")] = stat.text("value")
			}
			t.add(text(cluster.text("name")), text(addressText(host.child("address", "socket_address"))), hostHealth(host.child("health_status")),
				text(stats["rq_total"]), text(stats["rq_error"]), text(stats["rq_active"]), text(originOfCluster(cluster.text("name"))))
		}
	}
	return t
}

// hostHealth names the first reason for which a host is not used.
func hostHealth(health tree) cell {
	for _, reason := range []struct{ field, text string }{
		{"failed_active_health_check", "fails its health check"},
		{"failed_outlier_check", "ejected as an outlier"},
		{"pending_dynamic_removal", "being removed"},
	} {
		if health.text(reason.field) == "true" {
			return cell{reason.text, bad}
		}
	}
	if status := health.text("eds_health_status"); status != "" && status != "HEALTHY" && status != "UNKNOWN" {
		return cell{strings.ToLower(status), bad}
	}
	return cell{"healthy", good}
}

// certTable summarises the certificates.
func certTable(root tree) *table {
	t := &table{header: []string{"CERTIFICATE", "IDENTITY", "SERIAL", "VALID FROM", "EXPIRES"}}
	for _, certificate := range root.list("certificates") {
		for _, part := range []struct{ field, what string }{{"ca_cert", "root"}, {"cert_chain", "chain"}} {
			for _, c := range certificate.list(part.field) {
				var names []string
				for _, san := range c.list("subject_alt_names") {
					names = append(names, san.text("uri")+san.text("dns"))
				}
				t.add(text(part.what), text(strings.Join(names, ", ")), text(c.text("serial_number")), text(c.text("valid_from")), text(c.text("expiration_time")))
			}
		}
	}
	return t
}
