package model

import (
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// controllerName is Leno's in the status of routes.
const controllerName gateway.GatewayController = "mesh.leno.dev/controller"

// RouteStatus returns the status of a route as the Gateway API defines it: for
// each parent whether the route is Accepted, and whether its references are
// resolved. The conditions have no transition time.
func (s *Snapshot) RouteStatus(r *Route) gateway.RouteStatus {
	var unresolved []Problem
	rejected := make(map[string]Problem) // by path of the parentRef
	for _, p := range s.Problems(r.Ref) {
		parent, isParent := strings.CutPrefix(p.Path, "spec.parentRefs[")
		switch {
		case isParent:
			index, _, _ := strings.Cut(parent, "]")
			rejected[index] = p
		case p.Severity == Error:
			unresolved = append(unresolved, p)
		}
	}
	resolved := condition(r, string(gateway.RouteConditionResolvedRefs), string(gateway.RouteReasonResolvedRefs), unresolved)
	status := gateway.RouteStatus{Parents: []gateway.RouteParentStatus{}}
	for i, ref := range parentRefsOf(r) {
		var why []Problem
		if p, ok := rejected[strconv.Itoa(i)]; ok {
			why = []Problem{p}
		}
		accepted := condition(r, string(gateway.RouteConditionAccepted), string(gateway.RouteReasonAccepted), why)
		status.Parents = append(status.Parents, gateway.RouteParentStatus{
			ParentRef: ref, ControllerName: controllerName, Conditions: []metav1.Condition{accepted, resolved},
		})
	}
	return status
}

// condition is true unless there are problems; the first gives the reason.
func condition(r *Route, kind, reason string, problems []Problem) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: r.Object().GetGeneration()}
	if len(problems) == 0 {
		return c
	}
	c.Status, c.Reason = metav1.ConditionFalse, problems[0].Reason
	messages := make([]string, len(problems))
	for i, p := range problems {
		messages[i] = p.Path + ": " + p.Message
	}
	c.Message = strings.Join(messages, "; ")
	return c
}
