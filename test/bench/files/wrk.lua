-- A request as services send it, with ten fields; the results as one line of JSON.
wrk.headers["Host"] = "api.shop.mesh.internal"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) checkout/1.14.2"
wrk.headers["Accept"] = "application/json, text/plain, */*"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
wrk.headers["Accept-Language"] = "en-US,en;q=0.9"
wrk.headers["Authorization"] = "Bearer 0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9"
wrk.headers["X-Request-Id"] = "7f3b5c1e-2d4a-4b6c-9e8f-0a1b2c3d4e5f"
wrk.headers["Traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
wrk.headers["X-Forwarded-For"] = "10.42.0.17"
wrk.headers["Cookie"] = "session=8a7b6c5d4e3f2a1b; theme=dark; variant=A42"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT {\"done\":%d,\"us\":%d,\"errors\":%d,\"p50\":%.0f,\"p99\":%.0f}\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50), latency:percentile(99)))
end
