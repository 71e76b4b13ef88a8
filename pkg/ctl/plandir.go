package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"ktrdr.io/fleet/pkg/ctl/internal/remote"
	"ktrdr.io/fleet/pkg/wire/plans"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// uploadChunk is the size of the parts of an archive.
const uploadChunk = 256 << 10

// treePatience is what nodes may take to plan an uploaded tree beyond a usual request.
const treePatience = 3 * time.Minute

// planFolder sends a folder, which is checked as a push of it would be, and shows what each
// node would do with it.
func (c *controller) planFolder(cmd *cobra.Command, dir string, choice planChoice) error {
	archive, err := pack(cmd.Context(), dir)
	if err != nil {
		return err
	}
	var found []nodePlan
	var checked *ktrdrv1.ValidateResponse
	err = c.call(cmd.Context(), treePatience, func(ctx context.Context) error {
		found = []nodePlan{}
		return c.planTree(ctx, archive, choice.nodes, func(r *ktrdrv1.PlanTreeResponse) {
			if r.GetChecked() != nil {
				checked = r.GetChecked()
			}
			if r.GetPlan() != nil {
				found = append(found, toNodePlan(r.GetPlan()))
			}
		})
	})
	if refused, ok := errors.AsType[*remote.RefusedError](err); ok && refused.Code == codes.Unimplemented {
		fmt.Fprintln(cmd.ErrOrStderr(), "ktrdrctl: the controller is older than this ktrdrctl: it checks the folder, and can't ask nodes what they would do with it")
		return c.checkFolder(cmd, dir, archive)
	}
	if denied(err) {
		return fmt.Errorf("%w\n  A viewer can check the folder (ktrdrctl validate %s) and compare it (ktrdrctl diff %s)", err, dir, dir)
	}
	if err != nil {
		return withProblems(err)
	}
	// Standard output may be for a program.
	if err := told(cmd.ErrOrStderr(), dir, checked); err != nil {
		return err
	}
	return choice.show(cmd, found)
}

func denied(err error) bool {
	refused, ok := errors.AsType[*remote.RefusedError](err)
	return ok && refused.Code == codes.PermissionDenied
}

func (c *controller) planTree(ctx context.Context, archive []byte, nodes []string, take func(*ktrdrv1.PlanTreeResponse)) error {
	stream, err := c.Fleet.PlanTree(ctx)
	if err != nil {
		return err
	}
	part := &ktrdrv1.PlanTreeRequest{Nodes: nodes}
	for content := range slices.Chunk(archive, uploadChunk) {
		part.Content = content
		if err := stream.Send(part); err != nil {
			break // Recv has the reason
		}
		part = &ktrdrv1.PlanTreeRequest{}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		take(answer)
	}
}

// told prints what was found in a folder. Mistakes are an error.
func told(out io.Writer, dir string, checked *ktrdrv1.ValidateResponse) error {
	for _, w := range plans.ProblemsFromProto(checked.GetWarnings()) {
		printProblem(out, dir, w, "warning: ")
	}
	problems := plans.ProblemsFromProto(checked.GetProblems())
	for _, p := range problems {
		printProblem(out, dir, p, "")
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s: %s: a push of it would be refused", dir, counted(len(problems), "problem"))
	}
	return nil
}

// checkFolder sends a folder to be checked as a push would be.
func (c *controller) checkFolder(cmd *cobra.Command, dir string, archive []byte) error {
	answer, err := c.validateTree(cmd.Context(), archive)
	if err != nil {
		return err
	}
	if err := told(cmd.OutOrStdout(), dir, answer); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s would be accepted by the controller\n", dir)
	return err
}

// diffFolder shows what a push of a folder would change of the head.
func (c *controller) diffFolder(cmd *cobra.Command, dir string) error {
	archive, err := pack(cmd.Context(), dir)
	if err != nil {
		return err
	}
	answer, err := c.validateTree(cmd.Context(), archive)
	if err != nil {
		return err
	}
	if err := told(cmd.ErrOrStderr(), dir, answer); err != nil {
		return err
	}
	if err := printDiff(cmd.OutOrStdout(), answer.GetDiff(), answer.GetTruncated()); err != nil || len(answer.GetNodes()) == 0 {
		return err
	}
	_, err = lipgloss.Fprintln(cmd.OutOrStdout(), "it would reach "+listed(answer.GetNodes()))
	return err
}

func (c *controller) validateTree(ctx context.Context, archive []byte) (*ktrdrv1.ValidateResponse, error) {
	var answer *ktrdrv1.ValidateResponse
	err := c.call(ctx, uploadPatience, func(ctx context.Context) (err error) {
		answer, err = c.upload(ctx, archive)
		return err
	})
	return answer, withProblems(err)
}

func (c *controller) upload(ctx context.Context, archive []byte) (*ktrdrv1.ValidateResponse, error) {
	stream, err := c.Fleet.Validate(ctx)
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(archive, uploadChunk) {
		if err := stream.Send(&ktrdrv1.TreeChunk{Content: part}); err != nil {
			break // CloseAndRecv has the reason
		}
	}
	return stream.CloseAndRecv()
}

// isFolder tells a folder from a revision that is written the same: ./NAME is always one.
func isFolder(word string) bool {
	info, err := os.Stat(word)
	return err == nil && info.IsDir()
}
