package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/lib/spiffe"
)

func (c *checker) service(s *corev1.Service) {
	spec := &s.Spec
	if spec.Type != corev1.ServiceTypeClusterIP {
		c.fail("spec.type", "%s is not supported yet; a Service of the mesh is of type ClusterIP", spec.Type)
	}
	c.serviceExtras(spec)
	c.labels("spec.selector", spec.Selector)
	if len(spec.Ports) == 0 {
		c.fail("spec.ports", "required; a Service has at least one port")
	}
	names, numbers := make(map[string]int), make(map[int32]int)
	for i := range spec.Ports {
		p, path := &spec.Ports[i], fmt.Sprintf("spec.ports[%d]", i)
		if c.port(path+".port", p.Port) {
			if first, clash := numbers[p.Port]; clash {
				c.fail(path+".port", "port %d is already spec.ports[%d]", p.Port, first)
			} else {
				numbers[p.Port] = i
			}
		}
		if first, clash := names[p.Name]; clash && p.Name != "" {
			c.fail(path+".name", "the name %q is already that of spec.ports[%d]", p.Name, first)
		} else {
			names[p.Name] = i
		}
		switch {
		case p.Name == "" && len(spec.Ports) > 1:
			c.fail(path+".name", "required where a Service has several ports")
		case p.Name != "":
			c.reasons(path+".name", p.Name, validation.IsDNS1123Label(p.Name))
		}
		if p.Protocol != corev1.ProtocolTCP {
			c.fail(path+".protocol", "%s is not supported yet; the mesh carries TCP", p.Protocol)
		}
		if p.NodePort != 0 {
			c.fail(path+".nodePort", "not supported; the mesh opens no node ports")
		}
		if p.TargetPort != intstr.FromInt32(p.Port) {
			c.targetPort(path+".targetPort", p.TargetPort)
		}
	}
}

func (c *checker) targetPort(path string, t intstr.IntOrString) {
	if t.Type == intstr.String {
		c.reasons(path, t.StrVal, validation.IsValidPortName(t.StrVal))
	} else {
		c.port(path, t.IntVal)
	}
}

// serviceExtras refuses what Kubernetes gives a Service and the mesh does not.
// What the API server fills in by itself passes.
func (c *checker) serviceExtras(spec *corev1.ServiceSpec) {
	refused := []struct {
		path string
		set  bool
	}{
		{"spec.externalIPs", len(spec.ExternalIPs) > 0},
		{"spec.externalName", spec.ExternalName != ""},
		{"spec.externalTrafficPolicy", spec.ExternalTrafficPolicy != ""},
		{"spec.healthCheckNodePort", spec.HealthCheckNodePort != 0},
		{"spec.internalTrafficPolicy", spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy != corev1.ServiceInternalTrafficPolicyCluster},
		{"spec.loadBalancerIP", spec.LoadBalancerIP != ""},
		{"spec.loadBalancerClass", spec.LoadBalancerClass != nil},
		{"spec.loadBalancerSourceRanges", len(spec.LoadBalancerSourceRanges) > 0},
		{"spec.allocateLoadBalancerNodePorts", spec.AllocateLoadBalancerNodePorts != nil},
		{"spec.publishNotReadyAddresses", spec.PublishNotReadyAddresses},
		{"spec.sessionAffinity", spec.SessionAffinity != "" && spec.SessionAffinity != corev1.ServiceAffinityNone},
		{"spec.sessionAffinityConfig", spec.SessionAffinityConfig != nil},
		{"spec.trafficDistribution", spec.TrafficDistribution != nil},
	}
	for _, r := range refused {
		if r.set {
			c.fail(r.path, "not supported yet; remove it")
		}
	}
}

func (c *checker) workload(spec *v1alpha1.WorkloadSpec) {
	if spec.Account != "" {
		c.reasons("spec.account", spec.Account, validation.IsDNS1123Subdomain(spec.Account))
	}
	address, err := netip.ParseAddr(spec.Address)
	switch {
	case spec.Address == "":
		c.fail("spec.address", "required; it is an IP address")
	case err != nil:
		c.fail("spec.address", "%q is no IP address", spec.Address)
	case address.IsUnspecified() || address.IsMulticast():
		c.fail("spec.address", "%s is not the address of one machine", spec.Address)
	}
	if spec.MeshPort != 0 {
		c.port("spec.meshPort", spec.MeshPort)
	}
	names, numbers := make(map[string]bool), make(map[int32]bool)
	for i, p := range spec.Ports {
		path := fmt.Sprintf("spec.ports[%d]", i)
		c.port(path+".port", p.Port)
		if p.PlaintextPort != 0 && c.port(path+".plaintextPort", p.PlaintextPort) && p.PlaintextPort == spec.MeshPort {
			c.fail(path+".plaintextPort", "port %d is already the mesh port", p.PlaintextPort)
		}
		if p.Name != "" {
			c.reasons(path+".name", p.Name, validation.IsValidPortName(p.Name))
		}
		switch {
		case numbers[p.Port]:
			c.fail(path+".port", "port %d is given twice", p.Port)
		case p.Name != "" && names[p.Name]:
			c.fail(path+".name", "the name %q is given twice", p.Name)
		}
		numbers[p.Port], names[p.Name] = true, true
	}
	c.weight("spec.weight", spec.Weight)
	for path, value := range map[string]string{
		"spec.cluster": spec.Cluster, "spec.network": spec.Network, "spec.locality.region": spec.Locality.Region,
		"spec.locality.zone": spec.Locality.Zone, "spec.locality.subzone": spec.Locality.Subzone,
	} {
		c.reasons(path, value, validation.IsValidLabelValue(value))
	}
}

func (c *checker) mesh(m *v1alpha1.Mesh) {
	if m.Name != "" && m.Name != v1alpha1.MeshName {
		c.fail("metadata.name", "the Mesh is named %s", v1alpha1.MeshName)
	}
	if m.Namespace != v1alpha1.SystemNamespace {
		c.fail("metadata.namespace", "the Mesh is in the namespace %s", v1alpha1.SystemNamespace)
	}
	if m.Spec.TrustDomain == "" {
		c.fail("spec.trustDomain", "required")
	} else if err := spiffe.CheckTrustDomain(m.Spec.TrustDomain); err != nil {
		c.fail("spec.trustDomain", "%q is not valid: %s", m.Spec.TrustDomain, err)
	}
	c.mode("spec.mtlsMode", m.Spec.MTLSMode)
	if d := m.Spec.Timeouts.Connect; d != "" {
		c.duration("spec.timeouts.connect", d)
	}
	if d := m.Spec.Timeouts.Request; d != "" {
		c.duration("spec.timeouts.request", d)
	}
	if n := m.Spec.Retries.Attempts; n != nil && (*n < 0 || *n > 10) {
		c.fail("spec.retries.attempts", "%d is out of range; it is 0 to 10", *n)
	}
}

func (c *checker) peerAuthentication(p *v1alpha1.PeerAuthentication) {
	spec := &p.Spec
	c.mode("spec.mode", spec.Mode)
	c.targets(spec.TargetRefs)
	if spec.Selector != nil {
		c.selector("spec.selector", spec.Selector)
		if len(spec.TargetRefs) > 0 {
			c.fail("spec.selector", "give targetRefs or a selector, not both")
		}
	}
	c.disable("spec.mode", spec, spec.Mode)
	seen := make(map[int32]bool)
	for i, level := range spec.PortLevel {
		path := fmt.Sprintf("spec.portLevel[%d]", i)
		if c.port(path+".port", level.Port) && seen[level.Port] {
			c.fail(path+".port", "port %d is given twice", level.Port)
		}
		seen[level.Port] = true
		c.mode(path+".mode", level.Mode)
		c.disable(path+".mode", spec, level.Mode)
	}
}

// disable refuses plaintext for single workloads: callers decide by Service
// whether they use TLS, and would meet a workload that does not take it.
func (c *checker) disable(path string, spec *v1alpha1.PeerAuthenticationSpec, mode v1alpha1.Mode) {
	if mode == v1alpha1.ModeDisable && spec.Selector != nil {
		c.fail(path, "DISABLE does not go with a selector, because callers decide by Service whether they use TLS; give targetRefs to the Service, or neither for the whole namespace or mesh")
	}
}

func (c *checker) authorizationPolicy(spec *v1alpha1.AuthorizationPolicySpec) {
	c.targets(spec.TargetRefs)
	if !slices.Contains([]v1alpha1.Action{v1alpha1.ActionAllow, v1alpha1.ActionDeny, v1alpha1.ActionAudit}, spec.Action) {
		c.fail("spec.action", "%q is no action; it is ALLOW, DENY or AUDIT", spec.Action)
	}
	for i, rule := range spec.Rules {
		for j, from := range rule.From {
			c.source(fmt.Sprintf("spec.rules[%d].from[%d]", i, j), from)
		}
		for j, to := range rule.To {
			c.operation(fmt.Sprintf("spec.rules[%d].to[%d]", i, j), to)
		}
	}
}

func (c *checker) source(path string, s v1alpha1.Source) {
	if len(s.Identities)+len(s.Namespaces)+len(s.Accounts) == 0 {
		c.fail(path, "it is empty; give identities, namespaces or accounts")
	}
	for i, id := range s.Identities {
		if id == "*" {
			continue
		}
		parsed, err := spiffe.Parse(id)
		switch {
		case err != nil:
			c.fail(fmt.Sprintf("%s.identities[%d]", path, i), "%s", strings.TrimPrefix(err.Error(), "parse "))
		case parsed.Path() == "":
			c.fail(fmt.Sprintf("%s.identities[%d]", path, i), "%q names a trust domain, not a workload", id)
		}
	}
	for i, namespace := range s.Namespaces {
		c.reasons(fmt.Sprintf("%s.namespaces[%d]", path, i), namespace, validation.IsDNS1123Label(namespace))
	}
	for i, account := range s.Accounts {
		namespace, name, ok := strings.Cut(account, "/")
		if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			c.fail(fmt.Sprintf("%s.accounts[%d]", path, i), "%q is no account; write NAMESPACE/ACCOUNT", account)
		}
	}
}

func (c *checker) operation(path string, o v1alpha1.Operation) {
	if len(o.Ports)+len(o.Methods)+len(o.Paths) == 0 {
		c.fail(path, "it is empty; give ports, methods or paths")
	}
	for i, port := range o.Ports {
		c.port(fmt.Sprintf("%s.ports[%d]", path, i), port)
	}
	for i, method := range o.Methods {
		if !isToken(method) {
			c.fail(fmt.Sprintf("%s.methods[%d]", path, i), "%q is no HTTP method", method)
		}
	}
	for i, p := range o.Paths {
		at := fmt.Sprintf("%s.paths[%d]", path, i)
		switch stem := strings.TrimSuffix(p, "*"); {
		case strings.Contains(stem, "*"):
			c.fail(at, "%q has a * that is not at its end", p)
		case p != "*":
			c.matched(at, stem)
		}
	}
}
