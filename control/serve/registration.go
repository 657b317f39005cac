package serve

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

const (
	maxName   = 253 // bytes
	maxPorts  = 64
	maxLabels = 64
	maxReason = 1024 // bytes
)

// refuse is what a peer asked for and may not have; it says why.
func refuse(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

func malformed(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, "registration: "+format, args...)
}

// registration is a checked agentv1.Registration.
type registration struct {
	name, service string
	labels        map[string]string
	address       string
	meshPort      int32
	ports         []v1alpha1.WorkloadPort
	zone          string
	healthy       bool
	reason        string
	bypassable    bool
	draining      bool
	version       string // of the proxy
}

// readRegistration checks what a proxy says of its workload.
func readRegistration(r *agentv1.Registration, version string) (*registration, error) {
	if problems := validation.IsDNS1123Subdomain(r.GetName()); len(problems) > 0 {
		return nil, malformed("the name %.100q is not usable: %s", r.GetName(), problems[0])
	}
	if service := r.GetService(); service != "" {
		if problems := validation.IsDNS1123Label(service); len(problems) > 0 {
			return nil, malformed("the service name %.100q is not usable: %s", service, problems[0])
		}
	}
	address, err := netip.ParseAddr(r.GetAddress())
	if err != nil || address.Zone() != "" || address.IsUnspecified() || address.IsMulticast() {
		return nil, malformed("%.100q is no IP address that others can reach", r.GetAddress())
	}
	if r.GetMeshPort() < 1 || r.GetMeshPort() > 65535 {
		return nil, malformed("the mesh port %d is not between 1 and 65535", r.GetMeshPort())
	}
	out := &registration{
		name: r.GetName(), service: r.GetService(), address: address.Unmap().String(), meshPort: int32(r.GetMeshPort()),
		zone: r.GetZone(), healthy: r.GetHealthy(), reason: r.GetReason(),
		bypassable: r.GetBypassable(), draining: r.GetDraining(), version: version,
	}
	if len(out.reason) > maxReason {
		out.reason = strings.ToValidUTF8(out.reason[:maxReason], "")
	}
	if problems := validation.IsValidLabelValue(out.zone); len(problems) > 0 {
		return nil, malformed("the zone %.100q is not usable: %s", out.zone, problems[0])
	}
	if out.labels, err = readLabels(r); err != nil {
		return nil, err
	}
	out.ports, err = readPorts(r.GetPorts())
	return out, err
}

func readLabels(r *agentv1.Registration) (map[string]string, error) {
	labels := make(map[string]string, len(r.GetLabels())+1)
	if len(r.GetLabels()) > maxLabels {
		return nil, malformed("%d labels are given, at most %d are allowed", len(r.GetLabels()), maxLabels)
	}
	for key, value := range r.GetLabels() {
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			return nil, malformed("the label %.100q is not usable: %s", key, problems[0])
		}
		if strings.HasPrefix(key, "leno.dev/") {
			return nil, malformed("the label %q is set by the server; leave it out", key)
		}
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			return nil, malformed("the value %.100q of label %s is not usable: %s", value, key, problems[0])
		}
		labels[key] = value
	}
	if r.GetService() != "" {
		labels[ServiceLabel] = r.GetService()
	}
	return labels, nil
}

func readPorts(ports []*agentv1.Port) ([]v1alpha1.WorkloadPort, error) {
	if len(ports) > maxPorts {
		return nil, malformed("%d ports are given, at most %d are allowed", len(ports), maxPorts)
	}
	var out []v1alpha1.WorkloadPort
	seen := make(map[uint32]bool)
	for _, p := range ports {
		if p.GetPort() < 1 || p.GetPort() > 65535 || p.GetPlaintextPort() > 65535 {
			return nil, malformed("port %d (plaintext %d) is not between 1 and 65535", p.GetPort(), p.GetPlaintextPort())
		}
		if seen[p.GetPort()] {
			return nil, malformed("port %d is given twice", p.GetPort())
		}
		seen[p.GetPort()] = true
		out = append(out, v1alpha1.WorkloadPort{Port: int32(p.GetPort()), PlaintextPort: int32(p.GetPlaintextPort())})
	}
	return out, nil
}

func (r *registration) newWorkload(h *holder) *v1alpha1.Workload {
	return &v1alpha1.Workload{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: "Workload"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: h.namespace, Name: r.name, Labels: maps.Clone(r.labels),
			Annotations: map[string]string{ProxyAnnotation: h.proxy},
		},
		Spec: v1alpha1.WorkloadSpec{
			Account: h.account, Address: r.address, MeshPort: r.meshPort, Ports: r.ports,
			Locality: v1alpha1.Locality{Zone: r.zone},
		},
		Status: v1alpha1.WorkloadStatus{
			Healthy: &r.healthy, Reason: r.reason, Bypassable: r.bypassable, Draining: r.draining,
			Proxy: h.proxy, Version: r.version,
		},
	}
}

// newService selects the registered workloads, and is its creator's: another
// account cannot register for it.
func (r *registration) newService(h *holder) *corev1.Service {
	s := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: h.namespace, Name: r.service, Annotations: map[string]string{AccountAnnotation: h.account},
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{ServiceLabel: r.service}},
	}
	for _, p := range r.ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: fmt.Sprintf("port-%d", p.Port), Port: p.Port, TargetPort: intstr.FromInt32(p.Port), Protocol: corev1.ProtocolTCP,
		})
	}
	return s
}
