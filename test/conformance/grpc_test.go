//go:build conformance

package conformance_test

import (
	"net"
	"os/exec"
	"testing"
	"time"
)

// grpcCases are those of the gRPC project's interop client that need no
// credentials of a cloud provider.
var grpcCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
	"status_code_and_message", "special_status_message", "custom_metadata",
	"unimplemented_method", "unimplemented_service", "orca_per_rpc", "orca_oob", "rpc_soak", "channel_soak",
}

// orcaConfig selects the balancer that the ORCA cases need.
const orcaConfig = `{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`

func TestGRPCInteropThroughOneAndTwoProxies(t *testing.T) {
	server := freeAddress(t)
	_, port, _ := net.SplitHostPort(server)
	cmd := exec.Command(program(t, "GRPC_SERVER"), "-port", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 200 {
		if c, err := net.Dial("tcp", server); err == nil {
			c.Close()
			break
		}
		tick := time.NewTimer(10 * time.Millisecond)
		<-tick.C
	}
	one, two := freeAddress(t), freeAddress(t)
	proxy(t, grpcBootstrap(one, server), one)
	proxy(t, grpcBootstrap(two, one), two)
	for name, address := range map[string]string{"one": one, "two": two} {
		t.Run(name, func(t *testing.T) {
			for _, c := range grpcCases {
				t.Run(c, func(t *testing.T) {
					_, port, _ := net.SplitHostPort(address)
					args := []string{"-server_host", "127.0.0.1", "-server_port", port, "-test_case", c, "-service_config_json", orcaConfig,
						"-soak_iterations", "20", "-soak_overall_timeout_seconds", "20"}
					if out, err := exec.Command(program(t, "GRPC_CLIENT"), args...).CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, out)
					}
				})
			}
		})
	}
}

func grpcBootstrap(listen, backend string) string {
	return bootstrap(listen, backend, "") + `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`
}
