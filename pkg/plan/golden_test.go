package plan_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

var update = flag.Bool("update", false, "rewrite the results in testdata/golden")

// TestGolden plans each archive of testdata/golden. Its comment says which rule it pins.
// "desired" is a stack, "observed" how the engine differs from a converged one (see
// scenario), "good" the stack that is known to be good where it is another one, "plan" what people read, "calls" what apply gets beyond that, "status" the
// verdict on each container.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(strings.TrimSpace(string(archive.Comment))) == 0 {
				t.Error("the comment has to say which rule this pins")
			}
			in := scenarioInput(t, archive)
			p := plan.Build(in)
			results := []txtar.File{
				{Name: "plan", Data: []byte(p.String())},
				{Name: "calls", Data: []byte(calls(p))},
				{Name: "status", Data: []byte(statusLines(p))},
			}
			checkReady(t, in, p)
			compareResults(t, file, archive, results)
		})
	}
}

func compareResults(t *testing.T, file string, archive *txtar.Archive, results []txtar.File) {
	t.Helper()
	if *update {
		given := slices.DeleteFunc(archive.Files, func(f txtar.File) bool {
			return slices.ContainsFunc(results, func(r txtar.File) bool { return r.Name == f.Name })
		})
		archive.Files = slices.Concat(given, results)
		if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, want := range results {
		if diff := cmp.Diff(section(archive, want.Name), string(want.Data)); diff != "" {
			t.Errorf("%s of %s (-want +got):\n%s", want.Name, file, diff)
		}
	}
}

func section(archive *txtar.Archive, name string) string {
	for _, f := range archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// checkReady holds for every plan: what can run now has neither needs nor a delay.
func checkReady(t *testing.T, in plan.Input, p *plan.Plan) {
	t.Helper()
	for _, op := range p.Ready(in.Now) {
		if p.Held || op.Passive || op.Stalled || len(op.Needs) > 0 || op.NotBefore.After(in.Now) {
			t.Errorf("%s is ready", op.String())
		}
	}
}

// calls prints the fields that the plan's text leaves out. Ids are shown as the name of
// their container or network.
func calls(p *plan.Plan) string {
	var out strings.Builder
	for i := range p.Ops {
		op := &p.Ops[i]
		fmt.Fprintf(&out, "%3d. %s", i+1, op.Key)
		for _, field := range []struct{ name, value string }{
			{"id", short(op.ID)},
			{"name", op.NewName},
			{"replaces", short(op.Replaces)},
			{"network", short(op.NetworkID)},
			{"parents", parentsText(op.Parents)},
			{"hash", short(op.SpecHash)},
			{"grace", graceText(op)},
			{"passive", map[bool]string{true: "yes"}[op.Passive]},
		} {
			if field.value != "" {
				fmt.Fprintf(&out, " %s=%s", field.name, field.value)
			}
		}
		out.WriteByte('\n')
	}
	if !p.WakeAt.IsZero() {
		fmt.Fprintf(&out, "look again at %s\n", p.WakeAt.UTC().Format("15:04:05"))
	}
	return out.String()
}

func short(id string) string {
	id = strings.TrimPrefix(id, api.HashVersion+":")
	return id[:min(12, len(id))]
}

func parentsText(parents map[string]string) string {
	var list []string
	for name, id := range parents {
		list = append(list, name+":"+short(id))
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

func graceText(op *plan.Op) string {
	if op.Grace == nil {
		return ""
	}
	return op.Grace.String()
}

func statusLines(p *plan.Plan) string {
	var out strings.Builder
	fmt.Fprintf(&out, "stack %s: converged=%t %s: %s\n", p.Stack, p.Status.Converged, p.Status.Reason, p.Status.Message)
	for _, c := range p.Status.Conditions {
		fmt.Fprintf(&out, "condition %s %s %s: %s\n", c.Type, c.Reason, c.Object, c.Message)
	}
	for _, s := range p.Status.Services {
		fmt.Fprintf(&out, "service %s %s: state=%s", s.Service, s.Container, s.State)
		if s.Health != "" {
			fmt.Fprintf(&out, " health=%s", s.Health)
		}
		fmt.Fprintf(&out, " converged=%t %s: %s\n", s.Converged, s.Reason, s.Message)
	}
	lines := strings.Split(out.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], ": ")
	}
	return strings.Join(lines, "\n")
}
