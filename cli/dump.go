package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// tree is a JSON object of what a proxy answers: its admin pages /config_dump,
// /clusters?format=json and /certs. Resources have the field names of Envoy's API.
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

// configTables summarises a config dump: sections of resources by kind, in which
// absent ones are those that the server says do not exist.
func configTables(root tree) []*table {
	listeners := &table{header: []string{"LISTENER", "TO", "FROM"}}
	routes := &table{header: []string{"ROUTES", "ROUTE", "MATCH", "TO", "FROM"}}
	clusters := &table{header: []string{"CLUSTER", "TYPE", "FROM"}}
	endpoints := &table{header: []string{"ENDPOINTS", "ADDRESS", "WEIGHT", "HEALTH", "FROM"}}
	none := cell{"does not exist", warn}
	for _, section := range root.list("configs") {
		for _, entry := range section.list("resources") {
			name, resource := text(entry.text("name")), entry.child("resource")
			absent := resource == nil
			switch kind := section.text("kind"); {
			case kind == "listeners" && absent:
				listeners.add(name, none, cell{})
			case kind == "listeners":
				listeners.add(name, text(listenerTarget(resource)), text(originOfListener(name.text)))
			case kind == "routes" && absent:
				routes.add(name, none, cell{}, cell{}, cell{})
			case kind == "routes":
				addRoutes(routes, resource)
			case kind == "clusters" && absent:
				clusters.add(name, none, cell{})
			case kind == "clusters":
				clusters.add(name, text(resource.text("type")), text(originOfCluster(name.text)))
			case kind == "endpoints" && absent:
				endpoints.add(name, none, cell{}, cell{}, cell{})
			case kind == "endpoints":
				addEndpoints(endpoints, resource)
			}
		}
	}
	return []*table{listeners, routes, clusters, endpoints}
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

// The names of resources tell which object they come from: listeners
// SERVICE.NAMESPACE.mesh.internal:PORT towards others and
// inbound|plaintext/NAMESPACE/WORKLOAD[/PORT] for the application, clusters and
// endpoints NAMESPACE/SERVICE/PORT[/SUBSET] and local/PROTOCOL/PORT, routes
// NAMESPACE/ROUTE/RULE[/MATCH] with the rule's index.

func originOfListener(name string) string {
	if parts := strings.Split(name, "/"); len(parts) >= 3 && (parts[0] == "inbound" || parts[0] == "plaintext") {
		return workloadOrigin(parts[1], parts[2])
	}
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
	switch {
	case len(parts) < 3:
		return ""
	case parts[0] == "local":
		return "the application's port " + parts[2]
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
	return fmt.Sprintf("route %s/%s spec.rules[%s]", parts[0], parts[1], parts[2])
}

// hostTable summarises the clusters' hosts and how they do.
func hostTable(root tree) *table {
	t := &table{header: []string{"CLUSTER", "ADDRESS", "HEALTH", "REQUESTS", "FAILURES", "ACTIVE", "LATENCY", "FROM"}}
	for _, cluster := range root.list("cluster_statuses") {
		for _, host := range cluster.list("host_statuses") {
			from := originOfCluster(cluster.text("name"))
			if workload := host.text("workload"); workload != "" {
				namespace, _, _ := strings.Cut(cluster.text("name"), "/")
				from = workloadOrigin(namespace, workload)
			}
			latency := cell{}
			if ms := host.text("latency_ms"); ms != "" {
				latency = text(ms + " ms")
			}
			t.add(text(cluster.text("name")), text(host.text("address")), hostHealth(host.text("health")),
				text(host.text("rq_total")), text(host.text("rq_error")), text(host.text("rq_active")), latency, text(from))
		}
	}
	return t
}

// hostHealth is what the server says of a host, and whether the proxy itself
// has ejected it.
func hostHealth(flags string) cell {
	health, unreachable := strings.CutSuffix(flags, "/unreachable")
	switch {
	case unreachable:
		return cell{"ejected", bad}
	case health == "healthy":
		return cell{health, good}
	}
	return cell{health, warn}
}

// certTable summarises the certificates.
func certTable(root tree) *table {
	t := &table{header: []string{"CERTIFICATE", "IDENTITY", "SERIAL", "VALID FROM", "EXPIRES"}}
	for _, c := range root.list("certificates") {
		var names []string
		for _, san := range c.list("subject_alt_names") {
			names = append(names, san.text("uri")+san.text("dns"))
		}
		what := "leaf"
		if c.text("ca") == "true" {
			what = "authority"
		}
		t.add(text(what), text(strings.Join(names, ", ")), text(c.text("serial_number")), text(c.text("valid_from")), text(c.text("expiration_time")))
	}
	return t
}
