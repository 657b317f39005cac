package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func describeCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Explain an object: its spec, its state, what it has to do with",
		Example: `  leno describe service cart -n shop
  leno describe httproute/cart`,
		Args:              atLeast(1, "the kind"),
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			references, err := env.references(args)
			if err != nil {
				return err
			}
			client, err := env.Client()
			if err != nil {
				return err
			}
			var pages []*adminv1.DescribeResponse
			for _, reference := range references {
				page, err := client.Describe(cmd.Context(), &adminv1.DescribeRequest{Reference: reference})
				if err != nil {
					return err
				}
				pages = append(pages, page)
			}
			return env.printPages(pages)
		},
	}
}

// pageView is describe -o json.
type pageView struct {
	Object     json.RawMessage `json:"object"`
	Conditions []conditionView `json:"conditions"`
	Problems   []string        `json:"problems"`
	Referrers  []relationView  `json:"referrers"`
	References []relationView  `json:"references"`
	Workloads  []workloadView  `json:"workloads,omitempty"`
	Routes     []string        `json:"routes,omitempty"`
	Policies   []string        `json:"policies,omitempty"`
}

type conditionView struct {
	Type    string `json:"type"`
	OK      bool   `json:"ok"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

type relationView struct {
	Object  string `json:"object"`
	Field   string `json:"field"`
	Missing bool   `json:"missing,omitempty"`
}

type workloadView struct {
	Object    string   `json:"object"`
	Addresses []string `json:"addresses"`
	Healthy   bool     `json:"healthy"`
	Reason    string   `json:"reason,omitempty"`
	Identity  string   `json:"identity,omitempty"`
	Mesh      bool     `json:"mesh"`
}

func (e *Env) printPages(pages []*adminv1.DescribeResponse) error {
	views := make([]pageView, len(pages))
	for i, page := range pages {
		views[i] = viewPage(page)
	}
	var data any = views
	if len(views) == 1 {
		data = views[0]
	}
	if done, err := e.printData(data); done {
		return err
	}
	for i, page := range pages {
		if e.flags.output == "name" {
			fmt.Fprintln(e.Out, printable(nameString(page.GetObject().GetReference())))
			continue
		}
		if i > 0 {
			fmt.Fprintln(e.Out)
		}
		if err := e.printPage(page, views[i]); err != nil {
			return err
		}
	}
	return nil
}

func viewPage(page *adminv1.DescribeResponse) pageView {
	view := pageView{
		Object:     json.RawMessage(page.GetObject().GetJson()),
		Conditions: []conditionView{},
		Problems:   []string{},
		Referrers:  viewRelations(page.GetReferrers()),
		References: viewRelations(page.GetReferences()),
		Routes:     refStrings(page.GetService().GetRoutes()),
		Policies:   refStrings(page.GetService().GetPolicies()),
	}
	for _, c := range page.GetObject().GetConditions() {
		view.Conditions = append(view.Conditions, conditionView{c.GetType(), c.GetOk(), c.GetReason(), c.GetMessage()})
	}
	for _, p := range page.GetProblems() {
		view.Problems = append(view.Problems, problemLine(p))
	}
	for _, w := range page.GetService().GetWorkloads() {
		view.Workloads = append(view.Workloads, workloadView{
			refString(w.GetObject()), w.GetAddresses(), w.GetHealthy(), w.GetReason(), w.GetIdentity(), w.GetMesh(),
		})
	}
	return view
}

func viewRelations(relations []*adminv1.Relation) []relationView {
	views := []relationView{}
	for _, r := range relations {
		views = append(views, relationView{refString(r.GetObject()), r.GetField(), r.GetMissing()})
	}
	return views
}

func refStrings(references []*adminv1.Reference) []string {
	var names []string
	for _, r := range references {
		names = append(names, refString(r))
	}
	return names
}

func (e *Env) printPage(page *adminv1.DescribeResponse, view pageView) error {
	o := page.GetObject()
	var written writtenParts
	if err := json.Unmarshal([]byte(o.GetJson()), &written); err != nil {
		return fmt.Errorf("read object: %w", err)
	}
	e.fact("Name", o.GetReference().GetName())
	e.fact("Namespace", o.GetReference().GetNamespace())
	e.fact("Kind", o.GetReference().GetKind()+" ("+o.GetApiVersion()+")")
	e.fact("Age", e.age(o.GetCreatedAt()))
	e.fact("Labels", labelsText(written.Metadata.Labels))
	if len(view.Conditions) > 0 {
		e.heading("Conditions")
		for _, c := range view.Conditions {
			line := verdict(c.OK, "ok", "no")
			why := c.Type
			if c.Reason != c.Type && c.Reason != "" {
				why += " " + c.Reason
			}
			if c.Message != "" {
				why += ": " + c.Message
			}
			fmt.Fprintf(e.Out, "  %s  %s\n", e.paint(line.tone, line.text), printable(why))
		}
	}
	e.list("Problems", view.Problems)
	if err := e.printSpec(written.Spec); err != nil {
		return err
	}
	if page.GetService() != nil {
		e.printWorkloads(view.Workloads)
		e.list("Routes", view.Routes)
		e.list("Policies", view.Policies)
	}
	e.relations("Refers to", view.References)
	e.relations("Referred to by", view.Referrers)
	return nil
}

func (e *Env) fact(name, value string) {
	if value != "" {
		fmt.Fprintf(e.Out, "%-11s %s\n", name+":", printable(value))
	}
}

func (e *Env) heading(name string) {
	fmt.Fprintf(e.Out, "\n%s:\n", name)
}

func (e *Env) list(name string, lines []string) {
	if len(lines) == 0 {
		return
	}
	e.heading(name)
	for _, line := range lines {
		fmt.Fprintln(e.Out, "  "+printable(line))
	}
}

func (e *Env) relations(name string, relations []relationView) {
	var lines []string
	for _, r := range relations {
		line := r.Object
		if r.Field != "" {
			line += " (" + r.Field + ")"
		}
		if r.Missing {
			line += " which does not exist"
		}
		lines = append(lines, line)
	}
	e.list(name, lines)
}

func (e *Env) printWorkloads(workloads []workloadView) {
	e.heading("Workloads")
	if len(workloads) == 0 {
		fmt.Fprintln(e.Out, "  none is selected")
		return
	}
	for _, w := range workloads {
		health := verdict(w.Healthy, "healthy", "not healthy")
		if w.Reason != "" {
			health.text += ": " + w.Reason
		}
		how := "plaintext"
		if w.Mesh {
			how = "mTLS"
		}
		if w.Mesh && w.Identity != "" {
			how += " as " + w.Identity
		}
		fmt.Fprintf(e.Out, "  %s  %s  %s  %s\n", printable(w.Object), printable(strings.Join(w.Addresses, ",")), e.paint(health.tone, printable(health.text)), printable(how))
	}
}

// writtenParts are the parts of an object that its user wrote.
type writtenParts struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec json.RawMessage `json:"spec"`
}

func (e *Env) printSpec(spec json.RawMessage) error {
	if len(spec) == 0 || string(spec) == "{}" {
		return nil
	}
	lines, err := yaml.JSONToYAML(spec)
	if err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	e.heading("Spec")
	for line := range strings.Lines(string(lines)) {
		fmt.Fprintln(e.Out, "  "+printable(strings.TrimSuffix(line, "\n")))
	}
	return nil
}
