package adminapi

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func TestApplyIsIdempotent(t *testing.T) {
	m := start(t)
	first := m.apply(t, cart+"---\n"+route)
	if got := actions(first.GetResults()); got != "Service created, HTTPRoute created" {
		t.Errorf("first: %s", got)
	}
	again := m.apply(t, cart+"---\n"+route)
	if got := actions(again.GetResults()); got != "Service unchanged, HTTPRoute unchanged" {
		t.Errorf("again: %s", got)
	}
	if again.GetRevision() != first.GetRevision() {
		t.Errorf("applying nothing new moved the revision from %d to %d", first.GetRevision(), again.GetRevision())
	}
	changed := m.apply(t, strings.Replace(cart, "port: 80", "port: 81", 1)+"---\n"+strings.ReplaceAll(route, "80", "81"))
	if got := actions(changed.GetResults()); got != "Service configured, HTTPRoute configured" {
		t.Errorf("changed: %s", got)
	}
}

func TestApplySeesWhatTheOneBeforeItMade(t *testing.T) {
	m := start(t)
	for range 20 {
		m.apply(t, cart)
		m.apply(t, route)
		if _, err := m.Delete(t.Context(), &adminv1.DeleteRequest{Documents: document(cart + "---\n" + route)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestApplyWritesAllOrNothing(t *testing.T) {
	m := start(t)
	lost := strings.Replace(route, "    - name: cart", "    - name: crat", 1)
	for _, test := range []struct{ name, content, field, reason string }{
		{"dangling reference", cart + "---\n" + lost, "spec.rules[0].backendRefs[0]", "did you mean"},
		{"unknown field", cart + "---\n" + strings.Replace(route, "rules:", "rulez:", 1), "spec.rulez", "rules"},
		{"twice the same", cart + "---\n" + cart, "", "same object"},
	} {
		before := m.store.Revision()
		_, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: document(test.content)})
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		problems := problemsIn(err)
		if len(problems) != 1 || problems[0].GetSource() != "f.yaml" || problems[0].GetLine() < 10 ||
			!strings.HasPrefix(problems[0].GetField(), test.field) || !strings.Contains(problems[0].GetReason(), test.reason) {
			t.Errorf("%s: problems %v", test.name, problems)
		}
		if m.store.Revision() != before {
			t.Errorf("%s: something was written", test.name)
		}
	}
}

func TestAnObjectInANamespaceThatNobodyMadeIsWarnedOf(t *testing.T) {
	const shop = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n"
	warned := func(r *adminv1.ApplyResponse) (out []string) {
		for _, w := range r.GetWarnings() {
			if w.GetField() == "metadata.namespace" {
				out = append(out, w.GetObject().GetName()+": "+w.GetReason())
			}
		}
		return out
	}
	m := start(t)
	const want = "cart: namespace shop does not exist as an object; create it with `echo '{apiVersion: v1, kind: Namespace, metadata: {name: shop}}' | leno apply -f -`"
	if got := warned(m.apply(t, cart+"---\n"+route)); len(got) != 1 || got[0] != want {
		t.Errorf("warnings %q", got)
	}
	m = start(t)
	if got := warned(m.apply(t, cart+"---\n"+shop)); len(got) != 0 {
		t.Errorf("made by the same apply: %q", got)
	}
	if got := warned(m.apply(t, route)); len(got) != 0 {
		t.Errorf("made before: %q", got)
	}
}

func TestTheSameObjectInTwoFilesIsRefused(t *testing.T) {
	m := start(t)
	_, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: append(document(cart), &adminv1.Document{Source: "g.yaml", Content: cart})})
	problems := problemsIn(err)
	if len(problems) != 1 || problems[0].GetSource() != "g.yaml" || !strings.Contains(problems[0].GetReason(), "f.yaml at line 1") {
		t.Errorf("%v %v", err, problems)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	m := start(t)
	dry, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: document(cart), DryRun: true})
	if err != nil || actions(dry.GetResults()) != "Service created" {
		t.Errorf("%v %v", dry, err)
	}
	if m.store.Revision() != 0 {
		t.Error("something was written")
	}
}

func TestNamespaceIsGivenToObjectsThatNameNone(t *testing.T) {
	m := start(t)
	bare := strings.Replace(cart, "  namespace: shop\n", "", 1)
	both := bare + "---\n" + strings.Replace(cart, "name: cart", "name: web", 1)
	applied, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: document(both), Namespace: "team"})
	if err != nil {
		t.Fatal(err, problemsIn(err))
	}
	for i, want := range []string{"team", "shop"} {
		if got := applied.GetResults()[i].GetObject().GetNamespace(); got != want {
			t.Errorf("object %d is in %q, want %q", i, got, want)
		}
	}
}

func TestStaleFileIsRefused(t *testing.T) {
	m := start(t)
	m.apply(t, cart)
	stale := strings.Replace(cart, "  name: cart\n", "  name: cart\n  resourceVersion: \"77\"\n", 1)
	_, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: document(stale)})
	if connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("%v %v", err, problemsIn(err))
	}
}

func TestDiffShowsWhatApplyWouldDo(t *testing.T) {
	m := start(t)
	m.apply(t, cart+"---\n"+route)
	diff, err := m.Diff(t.Context(), &adminv1.DiffRequest{Documents: document(strings.Replace(cart, "appProtocol: http", "appProtocol: grpc", 1) + "---\n" + route)})
	if err != nil {
		t.Fatal(err)
	}
	if len(diff.GetDifferences()) != 1 {
		t.Fatalf("differences %v", diff)
	}
	text := diff.GetDifferences()[0].GetUnified()
	for _, want := range []string{"--- stored/Service/shop/cart\n", "appProtocol: http\n", "appProtocol: grpc\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "resourceVersion") || strings.Contains(text, "uid") {
		t.Errorf("shows what only the server writes:\n%s", text)
	}
}

func TestDeleteTellsWhatRefersToNothingThen(t *testing.T) {
	m := start(t)
	m.apply(t, cart+"---\n"+route)
	gone, err := m.Delete(t.Context(), &adminv1.DeleteRequest{References: []*adminv1.Reference{{Kind: "svc", Namespace: "shop", Name: "cart"}}})
	if err != nil {
		t.Fatal(err)
	}
	if actions(gone.GetResults()) != "Service deleted" || len(gone.GetWarnings()) == 0 {
		t.Errorf("%v", gone)
	}
	_, err = m.Delete(t.Context(), &adminv1.DeleteRequest{References: []*adminv1.Reference{{Kind: "httproute", Namespace: "shop", Name: "carts"}}})
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "did you mean cart?") {
		t.Errorf("%v", err)
	}
	again, err := m.Delete(t.Context(), &adminv1.DeleteRequest{Documents: document(cart), IgnoreMissing: true})
	if err != nil || len(again.GetResults()) != 0 {
		t.Errorf("%v %v", again, err)
	}
}

func TestLargeBodiesAreRefused(t *testing.T) {
	m := start(t)
	_, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: document(strings.Repeat("#", bodyLimit+1))})
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("%v", err)
	}
}

func TestApplyTriesAgainWhenOthersWrite(t *testing.T) {
	m := start(t)
	m.apply(t, cart)
	m.busy.Store(attempts - 1)
	applied := m.apply(t, strings.Replace(cart, "http", "grpc", 1))
	if got := actions(applied.GetResults()); got != "Service configured" {
		t.Errorf("%s", got)
	}
	m.busy.Store(attempts)
	_, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: document(cart)})
	if connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(err.Error(), "try again") {
		t.Errorf("%v", err)
	}
}

func TestApplyKeepsTheControlPlanesAnnotations(t *testing.T) {
	m := start(t)
	m.apply(t, strings.Replace(cart, "  name: cart\n", "  name: cart\n  annotations: {leno.dev/account: cart, team: a}\n", 1))
	applied := m.apply(t, strings.Replace(cart, "http", "grpc", 1))
	if got := actions(applied.GetResults()); got != "Service configured" {
		t.Errorf("%s", got)
	}
	got, err := m.Get(t.Context(), &adminv1.GetRequest{Reference: applied.GetResults()[0].GetObject()})
	if err != nil {
		t.Fatal(err)
	}
	if json := got.GetObject().GetJson(); !strings.Contains(json, `"annotations":{"leno.dev/account":"cart"}`) {
		t.Errorf("%s", json)
	}
}
