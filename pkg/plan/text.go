package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// String prints an operation: what and why on the first line, then what differs.
func (op *Op) String() string { return op.head() + op.diffText() }

// head is the line of an operation without what differs.
func (op *Op) head() string {
	object := op.Object
	switch {
	case op.NewName == "" || op.NewName == op.Object:
	case op.Kind == Create:
		object += " as " + op.NewName
	case op.Kind == Rename:
		object += " to " + op.NewName
	}
	return fmt.Sprintf("%s %s: %s", op.Kind, object, op.Cause)
}

func (op *Op) diffText() string {
	var out strings.Builder
	for _, d := range op.Diff {
		fmt.Fprintf(&out, "\n       %s: %s -> %s", d.Path, cmp.Or(d.Have, "(unset)"), cmp.Or(d.Want, "(unset)"))
	}
	return out.String()
}

// String prints the plan for people and golden files: a numbered line for each operation
// with its cause and what it comes after, and below it, indented, what differs.
func (p *Plan) String() string {
	if len(p.Ops) == 0 {
		if !p.Status.Converged && p.Status.Reason != "" {
			return fmt.Sprintf("stack %s: nothing can be done now (%s)\n", p.Stack, p.Status.Reason)
		}
		return fmt.Sprintf("stack %s: nothing to do\n", p.Stack)
	}
	index := map[string]int{}
	var out strings.Builder
	fmt.Fprintf(&out, "stack %s: %s", p.Stack, count(len(p.Ops)))
	if p.Back != nil {
		fmt.Fprintf(&out, " of the rollback to %s", shortRevision(p.Back.Revision))
	}
	out.WriteByte('\n')
	for i := range p.Ops {
		op := &p.Ops[i]
		index[op.Key] = i + 1
		fmt.Fprintf(&out, "%3d. %s%s%s%s\n", i+1, op.head(), op.needsText(index), op.waitText(), op.diffText())
	}
	return out.String()
}

// needsText names the operations that come first by their numbers.
func (op *Op) needsText(index map[string]int) string {
	if len(op.Needs) == 0 {
		return ""
	}
	after := make([]int, 0, len(op.Needs))
	for _, n := range op.Needs {
		after = append(after, index[n])
	}
	slices.Sort(after)
	return " (after " + strings.Trim(strings.ReplaceAll(fmt.Sprint(after), " ", ", "), "[]") + ")"
}

func (op *Op) waitText() string {
	switch {
	case op.Stalled:
		return " [stalled until the desired state changes]"
	case !op.NotBefore.IsZero():
		return fmt.Sprintf(" [not before %s]", op.NotBefore.UTC().Format("15:04:05"))
	}
	return ""
}

func count(operations int) string {
	if operations == 1 {
		return "1 operation"
	}
	return fmt.Sprintf("%d operations", operations)
}
