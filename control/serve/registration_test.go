package serve

import (
	"testing"

	"github.com/leno-mesh/leno/api"
	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
)

// FuzzRegistration holds that what is accepted of a proxy is valid by the API's
// own rules.
func FuzzRegistration(f *testing.F) {
	f.Add("pay-1", "pay", "127.0.0.1", uint32(1), uint32(8080), uint32(0), "a", "key", "value", "because")
	f.Add("a.b", "9", "fd00::1", uint32(65535), uint32(1), uint32(70000), "", "a/b", "", "")
	f.Add("", "x", "::ffff:10.0.0.1", uint32(0), uint32(0), uint32(1), "z z", "leno.dev/service", "x", "\xff")
	f.Fuzz(func(t *testing.T, name, service, address string, mesh, port, plaintext uint32, zone, key, value, reason string) {
		reg, err := readRegistration(&agentv1.Registration{
			Name: name, Service: service, Address: address, MeshPort: mesh, Zone: zone, Reason: reason,
			Labels: map[string]string{key: value}, Ports: []*agentv1.Port{{Port: port, PlaintextPort: plaintext}},
		}, "1.0")
		if err != nil {
			return
		}
		h := testHolder(t, "pay", "p")
		if err := api.Validate(reg.newWorkload(h)); err != nil {
			t.Errorf("workload: %v", err)
		}
		if reg.service == "" {
			return
		}
		if err := api.Validate(reg.newService(h)); err != nil {
			t.Errorf("service: %v", err)
		}
	})
}
