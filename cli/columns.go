package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// objectTable is the empty table of a kind.
func (e *Env) objectTable(kind string) *table {
	header := []string{"NAME"}
	if e.flags.allNamespaces && kind != string(api.Namespace) {
		header = []string{"NAMESPACE", "NAME"}
	}
	header = append(header, kindColumns(api.Kind(kind))...)
	return &table{header: append(header, "STATE", "AGE")}
}

// objectRow is the row of an object in the table of its kind.
func (e *Env) objectRow(o *adminv1.Object) []cell {
	row := []cell{text(o.GetReference().GetName())}
	if e.flags.allNamespaces && o.GetReference().GetKind() != string(api.Namespace) {
		row = []cell{{o.GetReference().GetNamespace(), dim}, row[0]}
	}
	columns := kindColumns(api.Kind(o.GetReference().GetKind()))
	cells := make([]cell, len(columns))
	if info, ok := api.Info(api.Kind(o.GetReference().GetKind())); ok {
		object := info.New()
		if json.Unmarshal([]byte(o.GetJson()), object) == nil {
			copy(cells, kindCells(object))
		}
	}
	row = append(row, cells...)
	return append(row, state(o.GetConditions()), text(e.age(o.GetCreatedAt())))
}

// state sums up what the server made of an object.
func state(conditions []*adminv1.Condition) cell {
	for _, c := range conditions {
		if !c.GetOk() {
			return cell{c.GetReason(), bad}
		}
	}
	return cell{"ok", good}
}

func kindColumns(kind api.Kind) []string {
	switch kind {
	case api.Service:
		return []string{"PORTS", "SELECTOR"}
	case api.Workload:
		return []string{"ADDRESS", "PORTS", "MESH", "READY"}
	case api.HTTPRoute, api.GRPCRoute, api.TCPRoute:
		return []string{"PARENTS", "BACKENDS"}
	case api.Mesh:
		return []string{"TRUST DOMAIN", "MTLS"}
	case api.PeerAuthentication:
		return []string{"TARGETS", "MODE"}
	case api.AuthorizationPolicy:
		return []string{"TARGETS", "ACTION", "RULES"}
	}
	return nil
}

func kindCells(object api.Object) []cell {
	switch o := object.(type) {
	case *corev1.Service:
		return []cell{text(servicePorts(o)), text(labelsText(o.Spec.Selector))}
	case *v1alpha1.Workload:
		return workloadCells(o)
	case *gateway.HTTPRoute:
		var backends []string
		for _, rule := range o.Spec.Rules {
			for _, b := range rule.BackendRefs {
				backends = append(backends, backendText(b.BackendRef))
			}
		}
		return routeCells(o.Spec.ParentRefs, backends)
	case *gateway.GRPCRoute:
		var backends []string
		for _, rule := range o.Spec.Rules {
			for _, b := range rule.BackendRefs {
				backends = append(backends, backendText(b.BackendRef))
			}
		}
		return routeCells(o.Spec.ParentRefs, backends)
	case *gateway.TCPRoute:
		var backends []string
		for _, rule := range o.Spec.Rules {
			for _, b := range rule.BackendRefs {
				backends = append(backends, backendText(b))
			}
		}
		return routeCells(o.Spec.ParentRefs, backends)
	case *v1alpha1.Mesh:
		return []cell{text(o.Spec.TrustDomain), text(string(o.Spec.MTLSMode))}
	case *v1alpha1.PeerAuthentication:
		targets := targetsText(o.Spec.TargetRefs)
		if o.Spec.Selector != nil {
			targets = labelsText(o.Spec.Selector.MatchLabels)
		}
		return []cell{text(targets), text(string(o.Spec.Mode))}
	case *v1alpha1.AuthorizationPolicy:
		return []cell{text(targetsText(o.Spec.TargetRefs)), text(string(o.Spec.Action)), number(len(o.Spec.Rules))}
	}
	return nil
}

func workloadCells(w *v1alpha1.Workload) []cell {
	var ports []string
	for _, p := range w.Spec.Ports {
		ports = append(ports, fmt.Sprint(p.Port))
	}
	mesh := cell{"no", warn}
	if w.Spec.MeshPort != 0 {
		mesh = cell{"yes", good}
	}
	ready := verdict(w.Ready(), "yes", "no")
	if w.Status.Draining {
		ready = cell{"draining", warn}
	}
	return []cell{text(w.Spec.Address), text(strings.Join(ports, ",")), mesh, ready}
}

func servicePorts(s *corev1.Service) string {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return "to " + s.Spec.ExternalName
	}
	var ports []string
	for _, p := range s.Spec.Ports {
		port := fmt.Sprint(p.Port)
		if p.AppProtocol != nil {
			port += "/" + *p.AppProtocol
		}
		ports = append(ports, port)
	}
	return strings.Join(ports, ",")
}

func routeCells(parents []gateway.ParentReference, backends []string) []cell {
	var names []string
	for _, p := range parents {
		name := string(p.Name)
		if p.Port != nil {
			name = fmt.Sprintf("%s:%d", name, *p.Port)
		}
		names = append(names, name)
	}
	slices.Sort(backends)
	return []cell{text(strings.Join(names, ",")), text(strings.Join(slices.Compact(backends), ","))}
}

func backendText(b gateway.BackendRef) string {
	name := string(b.Name)
	if b.Weight != nil && *b.Weight != 1 {
		return fmt.Sprintf("%s=%d", name, *b.Weight)
	}
	return name
}

func targetsText(targets []v1alpha1.TargetRef) string {
	if len(targets) == 0 {
		return "all"
	}
	var names []string
	for _, t := range targets {
		names = append(names, string(t.Name))
	}
	return strings.Join(names, ",")
}

func labelsText(labels map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return strings.Join(pairs, ",")
}

// age is how long ago a time of the API was, in the largest unit.
func (e *Env) age(milliseconds int64) string {
	if milliseconds == 0 {
		return ""
	}
	return span(e.Now().Sub(time.UnixMilli(milliseconds)))
}

// span is a duration in its largest unit; what is past zero is 0s.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

func (e *Env) expired(milliseconds int64) bool {
	return milliseconds != 0 && !e.Now().Before(time.UnixMilli(milliseconds))
}

// until is how long a certificate or token still lives.
func (e *Env) until(milliseconds int64) cell {
	if milliseconds == 0 {
		return cell{}
	}
	left := time.UnixMilli(milliseconds).Sub(e.Now())
	switch {
	case e.expired(milliseconds):
		return cell{"expired", bad}
	case left < 15*time.Minute:
		return cell{span(left), warn}
	}
	return text(span(left))
}
