package cli

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/cli/supervise"
)

//go:embed demo/*.yaml
var demoFiles embed.FS

const demoNamespace = "shop"

// edge is who calls whom.
type edge struct{ from, to string }

// demoEdges are all that the shop does.
var demoEdges = [...]edge{
	{"shopper", "web"}, {"web", "catalogue-v1"}, {"web", "catalogue-v2"}, {"web", "cart"}, {"web", "checkout"},
	{"checkout", "payment"}, {"checkout", "stock"},
}

// instance is one program of the shop under leno run.
type instance struct {
	name, service, app string // app is the account, too
	version            string
	port               int // 0: it only calls others
	upstreams          []string
	shop               []string // arguments of leno shop

	*supervise.Process
	log   string         // file
	input io.WriteCloser // of the shopper
	ended bool           // and that was seen
}

// shopInstances lays out the shop on ports of this machine.
func shopInstances(rate int) ([]*instance, error) {
	ports, err := freePorts(11)
	if err != nil {
		return nil, err
	}
	next := func() int {
		port := ports[0]
		ports = ports[1:]
		return port
	}
	local := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	checkout, payment, stock := next(), next(), next() // upstream ports
	instances := []*instance{
		{name: "web-1", service: "web", shop: []string{"--checkout", local(checkout)}, upstreams: []string{fmt.Sprintf("checkout:50051=%d", checkout)}},
		{name: "catalogue-v1-1", service: "catalogue-v1", app: "catalogue", version: "v1", shop: []string{"--as", "v1"}},
		{name: "catalogue-v2-1", service: "catalogue-v2", app: "catalogue", version: "v2", shop: []string{"--as", "v2"}},
		{name: "cart-1", service: "cart"},
		{name: "cart-2", service: "cart"},
		{name: "checkout-1", service: "checkout", shop: []string{"--payment", local(payment), "--stock", local(stock)},
			upstreams: []string{fmt.Sprintf("payment:50051=%d", payment), fmt.Sprintf("stock:2525=%d", stock)}},
		{name: "payment-1", service: "payment"},
		{name: "stock-1", service: "stock"},
	}
	for _, i := range instances {
		if i.app == "" {
			i.app = i.service
		}
		i.port = next()
		i.shop = append(i.shop, "--listen", local(i.port))
	}
	return append(instances, &instance{
		name: "shopper-1", service: "shopper", app: "shopper", shop: []string{"--web", "http://web/", "--rate", fmt.Sprint(rate), "--wait"},
	}), nil
}

// Ports that kernels do not give to those who ask for any: nothing of the demo
// itself takes one between finding it and listening on it.
const (
	lowestPort  = 15_100
	highestPort = 32_000
)

// freePorts finds ports that nobody listens on now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		switch {
		case err == nil:
			defer l.Close() // after all are found, so that none is found twice
			ports = append(ports, port)
		case tries > 1000:
			return nil, fmt.Errorf("find a free port: %w", err)
		}
	}
	return ports, nil
}

// launch starts leno run for an instance.
func (d *demo) launch(ctx context.Context, i *instance) error {
	created, err := d.client.CreateToken(ctx, &adminv1.CreateTokenRequest{Namespace: demoNamespace, Service: i.service, Account: i.app, TtlSeconds: joinSeconds})
	if err != nil {
		return fmt.Errorf("make a join token for %s: %w", i.name, err)
	}
	token := filepath.Join(d.dir, i.name+".token")
	if err := os.WriteFile(token, []byte(created.GetToken()), 0o600); err != nil {
		return fmt.Errorf("write a join token: %w", err)
	}
	args := []string{"run", "--server", d.server.XDSAddress(), "--namespace", demoNamespace, "--service", i.service, "--account", i.app,
		"--name", i.name, "--token-file", token, "--label", "app=" + i.app}
	if i.version != "" {
		args = append(args, "--label", "version="+i.version)
	}
	if i.port != 0 {
		args = append(args, "--port", fmt.Sprint(i.port))
	}
	for _, upstream := range i.upstreams {
		args = append(args, "--upstream", upstream)
	}
	args = append(append(args, "--", d.executable, "shop", i.app), i.shop...)
	cmd := exec.Command(d.executable, args...)
	// Its own group: Ctrl-C is the demo's, which then ends all in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "TMPDIR="+d.dir)
	i.log = filepath.Join(d.dir, i.name+".log")
	log, err := os.OpenFile(i.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("make a log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if i.service == "shopper" {
		return d.launchShopper(i, cmd)
	}
	if i.Process, err = supervise.Start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", i.name, err)
	}
	return nil
}

// launchShopper starts the shopper with pipes: it waits for the word, and says
// when the first page has come.
func (d *demo) launchShopper(i *instance, cmd *exec.Cmd) error {
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("make pipe: %w", err), inRead.Close(), inWrite.Close())
	}
	cmd.Stdin, cmd.Stdout = inRead, outWrite
	i.input = inWrite
	i.Process, err = supervise.Start(cmd)
	inRead.Close()
	outWrite.Close()
	if err != nil {
		inWrite.Close()
		outRead.Close()
		return fmt.Errorf("start %s: %w", i.name, err)
	}
	go func() {
		defer outRead.Close()
		for lines := bufio.NewScanner(outRead); lines.Scan(); {
			if lines.Text() == firstVisit {
				d.first <- time.Now() // has room for the only one
				return
			}
		}
	}()
	return nil
}

// why is the end of what an instance has said.
func (i *instance) why() string {
	content, err := os.ReadFile(i.log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return printable(lines[len(lines)-1])
}

// running says how many instances each service has now, in the order of the
// shop.
func running(instances []*instance) (services []string, count map[string]int) {
	count = make(map[string]int)
	for _, i := range instances {
		if i.service == "shopper" {
			continue
		}
		if !slices.Contains(services, i.service) {
			services = append(services, i.service)
		}
		if !i.ended {
			count[i.service]++
		}
	}
	return services, count
}
