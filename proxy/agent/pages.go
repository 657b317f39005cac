package agent

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/admin"
	"github.com/leno-mesh/leno/proxy/stats"
)

// pages are the admin pages of every mode. ready says why the proxy is not,
// drain begins to drain.
func (p *proxy) pages(ready func() (reason string), drain func(), certificates func() []*x509.Certificate) map[string]admin.Page {
	return map[string]admin.Page{
		"/ready": {About: "LIVE when traffic can be served", Serve: func(url.Values, string) admin.Answer {
			if reason := ready(); reason != "" {
				return admin.Text(503, reason+"\n")
			}
			return admin.Text(200, "LIVE\n")
		}},
		"/server_info": {About: "version, age and state", Serve: func(url.Values, string) admin.Answer {
			b := append([]byte(nil), `{"version":`...)
			b = appendJSONString(b, p.version)
			b = append(b, `,"state":`...)
			b = appendJSONString(b, p.state(ready))
			b = append(b, `,"uptime_current_epoch":"`...)
			b = strconv.AppendInt(b, int64(time.Since(p.started).Seconds()), 10)
			return admin.JSON(append(b, "s\"}\n"...))
		}},
		"/stats/prometheus": {About: "metrics, as Prometheus text or OpenMetrics by negotiation", Serve: func(_ url.Values, accept string) admin.Answer {
			format := stats.Negotiate(accept)
			var b bytes.Buffer
			if err := p.stats.WriteText(&b, format); err != nil {
				return admin.Text(500, err.Error()+"\n")
			}
			return admin.Answer{Status: 200, ContentType: format.ContentType(), Body: b.Bytes()}
		}},
		"/config_dump": {About: "the configuration in force, secrets redacted", Serve: func(url.Values, string) admin.Answer {
			return admin.JSON(p.configuration.dump(nil))
		}},
		"/clusters": {About: "clusters and their endpoints, with load, latency and health; ?format=json", Serve: func(q url.Values, _ string) admin.Answer {
			if q.Get("format") == "json" {
				return admin.JSON(p.clustersJSON(nil))
			}
			return admin.Text(200, p.clustersText())
		}},
		"/certs": {About: "certificates and when they expire", Serve: func(url.Values, string) admin.Answer {
			return admin.JSON(certificatesJSON(nil, certificates()))
		}},
		"/logging": {Change: true, About: "change the log level: ?level=debug, info, warn or error", Serve: func(q url.Values, _ string) admin.Answer {
			return p.setLevel(q.Get("level"))
		}},
		"/drain_listeners": {Change: true, About: "stop accepting and finish what is under way", Serve: func(url.Values, string) admin.Answer {
			drain()
			return admin.Text(200, "OK\n")
		}},
	}
}

// scrapePages are those that a TCP port may show to anyone who reaches it:
// counters and readiness, no configuration, and nothing that changes the proxy.
func scrapePages(all map[string]admin.Page) map[string]admin.Page {
	return map[string]admin.Page{"/metrics": all["/stats/prometheus"], "/stats/prometheus": all["/stats/prometheus"], "/ready": all["/ready"]}
}

func (p *proxy) state(ready func() string) string {
	switch {
	case p.engine.Draining():
		return "DRAINING"
	case ready() != "":
		return "INITIALIZING"
	}
	return "LIVE"
}

func (p *proxy) setLevel(level string) admin.Answer {
	if level != "" && !p.level.Set(level) {
		return admin.Text(400, "the level is debug, info, warn or error\n")
	}
	return admin.Text(200, "level: "+p.level.String()+"\n")
}

// serveAdmin serves the pages on ln until it is closed.
func (p *proxy) serveAdmin(ln net.Listener, pages map[string]admin.Page) {
	go func() {
		if err := admin.New(pages).Serve(ln); err != nil {
			p.log.Error("admin interface failed", "error", err)
		}
	}()
}

func (p *proxy) clustersText() string {
	var b bytes.Buffer
	now := clock.Now()
	clusters := p.configuration.plan.Load().Clusters
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		c := clusters[name]
		if c == nil {
			continue
		}
		m := c.Members.Load()
		if m == nil {
			fmt.Fprintf(&b, "%s::endpoints not known yet\n", name)
			continue
		}
		for i, ep := range m.Set.Endpoints() {
			s := m.Set.Specs()[i]
			at := name + "::" + ep.Address + "::"
			fmt.Fprintf(&b, "%srq_active::%d\n%srq_total::%d\n%srq_error::%d\n%slatency_ms::%.3f\n%shealth_flags::%s\n%sweight::%d\n%spriority::%d\n%szone::%s\n%sworkload::%s\n",
				at, ep.InFlight(), at, ep.Requests(), at, ep.Failures(), at, float64(ep.Latency(now))/1e6, at, healthFlags(s.Health.String(), ep.Ejected(now)),
				at, s.Weight, at, s.Priority, at, s.Zone, at, s.Workload)
		}
	}
	return b.String()
}

func healthFlags(health string, ejected bool) string {
	if ejected {
		return health + "/unreachable"
	}
	return health
}

func (p *proxy) clustersJSON(b []byte) []byte {
	now := clock.Now()
	clusters := p.configuration.plan.Load().Clusters
	b = append(b, `{"cluster_statuses":[`...)
	first := true
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		c := clusters[name]
		if c == nil {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"name":`...)
		b = appendJSONString(b, name)
		b = append(b, `,"host_statuses":[`...)
		if m := c.Members.Load(); m != nil {
			for i, ep := range m.Set.Endpoints() {
				if i > 0 {
					b = append(b, ',')
				}
				s := m.Set.Specs()[i]
				b = append(b, `{"address":`...)
				b = appendJSONString(b, ep.Address)
				b = append(b, `,"health":`...)
				b = appendJSONString(b, healthFlags(s.Health.String(), ep.Ejected(now)))
				b = append(b, `,"workload":`...)
				b = appendJSONString(b, s.Workload)
				b = append(b, `,"version":`...)
				b = appendJSONString(b, s.Version)
				b = append(b, `,"zone":`...)
				b = appendJSONString(b, s.Zone)
				b = fmt.Appendf(b, `,"weight":%d,"priority":%d,"rq_active":%d,"rq_total":%d,"rq_error":%d,"latency_ms":%.3f}`,
					s.Weight, s.Priority, ep.InFlight(), ep.Requests(), ep.Failures(), float64(ep.Latency(now))/1e6)
			}
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}\n"...)
}

func certificatesJSON(b []byte, list []*x509.Certificate) []byte {
	b = append(b, `{"certificates":[`...)
	for i, c := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"serial_number":`...)
		b = appendJSONString(b, fmt.Sprintf("%x", c.SerialNumber))
		b = append(b, `,"subject_alt_names":[`...)
		n := 0
		for _, u := range c.URIs {
			if n++; n > 1 {
				b = append(b, ',')
			}
			b = append(b, `{"uri":`...)
			b = append(appendJSONString(b, u.String()), '}')
		}
		for _, d := range c.DNSNames {
			if n++; n > 1 {
				b = append(b, ',')
			}
			b = append(b, `{"dns":`...)
			b = append(appendJSONString(b, d), '}')
		}
		b = fmt.Appendf(b, `],"ca":%t,"valid_from":%q,"expiration_time":%q,"days_until_expiration":%d}`,
			c.IsCA, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), int(time.Until(c.NotAfter).Hours()/24))
	}
	return append(b, "]}\n"...)
}

// drainAll closes the listeners and waits for what is under way, at most for
// the given time.
func (p *proxy) drainAll(grace time.Duration) {
	p.stopAccepting()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	p.engine.Drain(ctx)
	p.engine.CloseAll()
}

func (p *proxy) stopAccepting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ln := range p.listeners {
		ln.Close()
	}
}
