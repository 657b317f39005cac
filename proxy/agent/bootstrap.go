package agent

import (
	"errors"
	"fmt"
	"os"

	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/xds/wire"
)

// LoadBootstrap reads an Envoy v3 bootstrap from a YAML or JSON file. What Leno
// does not support is refused by line and path; ignored lists the fields that
// are accepted and have no effect.
func LoadBootstrap(file string) (b *wire.Bootstrap, ignored []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	b = &wire.Bootstrap{}
	report, err := wire.ReadYAML(data, b)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", file, err)
	}
	return b, report.Ignored, nil
}

// staticResources puts the static part of a bootstrap into resources. Two of
// one name are refused.
func staticResources(b *wire.Bootstrap, r *plan.Resources) error {
	s := b.StaticResources
	if s == nil {
		return nil
	}
	var errs []error
	for i, l := range s.Listeners {
		if l.Name == "" {
			l.Name = fmt.Sprintf("listener_%d", i)
		}
		errs = append(errs, add(r.Listeners, l.Name, l, fmt.Sprintf("static_resources.listeners[%d]", i)))
	}
	for i, c := range s.Clusters {
		errs = append(errs, add(r.Clusters, c.Name, c, fmt.Sprintf("static_resources.clusters[%d]", i)))
	}
	for i, c := range s.Secrets {
		errs = append(errs, add(r.Secrets, c.Name, c, fmt.Sprintf("static_resources.secrets[%d]", i)))
	}
	return errors.Join(errs...)
}

func add[T any](m map[string]*T, name string, v *T, path string) error {
	if name == "" {
		return fmt.Errorf("%s.name: is missing", path)
	}
	if _, taken := m[name]; taken {
		return fmt.Errorf("%s.name: %q is there twice", path, name)
	}
	m[name] = v
	return nil
}
