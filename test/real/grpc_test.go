//go:build real

package real

import (
	"fmt"
	"testing"
	"time"
)

// interopCases are the cases of the gRPC project's own interop_test.sh.
var interopCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
	"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service", "orca_per_rpc",
	"orca_oob", "rpc_soak", "channel_soak",
}

// interopConfig selects the balancer that the ORCA cases need.
const interopConfig = `{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`

func TestGRPCInteroperabilityHoldsThroughTheMesh(t *testing.T) {
	row := table.add(t, "gRPC interop")
	w := newWorld(t)
	w.service("interop", "10000/grpc")
	w.one.serve("interop", "10000", binary("interop-server"), "--port", "10000")
	w.client.caller("interop:10000=20000")
	w.healthy("interop", w.one)

	run := func(host, port, name string, more ...string) result {
		return w.client.try(30*time.Second, nil, "", append([]string{binary("interop-client"), "--server_host", host, "--server_port", port, "--test_case", name, "--service_config_json", interopConfig}, more...)...)
	}
	passed := func(host, port string) string {
		n := 0
		for _, name := range interopCases {
			if r := run(host, port, name); r.code == 0 {
				n++
			} else {
				row.errors++
				t.Errorf("%s on %s: exit %d after %s\n%s", name, host, r.code, r.took, tail(r.err, 2000))
			}
		}
		return fmt.Sprintf("%d/%d cases", n, len(interopCases))
	}
	row.without = passed(addressOne, "10000")
	row.with = passed("127.0.0.1", "20000")

	w.marked(row, "interop", func(marker string) {
		if r := run("127.0.0.1", "20000", "large_unary", "--additional_metadata", "x-marker:"+marker); r.code != 0 {
			t.Errorf("large_unary with metadata: %s", tail(r.err, 2000))
		}
	})
}
