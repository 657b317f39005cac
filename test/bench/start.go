package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// starts measures how long `leno up` and `leno demo` take to be of use, as rows
// of the footprint's table.
func starts(leno string, runs int) (string, error) {
	path, err := filepath.Abs(leno)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: build it with `make build`", err)
	}
	var up, demo []float64
	for range runs {
		ms, err := upReady(path)
		if err != nil {
			return "", fmt.Errorf("leno up: %w", err)
		}
		up = append(up, ms)
		if ms, err = demoServes(path); err != nil {
			return "", fmt.Errorf("leno demo: %w", err)
		}
		demo = append(demo, ms)
	}
	slices.Sort(up)
	slices.Sort(demo)
	return fmt.Sprintf("| `leno up`, exec to ready | %.0f ms | ≤ 300 ms |\n| `leno demo`, exec to the first meshed request | %.0f ms | ≤ 3,000 ms |\n",
		median(up), median(demo)), nil
}

// upReady starts a control plane in an empty directory and waits until it says
// that it is ready.
func upReady(path string) (ms float64, err error) {
	dir, err := os.MkdirTemp("", "leno-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	p, err := start(dir, "up", -1, path, "up", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--socket", filepath.Join(dir, "admin.sock"))
	if err != nil {
		return 0, err
	}
	defer p.stop()
	for deadline := began.Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Microsecond) {
		if strings.Contains(p.said(), "Ready after") {
			return float64(time.Since(began).Microseconds()) / 1e3, nil
		}
		select {
		case <-p.done:
			return 0, fmt.Errorf("ended at once: %s", p.said())
		default:
		}
	}
	return 0, fmt.Errorf("does not become ready: %s", p.said())
}

// demoServes runs the demo unattended; its report says when the first request
// went through the mesh.
func demoServes(path string) (ms float64, err error) {
	out, err := exec.Command(path, "demo", "--for", "5s", "-o", "json").Output()
	if err != nil {
		return 0, err
	}
	var report struct {
		FirstRequest float64 `json:"first_request_ms"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return 0, fmt.Errorf("read its report: %w", err)
	}
	if report.FirstRequest <= 0 {
		return 0, fmt.Errorf("its report names no first request")
	}
	return report.FirstRequest, nil
}
