//go:build real

package real

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nginx starts nginx as one process, so that a kill of it is one of all its
// connections. All replicas serve the same files and say who they are. The file
// of the load leaves in one write: with sendfile a kill may come between head and
// body, and an answer that has begun cannot be had from another replica.
func (p *place) nginx(files string) *program {
	p.world.Helper()
	dir := p.world.folder("nginx")
	config := filepath.Join(dir, "nginx.conf")
	p.world.write(config, fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000; sendfile on;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen 8080;
    listen 8443 ssl http2;
    ssl_certificate %[4]s.crt; ssl_certificate_key %[4]s.key;
    root %[2]s;
    location = /1KiB { sendfile off; }
    location = /who { add_header X-Query $query_string; return 200 "%[3]s $query_string"; }
  }
}
`, dir, files, p.workload("nginx"), p.world.certificate()))
	return p.serve("nginx", "8080,8443", "/usr/sbin/nginx", "-e", "stderr", "-c", config)
}

// certificate makes a self-signed one in NAME.crt and NAME.key, and returns NAME.
func (w *world) certificate() string {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.Fatal(err)
	}
	name := filepath.Join(w.folder("tls"), "nginx")
	w.write(name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	w.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return name
}

// folder makes a directory for one server.
func (w *world) folder(name string) string {
	w.Helper()
	dir, err := os.MkdirTemp(w.dir, name+"-")
	if err != nil {
		w.Fatal(err)
	}
	if err := os.Chown(dir, unprivileged, unprivileged); err != nil {
		w.Fatal(err)
	}
	return dir
}

func (w *world) write(file, content string) {
	w.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		w.Fatal(err)
	}
}

func TestNginxServesTheSameFilesThroughTheMesh(t *testing.T) {
	row := table.add(t, "nginx, curl")
	w := newWorld(t)
	files := w.folder("files")
	sizes := map[string]int{"1KiB": 1 << 10, "1MiB": 1 << 20, "100MiB": 100 << 20}
	for name, n := range sizes {
		content := make([]byte, n)
		_, _ = rand.Read(content)
		w.write(filepath.Join(files, name), string(content))
	}
	w.service("nginx", "8080/http", "8443") // the second is found to be TLS of its own
	one := w.one.nginx(files)
	two := w.two.nginx(files)
	proxy := w.client.caller("nginx:8080=18080", "nginx:8443=18443")
	w.healthy("nginx", w.one, w.two)

	direct := "http://" + addressOne + ":8080"
	throughProxy := []string{"http_proxy=" + proxy}
	want, directTime := w.fetchAll(nil, direct)
	row.without = fmt.Sprintf("%d answers, 100 MiB in %d ms", len(want), directTime.Milliseconds())
	ways := []struct {
		name, base string
		environ    []string
	}{
		{"HTTP_PROXY and a short name", "http://nginx:8080", throughProxy},
		{"HTTP_PROXY and the whole name", "http://nginx.default.mesh.internal:8080", throughProxy},
		{"an upstream port", "http://127.0.0.1:18080", nil},
	}
	for _, way := range ways {
		got, took := w.fetchAll(way.environ, way.base)
		row.with = fmt.Sprintf("the same answers, 100 MiB in %d ms", took.Milliseconds())
		for what, value := range want {
			if got[what] != value {
				row.errors++
				t.Errorf("by %s: %s gave\n%s\nand without the mesh\n%s", way.name, what, got[what], value)
			}
		}
	}

	for _, way := range []struct{ address, proxy string }{
		{addressOne + ":8443", ""}, {"127.0.0.1:18443", ""}, {"nginx:8443", proxy},
	} {
		got := w.client.outputOf([]string{"https_proxy=" + way.proxy}, "", "curl", "-sS", "-f", "-k", "-w", " HTTP/%{http_version}", "https://"+way.address+"/who?tls")
		if !strings.HasPrefix(got, "nginx-") || !strings.HasSuffix(got, " tls HTTP/2") {
			row.errors++
			t.Errorf("nginx by its own TLS on %s, proxy %q, answers %q", way.address, way.proxy, got)
		}
	}

	w.marked(row, "nginx", func(marker string) {
		w.write(filepath.Join(files, "marked"), strings.Repeat(marker+"\n", 100))
		for _, way := range ways {
			if body := w.client.outputOf(way.environ, "", "curl", "-sS", "-f", "-H", "X-Marker: "+marker, way.base+"/marked?"+marker); strings.Count(body, marker) != 100 {
				t.Errorf("by %s the marked file came back wrong", way.name)
			}
		}
	})

	load := func(kill func()) (requests, failed int) {
		return w.fortioLoad(kill, "-c", "32", "-qps", "0", "http://127.0.0.1:18080/1KiB")
	}
	requests, failed := load(one.killCommand)
	w.healthy("nginx", w.two)
	w.one.nginx(files)
	w.healthy("nginx", w.one, w.two)
	more, failedToo := load(two.killAll)
	row.lost = fmt.Sprintf("%d of %d", failed+failedToo, requests+more)
	row.errors += failed + failedToo
	if failed+failedToo > 0 {
		t.Errorf("%d of %d GETs failed when nginx was killed, %d of %d when all of a workload was", failed, requests, failedToo, more)
	}
	if who := w.client.output("curl", "-sS", "http://127.0.0.1:18080/who"); !strings.HasPrefix(who, "nginx-one") {
		t.Errorf("the survivor is nginx-one, but %q answers", who)
	}
}

// fetchAll asks one nginx for files in several ways, and returns the answers
// and how long the largest took.
func (w *world) fetchAll(environ []string, base string) (map[string]string, time.Duration) {
	w.Helper()
	got := make(map[string]string)
	var took time.Duration
	for _, name := range []string{"1KiB", "1MiB", "100MiB"} {
		begun := time.Now()
		body := w.client.outputOf(environ, "", "curl", "-sS", "-f", base+"/"+name)
		took = time.Since(begun)
		got[name] = fmt.Sprintf("%d %x", len(body), sha256.Sum256([]byte(body)))
	}
	curl := func(what string, args ...string) {
		got[what] = w.client.outputOf(environ, "", append([]string{"curl", "-sS"}, args...)...)
	}
	curl("keep-alive", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{http_code} %{num_connects};", base+"/1KiB", base+"/1MiB", base+"/1KiB")
	curl("a range", "-r", "1000-1099", "-w", "%{http_code} %header{content-range}", "-o", "/dev/null", base+"/1MiB")
	got["the bytes of a range"] = fmt.Sprintf("%x", sha256.Sum256([]byte(w.client.outputOf(environ, "", "curl", "-sS", "-r", "1048000-", base+"/1MiB"))))
	curl("two ranges", "-r", "0-99,200-299", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", base+"/1MiB")
	curl("HEAD", "-I", "-w", "%{http_code} %header{content-length}", "-o", "/dev/null", base+"/100MiB")
	curl("a missing file", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", base+"/missing")
	curl("a method nginx refuses", "-X", "POST", "-d", "x=y", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", base+"/1KiB")
	return got, took
}
