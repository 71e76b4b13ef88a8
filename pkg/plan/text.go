package plan

import (
	"cmp"
	"fmt"
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
		fmt.Fprintf(&out, "\n    %s: %s -> %s", d.Path, cmp.Or(d.Have, "(unset)"), cmp.Or(d.Want, "(unset)"))
	}
	return out.String()
}

// String prints the plan, one operation a line with its needs, for people and golden files.
func (p *Plan) String() string {
	if len(p.Ops) == 0 {
		if !p.Status.Converged && p.Status.Reason != "" {
			return fmt.Sprintf("stack %s: nothing can be done now (%s)\n", p.Stack, p.Status.Reason)
		}
		return fmt.Sprintf("stack %s: nothing to do\n", p.Stack)
	}
	index := map[string]int{}
	var out strings.Builder
	fmt.Fprintf(&out, "stack %s: %s\n", p.Stack, count(len(p.Ops)))
	for i := range p.Ops {
		op := &p.Ops[i]
		index[op.Key] = i + 1
		fmt.Fprintf(&out, "%3d. %s", i+1, op.String())
		if len(op.Needs) > 0 {
			after := make([]string, 0, len(op.Needs))
			for _, n := range op.Needs {
				after = append(after, fmt.Sprint(index[n]))
			}
			fmt.Fprintf(&out, " (after %s)", strings.Join(after, ", "))
		}
		switch {
		case op.Stalled:
			out.WriteString(" [stalled until the desired state changes]")
		case !op.NotBefore.IsZero():
			fmt.Fprintf(&out, " [not before %s]", op.NotBefore.UTC().Format("15:04:05"))
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func count(operations int) string {
	if operations == 1 {
		return "1 operation"
	}
	return fmt.Sprintf("%d operations", operations)
}
