package model

import (
	"testing"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

func TestTheOnlyRegisteredPortServesTheOnlyPortOfAService(t *testing.T) {
	ports := func(numbers ...int32) (all []v1alpha1.WorkloadPort) {
		for _, n := range numbers {
			all = append(all, v1alpha1.WorkloadPort{Name: "web", Port: n})
		}
		return all
	}
	for _, c := range []struct {
		name  string
		port  Port
		ports []v1alpha1.WorkloadPort
		proxy string
		want  int32
		ok    bool
	}{
		{"registered with another number", Port{TargetPort: 80, Sole: true}, ports(8081), "p", 8081, true},
		{"registered with several ports, not this one", Port{TargetPort: 80, Sole: true}, ports(8081, 8082), "p", 0, false},
		{"registered with several ports, and this one", Port{TargetPort: 8082, Sole: true}, ports(8081, 8082), "p", 8082, true},
		{"registered without a port", Port{TargetPort: 80, Sole: true}, nil, "p", 0, false},
		{"one of several ports of the Service, not registered", Port{TargetPort: 80}, ports(8081), "p", 0, false},
		{"one of several ports of the Service, registered", Port{TargetPort: 8081}, ports(8081), "p", 8081, true},
		{"written by hand without ports", Port{TargetPort: 80}, nil, "", 80, true},
		{"not registered by a proxy", Port{TargetPort: 80, Sole: true}, ports(8081), "", 80, true},
		{"by name", Port{TargetName: "web", Sole: true}, ports(8081), "p", 8081, true},
		{"by a name, registered without a port", Port{TargetName: "web", Sole: true}, nil, "p", 0, false},
		{"by a name that it has not", Port{TargetName: "grpc", Sole: true}, ports(8081), "p", 0, false},
	} {
		w := &Workload{Object: &v1alpha1.Workload{}}
		w.Object.Spec.Ports, w.Object.Status.Proxy = c.ports, c.proxy
		if got, ok := w.TargetPort(&c.port); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}
