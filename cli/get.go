package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"

	"github.com/leno-mesh/leno/api"
)

func getCommand(env *Env) *cobra.Command {
	var selector string
	var watch bool
	cmd := &cobra.Command{
		Use:   "get KIND [NAME...]",
		Short: "List objects, or get some by name",
		Long: `Get lists objects of a kind, or those that are named. -o json and -o yaml give
them whole: one object by itself, more as a List with items.

Kinds: ` + strings.Join(kindNames(), ", ") + `; "all" is all of them.`,
		Example: `  leno get services
  leno get svc,httproutes -A
  leno get httproute cart -o yaml
  leno get workloads -l app=cart --watch`,
		Args:              atLeast(1, "the kind"),
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := env.Client()
			if err != nil {
				return err
			}
			if watch {
				return env.watch(cmd, client, args, selector)
			}
			if len(args) > 1 || strings.Contains(args[0], "/") {
				if selector != "" {
					return usage("give either names or --selector")
				}
				return env.getNamed(cmd, client, args)
			}
			return env.getListed(cmd, client, args[0], selector)
		},
	}
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "only objects with these labels, such as app=cart,tier!=db")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show changes; of one kind")
	return cmd
}

func (e *Env) getNamed(cmd *cobra.Command, client adminv1connect.AdminClient, args []string) error {
	references, err := e.references(args)
	if err != nil {
		return err
	}
	var objects []*adminv1.Object
	for _, reference := range references {
		got, err := client.Get(cmd.Context(), &adminv1.GetRequest{Reference: reference})
		if err != nil {
			return err
		}
		objects = append(objects, got.GetObject())
	}
	if len(objects) == 1 {
		if done, err := e.printData(json.RawMessage(objects[0].GetJson())); done {
			return err
		}
	}
	return e.printObjects(objects)
}

func (e *Env) getListed(cmd *cobra.Command, client adminv1connect.AdminClient, list, selector string) error {
	kinds := strings.Split(list, ",")
	if list == "all" {
		kinds = slices.DeleteFunc(kindNames(), func(kind string) bool {
			return kind == "namespaces" && !e.flags.allNamespaces
		})
	}
	var objects []*adminv1.Object
	for _, kind := range kinds {
		listed, err := client.List(cmd.Context(), &adminv1.ListRequest{Kind: kind, Namespace: e.scope(), Selector: selector})
		if err != nil {
			return err
		}
		objects = append(objects, listed.GetObjects()...)
	}
	if len(objects) > 0 || e.flags.output != "table" {
		return e.printObjects(objects)
	}
	elsewhere, err := e.elsewhere(cmd.Context(), client, kinds, selector)
	if err != nil {
		return err
	}
	where, hint := "in namespace "+e.Namespace(), ""
	if e.flags.allNamespaces {
		where = "in any namespace"
	}
	if elsewhere {
		hint = "; -A looks in all namespaces"
	}
	fmt.Fprintf(e.Err, "Nothing found %s%s.\n", where, hint)
	return nil
}

// elsewhere says that other namespaces have what this one has not.
func (e *Env) elsewhere(ctx context.Context, client adminv1connect.AdminClient, kinds []string, selector string) (bool, error) {
	if e.flags.allNamespaces {
		return false, nil
	}
	for _, kind := range kinds {
		listed, err := client.List(ctx, &adminv1.ListRequest{Kind: kind, Selector: selector})
		if err != nil || len(listed.GetObjects()) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// listView is what kubectl gives for more than one object.
type listView struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

func (e *Env) printObjects(objects []*adminv1.Object) error {
	list := listView{APIVersion: "v1", Kind: "List", Items: []json.RawMessage{}}
	for _, o := range objects {
		list.Items = append(list.Items, json.RawMessage(o.GetJson()))
	}
	if done, err := e.printData(list); done {
		return err
	}
	if e.flags.output == "name" {
		for _, o := range objects {
			fmt.Fprintln(e.Out, printable(nameString(o.GetReference())))
		}
		return nil
	}
	groups := groupByKind(objects)
	for i, group := range groups {
		if i > 0 {
			fmt.Fprintln(e.Out)
		}
		t := e.objectTable(group[0].GetReference().GetKind())
		if len(groups) > 1 {
			t.header[slices.Index(t.header, "NAME")] = strings.ToUpper(group[0].GetReference().GetKind())
		}
		for _, o := range group {
			t.add(e.objectRow(o)...)
		}
		e.print(t)
	}
	return nil
}

func groupByKind(objects []*adminv1.Object) [][]*adminv1.Object {
	var groups [][]*adminv1.Object
	for i, o := range objects {
		if i == 0 || o.GetReference().GetKind() != objects[i-1].GetReference().GetKind() {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], o)
	}
	return groups
}

func (e *Env) watch(cmd *cobra.Command, client adminv1connect.AdminClient, args []string, selector string) error {
	if len(args) != 1 || strings.ContainsAny(args[0], "/,") || selector != "" {
		return usage("--watch follows all objects of one kind: give its name alone")
	}
	stream, err := client.Watch(cmd.Context(), &adminv1.WatchRequest{Kind: args[0], Namespace: e.scope()})
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		if err := e.printEvent(stream.Msg()); err != nil {
			return err
		}
	}
	if cmd.Context().Err() != nil {
		return nil // the user stopped it
	}
	return stream.Err()
}

// eventView is one line of get --watch -o json.
type eventView struct {
	Event  string          `json:"event"`
	Object json.RawMessage `json:"object,omitempty"`
}

// printEvent writes an event on a line of its own.
func (e *Env) printEvent(event *adminv1.WatchResponse) error {
	if e.flags.output == "json" {
		view := eventView{Event: event.GetEvent(), Object: json.RawMessage(event.GetObject().GetJson())}
		return json.NewEncoder(e.Out).Encode(view)
	}
	if event.GetEvent() == "synced" {
		return nil
	}
	if done, err := e.printData(json.RawMessage(event.GetObject().GetJson())); done {
		return err
	}
	o := event.GetObject()
	if e.flags.output == "name" {
		fmt.Fprintln(e.Out, printable(nameString(o.GetReference())))
		return nil
	}
	line := []string{fmt.Sprintf("%-9s", event.GetEvent())}
	for _, c := range e.objectRow(o) {
		line = append(line, shown(c))
	}
	_, err := fmt.Fprintln(e.Out, strings.Join(line, "  "))
	return err
}

func kindNames() []string {
	var names []string
	for _, info := range api.Kinds() {
		names = append(names, info.Plural)
	}
	return names
}

func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return kindNames(), cobra.ShellCompDirectiveNoFileComp
}
