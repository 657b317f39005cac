package api

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

// Validate checks an object on its own, after defaults. The errors have no line.
func Validate(o Object) error {
	info, ok := Info(KindOf(o))
	if !ok {
		return Errors{{Message: fmt.Sprintf("unknown kind %T", o)}}
	}
	var errs Errors
	c := &checker{report: func(path, message string) {
		errs = append(errs, FieldError{Object: RefOf(o).String(), Path: path, Message: message})
	}}
	c.object(o, info)
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// checker reports what is wrong with one object's fields.
type checker struct {
	report func(path, message string)
}

func (c *checker) fail(path, format string, args ...any) {
	c.report(path, fmt.Sprintf(format, args...))
}

// reasons reports the first reason of a Kubernetes validation function.
func (c *checker) reasons(path, value string, reasons []string) bool {
	if len(reasons) == 0 {
		return true
	}
	reason, _, _ := strings.Cut(reasons[0], ", regex used")
	if strings.Contains(reason, "(e.g.") && !strings.HasSuffix(reason, ")") {
		reason += ")"
	}
	c.fail(path, "%q is not valid: %s", value, reason)
	return false
}

func (c *checker) object(o Object, info KindInfo) {
	c.metadata(o, info)
	switch o := o.(type) {
	case *corev1.Namespace:
		c.namespace(o)
	case *corev1.Service:
		c.service(o)
	case *gateway.HTTPRoute:
		c.httpRoute(&o.Spec)
	case *gateway.GRPCRoute:
		c.grpcRoute(&o.Spec)
	case *gateway.TCPRoute:
		c.tcpRoute(&o.Spec)
	case *v1alpha1.Workload:
		c.workload(&o.Spec)
	case *v1alpha1.Mesh:
		c.mesh(o)
	case *v1alpha1.PeerAuthentication:
		c.peerAuthentication(o)
	case *v1alpha1.AuthorizationPolicy:
		c.authorizationPolicy(&o.Spec)
	}
}

func (c *checker) metadata(o Object, info KindInfo) {
	switch name := o.GetName(); {
	case name == "" && o.GetGenerateName() != "":
		c.fail("metadata.generateName", "not supported; give metadata.name")
	case name == "":
		c.fail("metadata.name", "required")
	case info.Kind == Service:
		c.reasons("metadata.name", name, validation.IsDNS1035Label(name))
	case info.Kind == Namespace:
		c.reasons("metadata.name", name, validation.IsDNS1123Label(name))
	default:
		c.reasons("metadata.name", name, validation.IsDNS1123Subdomain(name))
	}
	switch namespace := o.GetNamespace(); {
	case !info.Namespaced && namespace != "":
		c.fail("metadata.namespace", "a %s is in no namespace", info.Kind)
	case info.Namespaced:
		c.reasons("metadata.namespace", namespace, validation.IsDNS1123Label(namespace))
	}
	if len(o.GetOwnerReferences()) > 0 {
		c.fail("metadata.ownerReferences", "not supported outside Kubernetes")
	}
	if len(o.GetFinalizers()) > 0 {
		c.fail("metadata.finalizers", "not supported outside Kubernetes")
	}
	c.labels("metadata.labels", o.GetLabels())
	for key := range o.GetAnnotations() {
		c.reasons("metadata.annotations."+key, key, validation.IsQualifiedName(strings.ToLower(key)))
	}
}

func (c *checker) labels(path string, labels map[string]string) {
	for key, value := range labels {
		if c.reasons(path+"."+key, key, validation.IsQualifiedName(key)) {
			c.reasons(path+"."+key, value, validation.IsValidLabelValue(value))
		}
	}
}

func (c *checker) namespace(n *corev1.Namespace) {
	for i, f := range n.Spec.Finalizers {
		if f != corev1.FinalizerKubernetes {
			c.fail(fmt.Sprintf("spec.finalizers[%d]", i), "not supported outside Kubernetes")
		}
	}
}

func (c *checker) port(path string, port int32) bool {
	switch {
	case port == 0:
		c.fail(path, "required; a port is 1 to 65535")
	case port < 1 || port > 65535:
		c.fail(path, "%d is no port; a port is 1 to 65535", port)
	default:
		return true
	}
	return false
}

func (c *checker) weight(path string, weight *int32) {
	if weight != nil && (*weight < 0 || *weight > 1_000_000) {
		c.fail(path, "%d is out of range; a weight is 0 to 1000000", *weight)
	}
}

var durationForm = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// duration checks the form of GEP-2257 and returns the value.
func (c *checker) duration(path string, d gateway.Duration) time.Duration {
	value, err := time.ParseDuration(string(d))
	if err != nil || !durationForm.MatchString(string(d)) {
		c.fail(path, "%q is no duration; write it like 10s, 1m30s or 250ms", d)
		return 0
	}
	return value
}

func (c *checker) hostname(path, host string) {
	if len(validation.IsDNS1123Subdomain(host)) > 0 {
		c.fail(path, "%q is no host name; it is like shop.example.com, without port", host)
	}
}

// isToken reports that a string is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
}

func (c *checker) regex(path, expression string) {
	if _, err := regexp.Compile(expression); err != nil {
		c.fail(path, "%q is no regular expression: %s", expression, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

func (c *checker) mode(path string, mode v1alpha1.Mode) {
	switch mode {
	case v1alpha1.ModeStrict, v1alpha1.ModePermissive, v1alpha1.ModeDisable:
	case "":
		c.fail(path, "required: STRICT, PERMISSIVE or DISABLE")
	default:
		c.fail(path, "%q is no mode; it is STRICT, PERMISSIVE or DISABLE", mode)
	}
}

func (c *checker) targets(refs []v1alpha1.TargetRef) {
	seen := make(map[gateway.ObjectName]bool)
	for i, ref := range refs {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		switch {
		case ref.Group != "" && ref.Group != "core" || ref.Kind != "Service":
			c.fail(path, "only a Service can be a target, not %s %q", ref.Kind, ref.Group)
		case ref.Name == "":
			c.fail(path+".name", "required")
		case seen[ref.Name]:
			c.fail(path, "service %s is already a target", ref.Name)
		}
		seen[ref.Name] = true
	}
}

func (c *checker) selector(path string, s *metav1.LabelSelector) {
	switch {
	case len(s.MatchExpressions) > 0:
		c.fail(path+".matchExpressions", "not supported; use matchLabels")
	case len(s.MatchLabels) == 0:
		c.fail(path+".matchLabels", "required; leave the selector out to select the whole namespace")
	}
	c.labels(path+".matchLabels", s.MatchLabels)
}
