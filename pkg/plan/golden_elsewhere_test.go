package plan_test

import (
	"maps"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// elsewhere begins the sections of a second stack of the node, which the first one looks at.
const elsewhere = "elsewhere "

// joinElsewhere puts another stack on the node of in, with what is observed of it.
func joinElsewhere(in *plan.Input, other plan.Input) {
	obs, add := in.Observed, other.Observed
	maps.Copy(obs.Containers, add.Containers)
	maps.Copy(obs.Networks, add.Networks)
	maps.Copy(obs.Volumes, add.Volumes)
	maps.Copy(obs.Images, add.Images)
	maps.Copy(obs.Jobs, add.Jobs)
	maps.Copy(obs.Holds, add.Holds)
	maps.Copy(obs.Rollouts, add.Rollouts)
	maps.Copy(obs.Folders, add.Folders)
	maps.Copy(obs.Kept, add.Kept)
	if obs.Failures == nil {
		obs.Failures = map[string]api.Failure{}
	}
	maps.Copy(obs.Failures, add.Failures)
	maps.Copy(in.Secrets, other.Secrets)
	earlier := in.Keepers.Earlier
	maps.Copy(earlier, other.Keepers.Earlier)
	in.Keepers = plan.Keepers([]api.Stack{*other.Stack, *in.Stack}, plan.Asking{
		Denied: func(s *api.Stack) []api.Condition {
			if s.Name == other.Stack.Name {
				return other.Denied
			}
			return in.Denied
		},
		Refused: func(*api.Stack) map[string]string { return in.Refused },
		Earlier: func() map[string]bool { return earlier },
	})
}
