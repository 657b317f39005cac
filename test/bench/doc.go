// Package bench measures leno-proxy beside other proxies on one machine: it
// starts all of them, loads one after the other in interleaved rounds, and
// reports CPU time a request first, because that is what a mesh costs.
// docs/performance.md tells the method and keeps the results.
package bench
